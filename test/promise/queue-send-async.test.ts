/** Sending by promise, within one thread: who waits for room, in which order, and what is left of who does not any more. */
import { expect, test } from "bun:test";
import { constants } from "../../ffi/platform/index.ts";
import {
  BusyError,
  CancelSource,
  ClosedError,
  QueueFullError,
  type QueueOptions,
  SystemError,
  TimeoutError,
  WakeQueue,
} from "../../src/index.ts";
import { coreOfQueue } from "../../src/queue/wake-queue.ts";
import { failWith, faults } from "../faults.ts";
import { NONE } from "../leaks.ts";
import { keeper } from "../setup.ts";
import { thrown } from "../thread.ts";
import { rejection } from "./outcome.ts";
import { changesAtRest, isPending, restingTable, warmUp } from "./settled.ts";

const keep = keeper();
const replace = faults();
const queueOf = <T = unknown>(options?: QueueOptions) => keep(new WakeQueue<T>(options));

/** A queue of numbers that is full: 16 bytes each. */
function fullOf(count: number): WakeQueue<number> {
  const queue = queueOf<number>({ capacity: count * 16 });
  for (let i = 0; i < count; i++) queue.send(i);
  return queue;
}

/** The bytes for which this thread has asked to be woken. */
const awaited = (queue: WakeQueue) => coreOfQueue(queue).rings.own()!.needed;

test("sendAsync sends at once while there is room, and is fulfilled with nothing", async () => {
  const queue = queueOf<number>();
  const sent = queue.sendAsync(1);
  expect(queue.tryReceive()).toBe(1);
  expect(await sent).toBeUndefined();
  expect(awaited(queue)).toBe(0);
});

test("sendAsync waits for room; those that wait are served in order, and the other sends wait behind them", async () => {
  const queue = fullOf(2);
  const done: number[] = [];
  const pending = [2, 3, 4].map((value) => queue.sendAsync(value).then(() => done.push(value)));
  expect(await isPending(Promise.race(pending))).toBe(true);
  expect(queue.tryReceive()).toBe(0);
  // There is room now, and it is theirs.
  expect(queue.trySend(9)).toBe(false);
  expect(thrown(() => queue.send(9))).toBeInstanceOf(QueueFullError);
  expect(thrown(() => queue.sendSync(9, { timeout: 1000 }))).toBeInstanceOf(BusyError);
  const received = [0];
  while (received.length < 5) received.push(await queue.receive());
  await Promise.all(pending);
  expect(received).toEqual([0, 1, 2, 3, 4]);
  expect(done).toEqual([2, 3, 4]);
  expect(awaited(queue)).toBe(0);
  queue.sendSync(5, { timeout: 1000 });
  expect(queue.receiveAll()).toEqual([5]);
});

test("a sendSync that is refused as one is pending takes nothing from its wake-up", async () => {
  const queue = fullOf(1);
  const pending = queue.sendAsync(1);
  expect(await isPending(pending)).toBe(true);
  expect(thrown(() => queue.sendSync(2))).toBeInstanceOf(BusyError);
  expect(awaited(queue)).toBe(16);
  expect(queue.tryReceive()).toBe(0);
  await pending;
  expect(queue.tryReceive()).toBe(1);
});

test("what is sent is the value as it was when sendAsync was called", async () => {
  const queue = queueOf({ capacity: 200 });
  queue.send(new Uint8Array(190));
  const bytes = new Uint8Array([1, 2, 3]);
  const buffer = Buffer.from("buffer");
  const object = { list: [1] };
  const pending = [bytes, buffer, object].map((value) => queue.sendAsync(value));
  bytes.fill(9);
  buffer.fill("x");
  object.list.push(2);
  queue.tryReceive();
  await Promise.all(pending);
  expect(queue.receiveAll()).toEqual([new Uint8Array([1, 2, 3]), new Uint8Array(Buffer.from("buffer")), { list: [1] }]);
});

test("a sendAsync that is cancelled, aborted or timed out leaves nothing: no value, no wish for room, nobody it holds up", async () => {
  const queue = fullOf(2);
  const source = keep(new CancelSource());
  const controller = new AbortController();
  const cancelled = rejection(queue.sendAsync(90, { cancel: source }));
  const aborted = rejection<unknown>(queue.sendAsync(91, { signal: controller.signal }));
  const late = rejection(queue.sendAsync(92, { timeout: 1 }));
  expect(await late).toBeInstanceOf(TimeoutError);
  expect(awaited(queue)).toBe(16);
  controller.abort("the very reason");
  source.cancel("why");
  expect(await cancelled).toMatchObject({ name: "AbortError", cause: "why" });
  expect(await aborted).toBe("the very reason");
  expect(awaited(queue)).toBe(0);
  expect(queue.receiveAll()).toEqual([0, 1]);
  for (const value of [3, 4]) expect(queue.trySend(value)).toBe(true);
  expect(queue.receiveAll()).toEqual([3, 4]);
});

