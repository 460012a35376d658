/** Deadlines of promise operations: moved while something is pending, never early, and cheap to move. */
import { expect, test } from "bun:test";
import { monotonic } from "../../ffi/index.ts";
import { connect, TimeoutError, type When } from "../../src/index.ts";
import type { FarReport } from "../bodies/far-deadlines.ts";
import { around } from "../hooks.ts";
import { blackHole, keeper, pair } from "../setup.ts";
import { Thread } from "../thread.ts";

const keep = keeper();
const into = new Uint8Array(64);
const onPoll = process.env.CANCELFD_BACKEND === "poll";
const nothing = () => {};

/** What it comes to: "pending" as long as it does not, which is looked at after the loop has had some turns. */
function watched(operation: Promise<unknown>): { state: string; at: number; done: Promise<void> } {
  const watch = { state: "pending", at: Number.NaN, done: Promise.resolve() };
  watch.done = operation.then(
    (value) => void Object.assign(watch, { state: String(value), at: monotonic() }),
    (error: Error) => void Object.assign(watch, { state: error.name, at: monotonic() }),
  );
  return watch;
}

/** What it fails with. (`expect(…).rejects` of Bun runs the loop until then: several would come one after the other.) */
const failure = (operation: Promise<unknown>) => operation.catch((error: unknown) => error);

test("a deadline that is set while a read is pending ends it, and not before its time", async () => {
  const { client } = pair(keep);
  const read = watched(client.read(into));
  await Bun.sleep(1);
  const begin = monotonic();
  client.setReadDeadline(20);
  await read.done;
  expect(read.state).toBe("TimeoutError");
  expect(read.at).toBeGreaterThanOrEqual(begin + 20);
});

test("moved earlier, it ends what is pending earlier", async () => {
  const { client } = pair(keep);
  client.setDeadline(3_600_000);
  const read = watched(client.read(into));
  await Bun.sleep(1);
  client.setDeadline(5);
  await read.done; // in an hour, else
  expect(read.state).toBe("TimeoutError");
});

test("moved later, it ends what is pending later", async () => {
  const { client } = pair(keep);
  client.setReadDeadline(20);
  const read = watched(client.read(into));
  const begin = monotonic();
  client.setReadDeadline(120);
  await read.done;
  expect(read.state).toBe("TimeoutError");
  expect(read.at).toBeGreaterThanOrEqual(begin + 120);
});

test("cleared, it ends nothing any more", async () => {
  const { client, server } = pair(keep);
  client.setReadDeadline(20);
  const read = watched(client.read(into));
  client.setReadDeadline(null);
  const other = pair(keep).client;
  await expect(other.read(into, { timeout: 60 })).rejects.toBeInstanceOf(TimeoutError);
  expect(read.state).toBe("pending");
  server.writeSync("x");
  await read.done;
  expect(read.state).toBe("1");
});

test("set in the past, it ends what is pending at the next look, and what comes later at once, until it is set anew", async () => {
  const { client, server } = pair(keep);
  for (const past of [0, -1, Number.NEGATIVE_INFINITY, new Date(0)] satisfies When[]) {
    client.setReadDeadline(null);
    const reads = [watched(client.read(into)), watched(client.read(into))];
    await Bun.sleep(1);
    client.setReadDeadline(past);
    for (const read of reads) {
      await read.done;
      expect(read.state).toBe("TimeoutError");
    }
    server.writeSync("x");
    await expect(client.read(into)).rejects.toBeInstanceOf(TimeoutError);
    client.setReadDeadline(60_000);
    expect(await client.read(into)).toBe(1);
  }
});

test("a read deadline does not end a write that waits, nor a write deadline a read", async () => {
  const { client, server } = pair(keep);
  const data = new Uint8Array(16 << 20);
  const write = watched(client.write(data));
  const read = watched(client.read(into));
  await Bun.sleep(1);
  client.setReadDeadline(5);
  await read.done;
  expect([read.state, write.state]).toEqual(["TimeoutError", "pending"]);
  client.setReadDeadline(null);
  const second = watched(client.read(into));
  client.setWriteDeadline(5);
  await write.done;
  expect([second.state, write.state]).toEqual(["pending", "TimeoutError"]);
  server.writeSync("x");
  await second.done;
  expect(second.state).toBe("1");
});

test("the earlier of an operation's own timeout and the deadline counts, whichever that is", async () => {
  const { client } = pair(keep);
  for (const [deadline, timeout] of [
    [10, 3_600_000],
    [3_600_000, 10],
  ] as const) {
    client.setDeadline(deadline);
    const begin = monotonic();
    await expect(client.read(into, { timeout })).rejects.toBeInstanceOf(TimeoutError);
    expect(monotonic()).toBeGreaterThanOrEqual(begin + 10);
  }
});

test("200 waits of 0.1 to 50 ms, ten at a time: none ends early", async () => {
  const sockets = Array.from({ length: 10 }, () => pair(keep).client);
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      sockets.map(async (socket, i) => {
        const timeout = 0.1 * 500 ** ((i + round / 20) / 10);
        const byDeadline = (i + round) % 2 === 0;
        const begin = monotonic();
        if (byDeadline) socket.setReadDeadline(timeout);
        const read = socket.read(into, byDeadline ? {} : { timeout });
        expect(await failure(read)).toBeInstanceOf(TimeoutError);
        expect(monotonic() - begin).toBeGreaterThanOrEqual(timeout);
        socket.setReadDeadline(null);
      }),
    );
  }
});

