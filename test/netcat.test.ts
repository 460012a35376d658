/** client.ts as a netcat: text both ways, ends in either order, kinds of input, what goes to standard error. */
import { expect } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { connectSync, listen } from "../src/index.ts";
import {
  connecting,
  connection,
  drain,
  Fifo,
  kinds,
  listening,
  needs,
  netcat,
  type Peer,
  taken,
  test,
} from "./netcat.ts";
import { blackHole, keeper, refusedPort, temporaryDirectory } from "./setup.ts";
import { thrown, until } from "./thread.ts";
import { Program } from "./tool.ts";

const keep = keeper();

/** The next bytes, as text. */
function text(peer: Peer): string {
  const buffer = new Uint8Array(1 << 16);
  return Buffer.from(buffer.subarray(0, peer.readSync(buffer, { timeout: 10_000 }))).toString();
}

const greeting = Buffer.from("grüß dich\n");
const answer = Buffer.from("selber grüß dich\n");

const tools = {
  nc: {
    listens: (port: number) => ["nc", "-v", "-N", "-l", "127.0.0.1", String(port)],
    listensAt: (path: string) => ["nc", "-v", "-N", "-l", "-U", path],
    connects: (port: number) => ["nc", "-N", "127.0.0.1", String(port)],
    connectsTo: (path: string) => ["nc", "-N", "-U", path],
  },
  socat: {
    listens: (port: number) => ["socat", "-dd", "-t30", "-", `TCP-LISTEN:${port},bind=127.0.0.1`],
    listensAt: (path: string) => ["socat", "-dd", "-t30", "-", `UNIX-LISTEN:${path}`],
    connects: (port: number) => ["socat", "-t30", "-", `TCP:127.0.0.1:${port}`],
    connectsTo: (path: string) => ["socat", "-t30", "-", `UNIX:${path}`],
  },
};
for (const [tool, { listens, listensAt, connects, connectsTo }] of Object.entries(tools)) {
  for (const over of ["TCP", "a Unix socket"] as const) {
    needs(tool)(`${tool} listens, over ${over}: text goes both ways, and both end`, async () => {
      const path = `${keep(temporaryDirectory()).path}/socket`;
      const port = refusedPort();
      const server = keep(Program.start(over === "TCP" ? listens(port) : listensAt(path), { stdin: answer }));
      await until(`${tool} to listen`, () => /listening on/i.test(server.errors));
      const program = keep(netcat(over === "TCP" ? ["127.0.0.1", port] : ["--unix", path], { input: greeting }));
      expect(await program.done()).toBe(answer.toString());
      expect(program.errors).toBe("");
      expect(await server.done()).toBe(greeting.toString());
    });

    needs(tool)(`${tool} connects, over ${over}: text goes both ways, and both end`, async () => {
      const path = `${keep(temporaryDirectory()).path}/socket`;
      const where = over === "TCP" ? ["127.0.0.1", 0] : ["--unix", path];
      const program = keep(netcat(["--verbose", "--listen", ...where], { input: greeting }));
      const port = await listening(program);
      const peer = keep(Program.start(over === "TCP" ? connects(port) : connectsTo(path), { stdin: answer }));
      expect(await peer.done()).toBe(greeting.toString());
      expect(await program.done()).toBe(answer.toString());
    });
  }
}

for (const kind of kinds) {
  test(`one that ${kind}: our input ends first, and the peer's answer still arrives`, async () => {
    const { program, peer } = await connection(keep, kind, { input: greeting });
    expect(text(peer)).toBe(greeting.toString());
    expect(peer.readSync(new Uint8Array(1), { timeout: 10_000 })).toBe(0);
    for (const line of ["one\n", "two\n", "three\n"]) {
      peer.writeSync(line);
      expect(await program.line()).toBe(line.trimEnd());
    }
    peer.close();
    expect(await program.done()).toBe("one\ntwo\nthree\n");
  });

  test(`one that ${kind}: the peer ends first, and all of our input still arrives`, async () => {
    const path = `${keep(temporaryDirectory()).path}/input`;
    writeFileSync(path, Buffer.alloc(20_000_000, "input "));
    const { program, peer } = await connection(keep, kind, { input: path });
    peer.writeSync("that is all\n");
    peer.closeWrite();
    expect(await program.line()).toBe("that is all");
    expect(drain(peer)).toEqual({ bytes: 20_000_000, end: "end" });
    expect(await program.exited()).toBe(0);
  });

  test(`one that ${kind}: the peer ends while our input stays open, and half a second later so does it`, async () => {
    const { program, peer } = await connection(keep, kind);
    peer.writeSync("goodbye\n");
    const start = performance.now();
    peer.close();
    expect(await program.done()).toBe("goodbye\n");
    expect(performance.now() - start).toBeGreaterThanOrEqual(500);
  });

  test(`one that ${kind} has --verbose messages on standard error only`, async () => {
    const { program, peer, address } = await connection(keep, kind, { input: greeting });
    expect(drain(peer).end).toBe("end");
    peer.writeSync("data\n");
    peer.close();
    expect(await program.done()).toBe("data\n");
    expect(program.errors).toContain(address);
    expect(program.errors).not.toContain("data");
  });
}