test("who waits behind one that was cancelled gets the room that was too little for that one", async () => {
  const queue = queueOf<Uint8Array>({ capacity: 256 });
  queue.send(new Uint8Array(8));
  queue.send(new Uint8Array(232));
  const source = keep(new CancelSource());
  const large = rejection(queue.sendAsync(new Uint8Array(240), { cancel: source }));
  const small = queue.sendAsync(new Uint8Array(1));
  expect(queue.tryReceive()?.length).toBe(8); // room for the small one alone
  expect(await isPending(small)).toBe(true);
  source.cancel();
  await large;
  await small;
  expect(queue.receiveAll().map(({ length }) => length)).toEqual([232, 1]);
});

test("a cancel at the very moment that there is room: the value is in, or it is not, as the promise says", async () => {
  const source = keep(new CancelSource());
  for (let round = 0; round < 100; round++) {
    using queue = new WakeQueue<number>({ capacity: 16 });
    queue.send(-1);
    const sent = queue.sendAsync(round, { cancel: source }).then(
      () => true,
      () => false,
    );
    if (round % 3) await isPending(sent);
    queue.tryReceive();
    if (round % 2) await new Promise((resolve) => setImmediate(resolve));
    source.cancel();
    source.reset();
    expect(queue.receiveAll()).toEqual((await sent) ? [round] : []);
  }
});

test("close and dispose end a pending sendAsync with ClosedError, and what was in the queue is received", async () => {
  const closed = fullOf(2);
  const pending = [rejection(closed.sendAsync(2)), rejection(closed.sendAsync(3, { timeout: 30_000 }))];
  closed.close();
  for (const error of await Promise.all(pending)) expect(error).toBeInstanceOf(ClosedError);
  expect(closed.receiveAll()).toEqual([0, 1]);
  const disposed = fullOf(2);
  const other = keep(WakeQueue.from<number>(disposed.handle));
  const ended = rejection(disposed.sendAsync(2));
  const goesOn = other.sendAsync(3);
  disposed.dispose();
  expect(await ended).toBeInstanceOf(ClosedError);
  expect(other.receiveAll()).toEqual([0, 1]);
  await goesOn;
  expect(other.receiveAll()).toEqual([3]);
});

test("who wins at entry: arguments, closed, signal, cancel, deadline, and then the room; nothing but a success sends", async () => {
  const queue = queueOf<unknown>({ capacity: 100 });
  const source = keep(new CancelSource());
  source.cancel("why");
  const all = { signal: AbortSignal.abort("the signal"), cancel: source, timeout: 0 };
  expect(await rejection<unknown>(queue.sendAsync(1, all))).toBe("the signal");
  expect(await rejection(queue.sendAsync(1, { cancel: source, timeout: 0 }))).toMatchObject({ cause: "why" });
  expect(await rejection(queue.sendAsync(1, { timeout: 0 }))).toBeInstanceOf(TimeoutError);
  expect(await rejection(queue.sendAsync(() => {}, all))).toMatchObject({ name: "DataCloneError" });
  expect(queue.receiveAll()).toEqual([]);
  const disposed = WakeQueue.from(queue.handle);
  disposed.dispose();
  queue.close();
  for (const gone of [queue, disposed]) {
    expect(await rejection(gone.sendAsync(1, all))).toBeInstanceOf(ClosedError);
    for (const [value, options] of [
      [new SharedArrayBuffer(1), undefined],
      [() => {}, undefined],
      [new Uint8Array(200), undefined],
      [1, 5],
      [1, null],
      [1, { timeout: Number.NaN }],
      [1, { signal: {} }],
      [1, { cancel: {} }],
    ]) {
      const error = await rejection(gone.sendAsync(value, options as never));
      expect(["TypeError", "RangeError", "DataCloneError"]).toContain(error.name);
    }
  }
});

test("one thread that sends and receives by promises gets through a queue with room for one", async () => {
  const queue = queueOf<number>({ capacity: 16 });
  const count = 2000;
  const sending = (async () => {
    for (let i = 0; i < count; i++) await queue.sendAsync(i);
    queue.close();
  })();
  let next = 0;
  for await (const value of queue) expect(value).toBe(next++);
  await sending;
  expect(next).toBe(count);
});

test("with no descriptor left, a sendAsync that would have to wait says so, and nothing was sent", async () => {
  await warmUp();
  const queue = fullOf(1);
  for (const call of ["eventfd", "pipe2"] as const) replace(call, () => () => failWith(constants.EMFILE));
  const error = await rejection(queue.sendAsync(1));
  expect(error).toBeInstanceOf(SystemError);
  expect(error.code).toBe("EMFILE");
  expect(queue.receiveAll()).toEqual([0]);
  await queue.sendAsync(2);
  expect(queue.receiveAll()).toEqual([2]);
});

test("nothing is left of queues whose sends were fulfilled, cancelled, and pending at the close", async () => {
  const before = await restingTable();
  for (let round = 0; round < 50; round++) {
    const queue = new WakeQueue<number>({ capacity: 16 });
    const source = new CancelSource();
    if (round % 2) void queue.handle;
    await queue.sendAsync(0);
    const pending = queue.sendAsync(1);
    const cancelled = rejection(queue.sendAsync(2, { cancel: source }));
    const left = rejection(queue.sendAsync(3));
    expect(await queue.receive()).toBe(0);
    await pending;
    source.cancel();
    expect((await cancelled).name).toBe("AbortError");
    if (round % 3) queue.close();
    queue.dispose();
    expect(await left).toBeInstanceOf(ClosedError);
  }
  expect(await changesAtRest(before)).toEqual(NONE);
});
