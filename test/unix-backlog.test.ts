/** A Unix server whose backlog is full: the kernel says EAGAIN to a client, and nothing tells when there is room. */
import { afterAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CancelSource, connectSync, listen, type UnixListener } from "../src/index.ts";
import type { ConnectJob } from "./bodies/unix.ts";
import { changes, changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { fdTable, type Thread, thrown } from "./thread.ts";
import { dial } from "./unix.ts";
import { start } from "./victim.ts";

const keep = keeper();
const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
let paths = 0;

/** A listener that has all the clients it has room for. */
function full(backlog = 0): { path: string; listener: UnixListener } {
  const path = join(directory.path, `${paths++}`);
  const listener = keep(listen({ path, backlog }));
  for (let client = 0; client <= backlog; client++) keep(dial(path));
  return { path, listener };
}

/** Processor time of a thread, in milliseconds; the kernel counts it in ticks of 10 ms. */
function busy({ tid }: Thread): number {
  const [user, system] = readFileSync(`/proc/self/task/${tid}/stat`, "latin1").split(") ")[1]!.split(" ").slice(11, 13);
  return (Number(user) + Number(system)) * 10;
}

test("a connect waits while the backlog is full, with little CPU, and is cancelled from another thread", async () => {
  const before = await quietTable();
  const { path, listener } = full();
  const source = keep(new CancelSource());
  const thread = await start(keep, "unix", "connect", { path, cancel: source.handle } satisfies ConnectJob);
  await thread.blocked();
  const from = busy(thread);
  const begun = performance.now();
  await Bun.sleep(500);
  const spent = busy(thread) - from;
  expect(spent).toBeLessThan((performance.now() - begun) / 4);
  expect(source.cancel("enough")).toBe(true);
  expect(await thread.next<object>()).toMatchObject({ name: "AbortError", cause: "enough" });
  await thread.join();
  // It left nothing behind in the server's queue.
  listener.acceptSync({ timeout: 5000 }).close();
  expect(listener.tryAccept()).toBeNull();
  listener.close();
  source.dispose();
  const { opened, closed } = await changesSince(before);
  expect(closed).toEqual({});
  expect(Object.values(opened).filter((what) => !what.startsWith("socket:"))).toEqual([]); // the client that fills it
});

test("a connect to a full backlog times out, and not before its time, and leaves no descriptor", () => {
  const { path } = full(3);
  const open = fdTable();
  for (const timeout of [0, 1, 20, 150]) {
    const begun = performance.now();
    expect(thrown(() => keep(connectSync({ path, timeout })))).toMatchObject({
      name: "TimeoutError",
      code: "ERR_TIMEOUT",
    });
    expect(performance.now() - begun).toBeGreaterThanOrEqual(timeout);
  }
  expect(changes(open)).toEqual(NONE);
});

test("a connect to a full backlog by a source that times out, and by one that is cancelled already, fails so", () => {
  const { path } = full();
  const open = fdTable();
  using timed = CancelSource.timeout(30);
  expect(thrown(() => keep(connectSync({ path, cancel: timed })))).toMatchObject({ name: "TimeoutError" });
  using cancelled = new CancelSource();
  cancelled.cancel("before");
  expect(thrown(() => keep(connectSync({ path, cancel: cancelled })))).toMatchObject({ name: "AbortError" });
  expect(changes(open)).toEqual(NONE);
});

test("a connect succeeds once there is room, and the clients come out in order", async () => {
  const { path, listener } = full();
  const source = keep(new CancelSource());
  const thread = await start(keep, "unix", "connect", { path, cancel: source.handle } satisfies ConnectJob);
  await thread.blocked();
  expect(listener.tryAccept()?.close()).toBeUndefined(); // the one that filled it: now there is room
  const client = keep(listener.acceptSync({ timeout: 20_000 }));
  client.writeSync("come in");
  expect(await thread.next<object>()).toEqual({ text: "come in" });
  await thread.join();
});

test("of eight connects that wait for room each gets in, one after the other", async () => {
  const { path, listener } = full();
  const source = keep(new CancelSource());
  const job: ConnectJob = { path, cancel: source.handle };
  const threads = await Promise.all(Array.from({ length: 8 }, () => start(keep, "unix", "connect", job)));
  for (const thread of threads) await thread.blocked();
  listener.acceptSync({ timeout: 5000 }).close();
  for (const _ of threads) {
    using client = listener.acceptSync({ timeout: 20_000 });
    client.writeSync("next");
  }
  for (const thread of threads) {
    expect(await thread.next<object>()).toEqual({ text: "next" });
    await thread.join();
  }
  expect(listener.tryAccept()).toBeNull();
});

test("a connect that waits for room is refused when the server closes, and finds no file", async () => {
  const { path, listener } = full();
  const source = keep(new CancelSource());
  const thread = await start(keep, "unix", "connect", { path, cancel: source.handle } satisfies ConnectJob);
  await thread.blocked();
  listener.close();
  expect(await thread.next<object>()).toMatchObject({ name: "SystemError", code: "ENOENT" });
  await thread.join();
});

test("the timeout of a connect goes on while it waits for room", async () => {
  const { path } = full();
  const source = keep(new CancelSource());
  const thread = await start(keep, "unix", "connect", {
    path,
    cancel: source.handle,
    timeout: 300,
  } satisfies ConnectJob);
  expect(await thread.next<object>()).toMatchObject({ name: "TimeoutError" });
  await thread.join();
});