test("what is typed during the connection goes out at once, and the answer comes at once", async () => {
  const input = keep(new Fifo());
  const { program, peer } = await connection(keep, "connects over TCP", { input: input.path });
  for (const word of ["one", "two", "three"]) {
    input.write(`${word}\n`);
    expect(text(peer)).toBe(`${word}\n`);
    peer.writeSync(`${word}, indeed\n`);
    expect(await program.line()).toBe(`${word}, indeed`);
  }
  input.end();
  expect(text(peer)).toBe("");
  peer.close();
  expect(await program.exited()).toBe(0);
});

test("input that comes while it waits for the connection goes out afterwards", async () => {
  const { port, listener } = blackHole(keep);
  const program = keep(netcat(["127.0.0.1", port], { input: greeting }));
  await until("the netcat to connect", () => connecting(port));
  keep(listener.acceptSync({ timeout: 10_000 })); // room in the backlog: the kernel's next try gets through
  const peer = keep(listener.acceptSync({ timeout: 30_000 }));
  expect(text(peer)).toBe(greeting.toString());
  peer.close();
  expect(await program.done()).toBe("");
});

for (const [what, input, length] of [
  ["a file", "file", 100_000],
  ["an empty file", "empty", 0],
  ["/dev/null", "/dev/null", 0],
] as const) {
  test(`input from ${what} arrives, and ends`, async () => {
    const directory = keep(temporaryDirectory()).path;
    writeFileSync(`${directory}/file`, Buffer.alloc(length, "x"));
    writeFileSync(`${directory}/empty`, "");
    const path = input.startsWith("/") ? input : `${directory}/${input}`;
    const { program, peer } = await connection(keep, "connects over TCP", { input: path });
    expect(drain(peer)).toEqual({ bytes: length, end: "end" });
    peer.writeSync("answer\n");
    peer.close();
    expect(await program.done()).toBe("answer\n");
  });
}

test("without --verbose a transfer that works says nothing on standard error", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const program = keep(netcat(["127.0.0.1", listener.address.port], { input: greeting }));
  const peer = keep(listener.acceptSync({ timeout: 10_000 }));
  expect(text(peer)).toBe(greeting.toString());
  peer.close();
  expect(await program.done()).toBe("");
  expect(program.errors).toBe("");
});

for (const [hostname, address] of [
  ["::1", "::1"],
  ["localhost", "127.0.0.1"],
] as const) {
  test(`HOST may be ${hostname}`, async () => {
    const listener = keep(listen({ hostname: address }));
    const program = keep(netcat([hostname, listener.address.port], { input: greeting }));
    const peer = keep(listener.acceptSync({ timeout: 10_000 }));
    expect(text(peer)).toBe(greeting.toString());
    peer.close();
    expect(await program.exited()).toBe(0);
  });
}

for (const hostname of ["127.0.0.1", "::1"]) {
  test(`--listen PORT without a HOST takes a client of ${hostname}`, async () => {
    const program = keep(netcat(["--listen", "--verbose", 0]));
    const peer = keep(connectSync({ hostname, port: await listening(program) }));
    peer.writeSync("here\n");
    expect(await program.line()).toBe("here");
    peer.close();
    expect(await program.exited()).toBe(0);
  });
}

test("--listen takes one client; a second one is refused", async () => {
  const program = keep(netcat(["--listen", "--verbose", "127.0.0.1", 0]));
  const port = await listening(program);
  const peer = keep(connectSync({ hostname: "127.0.0.1", port }));
  await until("the listener to be gone", () => !taken(port));
  expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout: 10_000 })).code).toBe("ECONNREFUSED");
  peer.writeSync("still here\n");
  expect(await program.line()).toBe("still here");
});

test("--listen --unix takes over the file of a listener that was killed, and removes its own", async () => {
  const path = `${keep(temporaryDirectory()).path}/socket`;
  const killed = keep(netcat(["--listen", "--verbose", "--unix", path]));
  await listening(killed);
  killed.kill("SIGKILL");
  await killed.exited();
  expect(existsSync(path)).toBe(true);
  const program = keep(netcat(["--listen", "--verbose", "--unix", path]));
  await listening(program);
  keep(connectSync({ path })).close();
  expect(await program.exited()).toBe(0);
  expect(existsSync(path)).toBe(false);
});