test("1,000 deadlines that are set in any order pass in their own order", async () => {
  const { client } = pair(keep);
  const passed: { earliest: number; latest: number }[] = [];
  const reads = Array.from({ length: 1000 }, async (_, i) => {
    const timeout = 20 + ((i * 619) % 1000) / 20;
    const before = monotonic();
    const read = client.read(into, { timeout });
    const due = { earliest: before + timeout, latest: monotonic() + timeout };
    expect(await failure(read)).toBeInstanceOf(TimeoutError);
    passed.push(due);
  });
  await Promise.all(reads);
  expect(passed.length).toBe(1000);
  expect(passed.filter(({ latest }, i) => i > 0 && latest < passed[i - 1]!.earliest)).toEqual([]);
});

test("two loops that re-arm a deadline of an hour before each of 100,000 operations set no timer for it", async () => {
  const { client, server } = pair(keep);
  let timers = 0;
  keep(around(["timerfd_settime"], () => timers++, nothing));
  const { setTimeout: real } = globalThis;
  const counted = ((...parameters: Parameters<typeof real>) => {
    timers++;
    return real(...parameters);
  }) as typeof real;
  globalThis.setTimeout = Object.assign(counted, real);
  keep({ [Symbol.dispose]: () => void (globalThis.setTimeout = real) });
  const bytes = [new Uint8Array(1), new Uint8Array(1)];
  const loop = async (from: typeof client, to: typeof server, byte: Uint8Array) => {
    for (let i = 0; i < 25_000; i++) {
      to.setReadDeadline(3_600_000);
      from.setWriteDeadline(3_600_000);
      const read = to.read(byte);
      await from.write(byte);
      await read;
    }
  };
  await Promise.all([loop(client, server, bytes[0]!), loop(server, client, bytes[1]!)]);
  expect(timers).toBeLessThan(20);
});

test("huge and odd times: never, or an error, but not now", async () => {
  const { client, server } = pair(keep);
  const huge = [2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, 1e300, Number.MAX_VALUE, Number.POSITIVE_INFINITY];
  const odd: When[] = [...huge, null, undefined, new Date(8.64e15)];
  const reads = odd.map((timeout) => watched(client.read(into, { timeout })));
  for (const when of odd) client.setDeadline(when);
  await expect(pair(keep).client.read(into, { timeout: 30 })).rejects.toBeInstanceOf(TimeoutError);
  expect(reads.map(({ state }) => state)).toEqual(odd.map(() => "pending"));
  for (const read of reads) {
    server.writeSync("x");
    await read.done;
    expect(read.state).toBe("1");
  }
  for (const bad of [Number.NaN, new Date(Number.NaN), Date.now(), Date.now() + 5000]) {
    await expect(client.read(into, { timeout: bad })).rejects.toBeInstanceOf(RangeError);
    expect(() => client.setDeadline(bad)).toThrow(RangeError);
  }
  for (const bad of ["5", {}, true, 5n] as unknown as When[]) {
    await expect(client.read(into, { timeout: bad })).rejects.toBeInstanceOf(TypeError);
  }
});

test("the smallest timeouts end a read, and 0 before it asks the kernel", async () => {
  const { client, server } = pair(keep);
  for (const timeout of [Number.MIN_VALUE, 1e-9, 1e-3]) {
    await expect(client.read(into, { timeout })).rejects.toBeInstanceOf(TimeoutError);
  }
  server.writeSync("x");
  for (const timeout of [0, -5, new Date()]) {
    await expect(client.read(into, { timeout })).rejects.toBeInstanceOf(TimeoutError);
  }
  expect(await client.read(into)).toBe(1);
});

test("accept and connect have theirs", async () => {
  const { listener } = pair(keep);
  const begin = monotonic();
  listener.setDeadline(10);
  await expect(listener.accept()).rejects.toBeInstanceOf(TimeoutError);
  await expect(listener.accept()).rejects.toBeInstanceOf(TimeoutError);
  const { port } = blackHole(keep);
  await expect(connect({ hostname: "127.0.0.1", port, timeout: 10 })).rejects.toBeInstanceOf(TimeoutError);
  expect(monotonic()).toBeGreaterThanOrEqual(begin + 20);
});

test("a deadline that is moved 10,000 times while a read is pending costs a system call only when it comes earlier", async () => {
  if (onPoll) return; // there it is a timer of Bun's
  const { client, server } = pair(keep);
  client.setReadDeadline(1_000_000);
  const read = client.read(into);
  let calls = 0;
  keep(around(["timerfd_settime"], () => calls++, nothing));
  for (let i = 0; i < 10_000; i++) client.setReadDeadline(1_000_000 + i);
  expect(calls).toBe(0);
  for (let i = 1; i <= 10; i++) client.setReadDeadline(1_000_000 - i * 1000);
  expect(calls).toBe(10);
  server.writeSync("x");
  expect(await read).toBe(1);
});

test("deadlines further away than the longest timer there is end nothing early, and nobody looks at the clock all the while", async () => {
  const thread = await Thread.start("far-deadlines", "waitFarAway", 300);
  const { early, looks } = await thread.next<FarReport>();
  await thread.join();
  expect(early).toEqual([]);
  expect(looks).toBeLessThan(60); // one that went off after a millisecond, each time, would have been set again 300 times
});
