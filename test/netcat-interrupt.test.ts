/** client.ts as a netcat, stopped by the user: Ctrl-C, a pipeline that has had enough, a stop and `fg`. */
import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { connectSync, listen } from "../src/index.ts";
import {
  client,
  connecting,
  connection,
  drain,
  Fifo,
  kinds,
  listening,
  moved,
  needs,
  netcat,
  portOf,
  stalled,
  test,
  whileStopped,
} from "./netcat.ts";
import { blackHole, keeper, temporaryDirectory } from "./setup.ts";
import { thrown, until } from "./thread.ts";
import { Program } from "./tool.ts";

const keep = keeper();

/** A look at its status: undefined until it has ended. */
function ending(program: Program): () => number | string | undefined {
  let status: number | string | undefined;
  program.exited().then((code) => {
    status = code;
  });
  return () => status;
}

/** Ctrl-C, and its end. */
async function interrupt(program: Program): Promise<void> {
  const status = ending(program);
  program.kill("SIGINT");
  await until("the netcat to end after Ctrl-C", () => status() !== undefined);
  expect(status()).toBe(130);
}

/** A socat that says its port, and has as its standard output what the netcat sends. */
async function socat(...args: string[]): Promise<{ server: Program; port: string }> {
  const server = keep(Program.start(["socat", "-dd", ...args]));
  return { server, port: await portOf(server) };
}

for (const options of [[], ["--connect-timeout", 30, "--timeout", 30]]) {
  const so = options.length === 0 ? "" : ` with ${options.join(" ")}`;

  test(`Ctrl-C while it connects${so} is status 130, and nothing is left of the connection`, async () => {
    const { port } = blackHole(keep);
    const program = keep(netcat([...options, "127.0.0.1", port]));
    await until("the netcat to connect", () => connecting(port));
    await interrupt(program);
    expect(program.errors).toBe("");
    expect(connecting(port)).toBe(false);
  });

  for (const kind of kinds) {
    test(`Ctrl-C while one that ${kind} waits${so} is status 130, and the peer sees an end`, async () => {
      const { program, peer } = await connection(keep, kind, {}, options);
      peer.writeSync("hello\n");
      expect(await program.line()).toBe("hello");
      await interrupt(program);
      expect(drain(peer)).toEqual({ bytes: 0, end: "end" });
      expect(program.output).toBe("hello\n");
    });
  }

  // Interleaving: the signal comes right before a wait, when the thread is on its way into the kernel.
  test(`Ctrl-C in the very moment in which it begins to listen${so} is status 130, and nobody listens any more`, async () => {
    const program = keep(netcat(["--verbose", ...options, "--listen", "127.0.0.1", 0]));
    const port = await listening(program);
    await interrupt(program);
    expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout: 10_000 })).code).toBe("ECONNREFUSED");
  });

  test(`Ctrl-C in the very moment in which it has connected${so} is status 130`, async () => {
    const { program, peer } = await connection(keep, "connects over TCP", {}, options);
    await interrupt(program);
    expect(drain(peer)).toEqual({ bytes: 0, end: "end" });
  });

  test(`Ctrl-C while it listens at a path${so} is status 130, and the file is gone`, async () => {
    const path = `${keep(temporaryDirectory()).path}/socket`;
    const program = keep(netcat(["--verbose", ...options, "--listen", "--unix", path]));
    await listening(program);
    expect(existsSync(path)).toBe(true);
    await interrupt(program);
    expect(existsSync(path)).toBe(false);
  });
}

for (const kind of kinds) {
  test(`Ctrl-C while input without end flows through one that ${kind}: status 130, and the peer sees an end`, async () => {
    const { program, peer } = await connection(keep, kind, { input: "/dev/zero" });
    const buffer = new Uint8Array(1 << 16);
    for (let read = 0; read < 10_000_000; ) read += peer.readSync(buffer, { timeout: 10_000 });
    program.kill("SIGINT");
    expect(drain(peer).end).toBe("end");
    expect(await program.exited()).toBe(130);
  });
}

needs("socat")("Ctrl-C while output without end flows: status 130, and the peer sees an end", async () => {
  const { server, port } = await socat("-u", "OPEN:/dev/zero", "TCP-LISTEN:0,bind=127.0.0.1");
  const program = keep(netcat(["127.0.0.1", port], { output: "/dev/null" }));
  await until("ten megabytes to have come", () => moved(program, "wchar") > 10_000_000);
  await interrupt(program);
  expect(program.errors).toBe("");
  await server.exited();
  expect(server.errors).toMatch(/Broken pipe|Connection reset by peer/);
});

