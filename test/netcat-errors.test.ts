/** client.ts as a netcat: network errors (status 1) and time that is up (status 124). */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { connectSync, listen } from "../src/index.ts";
import { connection, drain, Fifo, kinds, listening, netcat, stalled, test, whileStopped } from "./netcat.ts";
import { blackHole, keeper, refusedPort, temporaryDirectory } from "./setup.ts";
import { until } from "./thread.ts";
import type { Program } from "./tool.ts";

const keep = keeper();
const zeroes = "/dev/zero";

/** Waits for its end: what it said on standard error, of one that wrote nothing to standard output. */
async function failure(program: Program, status: number): Promise<string> {
  expect(await program.exited()).toBe(status);
  expect(program.output).toBe("");
  return program.errors;
}

for (const hostname of ["127.0.0.1", "::1", "localhost"]) {
  test(`a connect to ${hostname} that is refused is status 1, and the message names the address`, async () => {
    const port = refusedPort();
    const message = await failure(keep(netcat([hostname, port])), 1);
    expect(message).toContain("ECONNREFUSED");
    expect(message).toMatch(/127\.0\.0\.1:\d+|::1 port \d+/);
    expect(message).toContain(String(port));
    expect(message.trimEnd()).not.toContain("\n");
  });
}

// A name that no server has to be asked for, so that nothing leaves this machine.
for (const args of [
  ["a..b", "80"],
  ["--listen", "a..b", "80"],
]) {
  test(`an unknown host is status 1, and the message names it: ${args.join(" ")}`, async () => {
    const message = await failure(keep(netcat(args)), 1);
    expect(message).toContain("ENOTFOUND");
    expect(message).toContain("a..b");
  });
}

test("a path without a server is status 1, and the message names it", async () => {
  const { path } = keep(temporaryDirectory());
  const missing = await failure(keep(netcat(["--unix", `${path}/socket`])), 1);
  expect(missing).toContain(`ENOENT ${path}/socket`);
  writeFileSync(`${path}/file`, "");
  expect(await failure(keep(netcat(["--unix", `${path}/file`])), 1)).toContain(`ECONNREFUSED ${path}/file`);
  const long = `${path}/${"x".repeat(200)}`;
  expect(await failure(keep(netcat(["--unix", long])), 1)).toContain(long);
});

test("an address that cannot be listened on is status 1, and the message names it", async () => {
  const { port } = keep(listen({ hostname: "127.0.0.1" })).address;
  expect(await failure(keep(netcat(["--listen", "127.0.0.1", port])), 1)).toContain(`EADDRINUSE 127.0.0.1:${port}`);
  const { path } = keep(temporaryDirectory());
  keep(listen({ path: `${path}/socket` }));
  expect(await failure(keep(netcat(["--listen", "--unix", `${path}/socket`])), 1)).toContain(`${path}/socket`);
  expect(await failure(keep(netcat(["--listen", "--unix", `${path}/no/socket`])), 1)).toContain(`${path}/no/socket`);
  writeFileSync(`${path}/file`, "precious");
  expect(await failure(keep(netcat(["--listen", "--unix", `${path}/file`])), 1)).toContain(`${path}/file`);
});

test("a client of all addresses that resets is status 1, and the message names its address", async () => {
  const program = keep(netcat(["--verbose", "--listen", 0]));
  const peer = keep(connectSync({ hostname: "127.0.0.1", port: await listening(program) }));
  peer.writeSync("hello\n");
  expect(await program.line()).toBe("hello");
  peer.resetAndDestroy();
  expect(await program.exited()).toBe(1);
  expect(program.errors).toMatch(/127\.0\.0\.1.*ECONNRESET/);
  expect(program.errors).not.toContain("undefined");
});

for (const kind of kinds) {
  test(`one that ${kind}: a peer that resets is status 1, and the message names the address`, async () => {
    const input = Buffer.from("unread");
    const { program, peer, address } = await connection(keep, kind, { input });
    await until("the input to arrive", () => peer.tryRead(new Uint8Array(1)) === 1);
    peer.resetAndDestroy(); // of a Unix socket: by what it has not read
    expect(await failure(program, 1)).toMatch(/ECONNRESET|EPIPE/);
    const message = program.errors.split("\n").find((line) => /ECONNRESET|EPIPE/.test(line));
    expect(message).toContain(address);
    expect(message).not.toMatch(/undefined|port 0\b/);
  });

  test(`one that ${kind}: a peer that is gone while our input flows is status 1`, async () => {
    const { program, peer } = await connection(keep, kind, { input: zeroes });
    expect(peer.readSync(new Uint8Array(1000), { timeout: 10_000 })).toBe(1000);
    peer.close();
    expect(await failure(program, 1)).toMatch(/ECONNRESET|EPIPE/);
  });

  // Interleaving: the answer and the reset are both there before the netcat looks, and it has something to write.
  test(`one that ${kind}: the last words of a peer that resets still come out`, async () => {
    const { program, peer } = await connection(keep, kind, { input: zeroes });
    expect(peer.readSync(new Uint8Array(1000), { timeout: 10_000 })).toBe(1000);
    await stalled(program);
    await whileStopped(program, () => {
      peer.writeSync("413 Content Too Large\n");
      peer.close();
    });
    expect(await program.exited()).toBe(1);
    expect(program.output).toBe("413 Content Too Large\n");
  });
}

