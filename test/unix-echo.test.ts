import { afterAll, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { listen } from "../src/index.ts";
import { UP } from "./bodies/unix.ts";
import { passed } from "./gates.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { until } from "./thread.ts";
import { needs, Program } from "./tool.ts";
import { start } from "./victim.ts";

const keep = keeper();
const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
const LENGTH = 1_000_000;
const path = () => join(directory.path, crypto.randomUUID());

/** Whether somebody listens at this path: between bind and listen there is a file, and a client is refused. */
function listens(at: string): boolean {
  const accepting = " 00010000 ";
  return readFileSync("/proc/net/unix", "latin1")
    .split("\n")
    .some((line) => line.includes(accepting) && line.endsWith(at));
}

/** A thread that is an echo at this path, for one client. */
async function echoAt(at: string) {
  const listener = keep(listen({ path: at }));
  const thread = await start(keep, "unix", "echo", listener.handle);
  passed(thread.flags, UP);
  return thread;
}

needs("python3")("1 MB to a Python server and back over a Unix socket arrive as they were sent", async () => {
  const at = path();
  const server = keep(Program.python("unix.py", ["echo", at]));
  await server.line();
  const thread = await start(keep, "unix", "sendToEcho", { path: at, length: LENGTH });
  expect(await thread.next<object>()).toEqual({ same: true, end: 0 });
  await thread.join();
});

needs("python3")("1 MB from a Python client and back over a Unix socket arrive as they were sent", async () => {
  const at = path();
  const thread = await echoAt(at);
  const client = keep(Program.python("unix.py", ["send", at, LENGTH]));
  expect(await thread.next<number>()).toBe(LENGTH);
  expect(await client.done()).toBe("the same\n");
  await thread.join();
});

needs("python3")("a Python client and a Python server meet us at an abstract name", async () => {
  const name = `cancelfd-test-${crypto.randomUUID()}`;
  const thread = await echoAt(`\0${name}-ours`);
  const client = keep(Program.python("unix.py", ["send", `@${name}-ours`, LENGTH]));
  expect(await client.done()).toBe("the same\n");
  await thread.join();
  const server = keep(Program.python("unix.py", ["echo", `@${name}-theirs`]));
  await server.line();
  const other = await start(keep, "unix", "sendToEcho", { path: `\0${name}-theirs`, length: LENGTH });
  expect(await other.next<object>()).toEqual({ same: true, end: 0 });
  await other.join();
});

needs("socat")("1 MB to socat as the server and back over a Unix socket arrive as they were sent", async () => {
  const at = path();
  keep(Program.start(["socat", `UNIX-LISTEN:${at}`, "EXEC:cat"]));
  await until("socat to listen", () => listens(at));
  const thread = await start(keep, "unix", "sendToEcho", { path: at, length: LENGTH });
  expect(await thread.next<object>()).toEqual({ same: true, end: 0 });
  await thread.join();
});

needs("socat")("1 MB from socat as the client and back over a Unix socket arrive as they were sent", async () => {
  const at = path();
  const thread = await echoAt(at);
  const data = crypto.getRandomValues(new Uint8Array(65_536));
  const stdin = Buffer.concat(Array.from({ length: 16 }, () => data));
  const client = keep(Program.start(["socat", "-t30", "-", `UNIX-CONNECT:${at}`], { stdin }));
  expect(await thread.next<number>()).toBe(stdin.byteLength);
  await client.done();
  expect(client.bytes.equals(stdin)).toBe(true);
  await thread.join();
});