needs("socat")("Ctrl-C while both directions are stuck: status 130, and the peer sees an end", async () => {
  const { server, port } = await socat("-u", "OPEN:/dev/zero", "TCP-LISTEN:0,bind=127.0.0.1");
  const program = keep(netcat(["127.0.0.1", port], { input: "/dev/zero", output: keep(new Fifo()).path }));
  await until("something to have come", () => moved(program, "wchar") >= 4096);
  await stalled(program);
  await interrupt(program);
  expect(program.errors).toBe("");
  await server.exited();
  expect(server.errors).toMatch(/Broken pipe|Connection reset by peer/);
});

test("Ctrl-C says nothing without --verbose, and one word with it", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  for (const [option, said] of [
    [[], /^$/],
    [["--verbose"], /\ninterrupted\n$/],
  ] as const) {
    const program = keep(netcat([...option, "127.0.0.1", listener.address.port]));
    const peer = keep(listener.acceptSync({ timeout: 10_000 }));
    peer.writeSync("hello\n");
    expect(await program.line()).toBe("hello");
    await interrupt(program);
    expect(program.errors).toMatch(said);
  }
});

needs(
  "socat",
  "bash",
  "od",
)("a reader that has had enough ends it quietly, with the connection, status 0", async () => {
  const { server, port } = await socat("-u", "OPEN:/dev/zero", "TCP-LISTEN:0,bind=127.0.0.1");
  const script = '"$@" | head -c 10 | od -An -tx1; echo $PIPESTATUS';
  const command = ["bash", "-c", script, "bash", ...client(), "127.0.0.1", port];
  const pipeline = keep(Program.start(command, { stdin: "pipe" }));
  expect(await pipeline.done()).toBe(" 00 00 00 00 00 00 00 00 00 00\n0\n");
  expect(pipeline.errors).toBe("");
  await server.exited();
  expect(server.errors).toMatch(/Broken pipe|Connection reset by peer/);
});

needs("bash", "head")("a reader that has had enough ends it also while nothing comes", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const command = ["bash", "-c", '"$@" | head -n 1; echo $PIPESTATUS', "bash", ...client()];
  const pipeline = keep(Program.start([...command, "127.0.0.1", `${listener.address.port}`], { stdin: "pipe" }));
  const peer = keep(listener.acceptSync({ timeout: 10_000 }));
  peer.writeSync("one line\n");
  expect(drain(peer)).toEqual({ bytes: 0, end: "end" });
  expect(await pipeline.done()).toBe("one line\n0\n");
  expect(pipeline.errors).toBe("");
});

for (const kind of kinds) {
  test(`a stop and a continue do not end the wait of one that ${kind}`, async () => {
    const { program, peer } = await connection(keep, kind);
    for (const line of ["one", "two", "three"]) {
      await whileStopped(program, () => {});
      peer.writeSync(`${line}\n`);
      expect(await program.line()).toBe(line);
    }
    peer.close();
    expect(await program.exited()).toBe(0);
  });
}

test("a stop and a continue do not end the wait for a connection", async () => {
  const { port, listener } = blackHole(keep);
  const program = keep(netcat(["127.0.0.1", port]));
  await until("the netcat to connect", () => connecting(port));
  await whileStopped(program, () => {});
  keep(listener.acceptSync({ timeout: 10_000 })); // room in the backlog
  const peer = keep(listener.acceptSync({ timeout: 30_000 }));
  peer.writeSync("hello\n");
  expect(await program.line()).toBe("hello");
});

for (const over of ["TCP", "a Unix socket"] as const) {
  test(`a stop and a continue leave a listener where it is, and keep who has come meanwhile, over ${over}`, async () => {
    const path = `${keep(temporaryDirectory()).path}/socket`;
    const program = keep(netcat(["--verbose", "--listen", ...(over === "TCP" ? ["127.0.0.1", 0] : ["--unix", path])]));
    const port = await listening(program);
    const connect = () => keep(over === "TCP" ? connectSync({ hostname: "127.0.0.1", port }) : connectSync({ path }));
    await whileStopped(program, () => {});
    await whileStopped(program, () => connect().writeSync("hello\n"));
    expect(await program.line()).toBe("hello");
    expect(program.errors.match(/listening on/g)).toHaveLength(1);
  });
}

for (const [what, args] of [
  ["a connect", (port: number) => ["--connect-timeout", 1, "127.0.0.1", port]],
  ["a listener", () => ["--connect-timeout", 1, "--listen", "127.0.0.1", 0]],
  ["a transfer", (_: number, open: number) => ["--timeout", 1, "127.0.0.1", open]],
] as const) {
  test(`stops and continues do not lengthen the time that ${what} has`, async () => {
    const open = keep(listen({ hostname: "127.0.0.1" })).address.port;
    const program = keep(netcat(args(blackHole(keep).port, open)));
    const status = ending(program);
    await until("its second to be up, though it is stopped and continued all the time", () => {
      program.kill("SIGSTOP");
      program.kill("SIGCONT");
      return status() !== undefined;
    });
    expect(status()).toBe(124);
  });
}
