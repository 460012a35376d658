/** Operations leave nothing behind, however they end and however many there were. */
import { expect, test } from "bun:test";
import { CancelledError, CancelSource, connect, type OperationOptions, type TcpSocket } from "../../src/index.ts";
import { around } from "../hooks.ts";
import { NONE } from "../leaks.ts";
import { blackHole, keeper, pair } from "../setup.ts";
import { changesAtRest, restingTable } from "./settled.ts";

const keep = keeper();
const OPERATIONS = 100_000;
/** Operations that wait at the same time. */
const TOGETHER = 1000;
const nothing = () => {};

/** Bytes of memory, once garbage is gone. */
function memory(): number {
  Bun.gc(true);
  Bun.gc(true);
  return process.memoryUsage().rss;
}

/**
 * `round` does some operations. Half as many as are measured warm up; then the descriptors have to stay as they are, and
 * memory about where it is: 400 bytes an operation would show.
 */
async function leavesNothing(operations: number, round: () => Promise<number>): Promise<void> {
  let done = 0;
  while (done < operations / 2) done += await round();
  const before = await restingTable();
  const start = memory();
  while (done < operations * 1.5) done += await round();
  expect(await changesAtRest(before)).toEqual(NONE);
  expect(memory() - start).toBeLessThan(40 << 20);
}

const failed = (read: Promise<unknown>) =>
  read.then(
    () => {
      throw new Error("it was to be cancelled");
    },
    (error: unknown) => error,
  );

function readsOf(socket: TcpSocket, options: OperationOptions): Promise<unknown>[] {
  return Array.from({ length: TOGETHER }, () => failed(socket.read(new Uint8Array(8), options)));
}

/** A signal that counts its listeners. */
function counted(): {
  signal: AbortSignal;
  abort: (reason?: unknown) => void;
  listeners: () => number;
  most: () => number;
} {
  const controller = new AbortController();
  const { signal } = controller;
  let [now, most] = [0, 0];
  const { addEventListener, removeEventListener } = signal;
  Object.assign(signal, {
    addEventListener(...parameters: Parameters<typeof addEventListener>) {
      most = Math.max(most, ++now);
      addEventListener.apply(signal, parameters);
    },
    removeEventListener(...parameters: Parameters<typeof removeEventListener>) {
      now--;
      removeEventListener.apply(signal, parameters);
    },
  });
  return { signal, abort: (reason) => controller.abort(reason), listeners: () => now, most: () => most };
}

test("100,000 reads that succeed under one AbortSignal: it has one listener at most, and none in the end", async () => {
  const { client, server } = pair(keep);
  const { signal, listeners, most } = counted();
  const into = new Uint8Array(1);
  const data = new Uint8Array(TOGETHER);
  await leavesNothing(OPERATIONS, async () => {
    const reads = Array.from({ length: TOGETHER }, () => client.read(into, { signal }));
    await server.write(data, { signal });
    await Promise.all(reads);
    expect(listeners()).toBe(0);
    return TOGETHER;
  });
  expect(most()).toBe(1);
});

test("100,000 reads that are aborted, 1,000 a signal: no listener is left, and the reason is the very object", async () => {
  const { client } = pair(keep);
  await leavesNothing(OPERATIONS, async () => {
    const { signal, abort, listeners, most } = counted();
    const reads = readsOf(client, { signal });
    const reason = {};
    abort(reason);
    for (const error of await Promise.all(reads)) if (error !== reason) throw new Error("not the reason");
    expect([listeners(), most()]).toEqual([0, 1]);
    return TOGETHER;
  });
});

test("100,000 reads with timeouts, that end before them or by them", async () => {
  const { client, server } = pair(keep);
  const into = new Uint8Array(1);
  const data = new Uint8Array(TOGETHER);
  await leavesNothing(OPERATIONS, async () => {
    const reads = Array.from({ length: TOGETHER }, (_, i) => client.read(into, { timeout: 3_600_000 - i }));
    await server.write(data);
    await Promise.all(reads);
    const late = await Promise.all(readsOf(client, { timeout: 0.5 }));
    if (!late.every((error) => (error as Error).name === "TimeoutError")) throw new Error("not in time");
    return 2 * TOGETHER;
  });
});

test("100,000 reads with a source, that succeed or are cancelled: of this thread alone, and of others too", async () => {
  for (const shared of [false, true]) {
    const { client, server } = pair(keep);
    const source = keep(new CancelSource());
    if (shared) void source.handle;
    const into = new Uint8Array(1);
    const data = new Uint8Array(TOGETHER);
    await leavesNothing(OPERATIONS / 2, async () => {
      const reads = Array.from({ length: TOGETHER }, () => client.read(into, { cancel: source }));
      await server.write(data, { cancel: source });
      await Promise.all(reads);
      const cancelled = readsOf(client, { cancel: source });
      source.cancel();
      for (const error of await Promise.all(cancelled)) expect(error).toBeInstanceOf(CancelledError);
      source.reset();
      return 2 * TOGETHER;
    });
  }
});

test("10,000 sources that are made, waited on, cancelled and disposed, each with a child, half of them with a handle", async () => {
  const { client } = pair(keep);
  await leavesNothing(10_000, async () => {
    for (let i = 0; i < 100; i++) {
      using source = new CancelSource();
      using child = source.child();
      if (i % 2 === 0) void child.handle;
      const { signal } = child;
      const read = failed(client.read(new Uint8Array(8), { cancel: child }));
      source.cancel();
      expect(await read).toBeInstanceOf(CancelledError);
      expect(signal.aborted).toBe(true);
    }
    return 100;
  });
});

test("10,000 connects that are cancelled on the way, by a source, a signal or a timeout", async () => {
  const { port } = blackHole(keep);
  const address = { hostname: "127.0.0.1", port };
  const source = keep(new CancelSource());
  await leavesNothing(10_000, async () => {
    const controller = new AbortController();
    const connects = Array.from({ length: 60 }, (_, i) =>
      failed(
        connect({
          ...address,
          ...[{ cancel: source }, { signal: controller.signal }, { timeout: 0.2 }][i % 3],
        }),
      ),
    );
    await Promise.resolve();
    source.cancel();
    controller.abort();
    await Promise.all(connects);
    source.reset();
    return connects.length;
  });
});

test("the 100,000th wait costs what the second did: no registration, no timer, no system call more", async () => {
  const { client, server } = pair(keep);
  const source = keep(new CancelSource());
  void source.handle;
  const { signal } = new AbortController();
  const into = new Uint8Array(1);
  const byte = new Uint8Array(1);
  const calls = { epoll_ctl: 0, timerfd_settime: 0, fcntl: 0 };
  for (const name of Object.keys(calls) as (keyof typeof calls)[]) keep(around([name], () => calls[name]++, nothing));
  const many = async (times: number) => {
    for (let i = 0; i < times; i++) {
      const read = client.read(into, { cancel: source, signal, timeout: 3_600_000 });
      await server.write(byte);
      await read;
    }
  };
  await many(100);
  const before = { ...calls };
  await many(20_000);
  expect(calls.epoll_ctl).toBe(before.epoll_ctl);
  expect(calls.timerfd_settime - before.timerfd_settime).toBeLessThan(10);
});