for (const kind of ["connects over TCP", "listens at a path"] as const) {
  test(`one that ${kind}: --timeout is status 124 when nothing moves for so long`, async () => {
    const { program, peer } = await connection(keep, kind, {}, ["--timeout", 1]);
    const start = performance.now();
    peer.writeSync("moves\n");
    expect(await program.exited()).toBe(124);
    expect(performance.now() - start).toBeGreaterThanOrEqual(1000);
    expect(program.output).toBe("moves\n");
    expect(program.errors).toContain("timed out");
    expect(drain(peer)).toEqual({ bytes: 0, end: "end" });
  });
}

for (const [what, input] of [
  ["when the peer does not read our input", zeroes],
  ["when our input has ended and no answer comes", "/dev/null"],
] as const) {
  test(`--timeout is status 124 ${what}`, async () => {
    const { program } = await connection(keep, "connects over TCP", { input }, ["--timeout", 0.3]);
    expect(await failure(program, 124)).toContain("timed out");
  });
}

test("--timeout is status 124 when nobody reads our output", async () => {
  const output = keep(new Fifo()).path;
  const { program, peer } = await connection(keep, "connects over TCP", { output }, ["--timeout", 1]);
  peer.writeSync(new Uint8Array(200_000)); // more than the pipe and the netcat hold
  expect(await failure(program, 124)).toContain("timed out");
});

test("--timeout does not end a transfer in which something moves, however long it takes", async () => {
  const { program, peer } = await connection(keep, "connects over TCP", {}, ["--timeout", 2]);
  let lines = 0;
  for (const start = performance.now(); performance.now() - start < 2500; lines++) {
    peer.writeSync("moves\n");
    expect(await program.line()).toBe("moves");
    await Bun.sleep(50);
  }
  peer.close();
  expect(await program.done()).toBe("moves\n".repeat(lines));
});

test("--connect-timeout is status 124 when nobody answers", async () => {
  const { port } = blackHole(keep);
  const start = performance.now();
  expect(await failure(keep(netcat(["--connect-timeout", 0.3, "127.0.0.1", port])), 124)).toContain("timed out");
  expect(performance.now() - start).toBeGreaterThanOrEqual(300);
});

test("--connect-timeout is status 124 when the backlog of a Unix socket stays full", async () => {
  const path = `${keep(temporaryDirectory()).path}/socket`;
  keep(listen({ path, backlog: 0 }));
  keep(connectSync({ path }));
  expect(await failure(keep(netcat(["--connect-timeout", 0.3, "--unix", path])), 124)).toContain("timed out");
});

for (const option of ["--connect-timeout", "--timeout"]) {
  for (const over of ["TCP", "a Unix socket"]) {
    test(`${option} is status 124 when no client comes to --listen, over ${over}`, async () => {
      const where = over === "TCP" ? ["127.0.0.1", 0] : ["--unix", `${keep(temporaryDirectory()).path}/socket`];
      const program = keep(netcat([option, 0.3, "--listen", ...where]));
      expect(await failure(program, 124)).toContain("timed out");
    });
  }
}

test("--connect-timeout is about the connection alone, and --timeout begins after it", async () => {
  const options = ["--connect-timeout", 1, "--timeout", 30];
  const { program, peer } = await connection(keep, "connects over TCP", {}, options);
  const start = performance.now();
  await until("the connect timeout to be long over", () => performance.now() - start > 1200);
  peer.writeSync("late\n");
  expect(await program.line()).toBe("late");
  peer.close();
  expect(await program.exited()).toBe(0);
});

test("of --connect-timeout and --timeout, a --listen waits for its client by the first", async () => {
  const program = keep(netcat(["--verbose", "--connect-timeout", 30, "--timeout", 0.3, "--listen", "127.0.0.1", 0]));
  const port = await listening(program);
  const start = performance.now();
  await until("the timeout to be long over", () => performance.now() - start > 600);
  const peer = keep(connectSync({ hostname: "127.0.0.1", port }));
  expect(await program.exited()).toBe(124);
  expect(drain(peer)).toEqual({ bytes: 0, end: "end" });
});
