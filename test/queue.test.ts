/** A queue within one thread: what it takes, in which order it comes, and what it refuses. */
import { expect, test } from "bun:test";
import {
  CancelledError,
  CancelSource,
  ClosedError,
  QueueFullError,
  type QueueOptions,
  TimeoutError,
  WakeQueue,
} from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { changes, NONE } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const queueOf = <T = unknown>(options?: QueueOptions) => keep(new WakeQueue<T>(options));

test("values of every cloneable kind arrive as structured clones, in the order in which they were sent", () => {
  const queue = queueOf();
  const ring: Record<string, unknown> = { name: "around" };
  ring.self = ring;
  const values = [
    0,
    -0,
    Number.NaN,
    2 ** 53,
    0.1,
    Number.NEGATIVE_INFINITY,
    "",
    "text",
    "a lone surrogate: \ud800",
    undefined,
    null,
    true,
    10n ** 30n,
    { id: 1, list: [1, { deep: ["x"] }] },
    [],
    new Map<unknown, unknown>([[{ key: 1 }, new Set([2])]]),
    new Date(0),
    /a+/g,
    new Float64Array([1, 2]),
    new ArrayBuffer(3),
    new Uint8Array(0),
    new Uint8Array([1, 2, 3]),
    ring,
  ];
  for (const value of values) queue.send(value);
  expect(queue.receiveAll()).toEqual(values);
  expect(queue.tryReceive()).toBeUndefined();
  queue.send(Buffer.from("bytes"));
  const bytes = queue.receiveSync() as Uint8Array;
  expect(bytes).toEqual(new Uint8Array(Buffer.from("bytes")));
  // Of a view only its own bytes travel, not the pool that it is a part of.
  expect(bytes.buffer.byteLength).toBe(5);
});

test("what was received stays as it is while later values take its place in the ring", () => {
  const queue = queueOf<{ bytes: Uint8Array; text: string; float: Float64Array }>({ capacity: 4096 });
  const value = (n: number) => ({
    bytes: new Uint8Array(100).fill(n),
    text: String.fromCharCode(65 + n).repeat(100),
    float: new Float64Array(10).fill(n),
  });
  const received = [];
  for (let i = 0; i < 200; i++) {
    queue.send(value(i % 26));
    received.push(queue.receiveSync());
  }
  expect(received).toEqual(received.map((_, i) => value(i % 26)));
});

test("entries of every length go around the end of the ring unharmed", () => {
  const queue = queueOf<Uint8Array | string>({ capacity: 512 });
  for (let length = 0; length < 400; length++) {
    const bytes = new Uint8Array(length).map((_, i) => (i * 7 + length) & 255);
    queue.send(bytes);
    expect(queue.tryReceive()).toEqual(bytes);
    const text = "x".repeat(length);
    queue.send(text);
    expect(queue.tryReceive()).toBe(text);
  }
});

test("a full queue refuses the next value by QueueFullError or false, keeps what it has, and takes more after a receive", () => {
  const queue = queueOf<number>({ capacity: 64 }); // 16 bytes a number
  for (let i = 0; i < 4; i++) queue.send(i);
  const error = thrown(() => queue.send(4));
  expect(error).toBeInstanceOf(QueueFullError);
  expect(error).toMatchObject({ name: "QueueFullError", code: "ERR_QUEUE_FULL" });
  expect(queue.trySend(4)).toBe(false);
  expect(queue.tryReceive()).toBe(0);
  expect(queue.trySend(4)).toBe(true);
  expect(queue.trySend(5)).toBe(false);
  expect(queue.receiveAll()).toEqual([1, 2, 3, 4]);
});

test("a value that could never fit is a RangeError that names both sizes, and the largest one that fits is taken", () => {
  const queue = queueOf<Uint8Array>({ capacity: 1000 });
  queue.send(new Uint8Array(992));
  expect(queue.tryReceive()?.length).toBe(992);
  for (const send of [queue.send, queue.trySend, queue.sendSync]) {
    const error = thrown(() => send.call(queue, new Uint8Array(993)));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(/1008.*1000/);
  }
  expect(thrown(() => queueOf({ capacity: 1 }).send(1))).toBeInstanceOf(RangeError);
});

test("receiveAll takes what is there when it is called, at most so many", () => {
  const queue = queueOf<number>();
  expect(queue.receiveAll()).toEqual([]);
  for (let i = 0; i < 10; i++) queue.send(i);
  expect(queue.receiveAll(0)).toEqual([]);
  expect(queue.receiveAll(3)).toEqual([0, 1, 2]);
  expect(queue.receiveAll(Number.POSITIVE_INFINITY)).toEqual([3, 4, 5, 6, 7, 8, 9]);
});

test("shared memory anywhere in a value is a TypeError, and nothing is sent", () => {
  const queue = queueOf();
  const memory = new SharedArrayBuffer(8);
  const deep = Array.from({ length: 200 }).reduce<object>((inner) => ({ inner }), [memory]);
  const cycle: unknown[] = Array.from({ length: 200 }, (_, i) => ({ i }));
  cycle.push(cycle, memory);
  for (const value of [
    memory,
    new Uint8Array(memory),
    new Uint8Array(memory, 2, 0),
    new DataView(memory),
    new Int32Array(memory),
    { a: { b: [memory] } },
    new Map([[{ key: memory }, 1]]),
    new Map([[1, memory]]),
    new Set([[memory]]),
    deep,
    cycle,
    queue.handle,
    keep(new CancelSource()).handle,
  ]) {
    const error = thrown(() => queue.send(value));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("postMessage");
    expect(thrown(() => queue.trySend(value))).toBeInstanceOf(TypeError);
    expect(thrown(() => queue.sendSync(value))).toBeInstanceOf(TypeError);
  }
  expect(queue.tryReceive()).toBeUndefined();
});

test("what cannot be cloned is a DataCloneError, and nothing is sent", () => {
  const queue = queueOf();
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  for (const value of [() => {}, Symbol("s"), { f() {} }, new WeakMap(), Promise.resolve(), detached]) {
    expect(thrown(() => queue.send(value)).name).toBe("DataCloneError");
  }
  expect(queue.tryReceive()).toBeUndefined();
});

test("a getter that sends on the same queue is heard before the value that it is a part of", () => {
  const queue = queueOf();
  let sent = 0;
  queue.send({
    get inner() {
      if (sent++ === 0) queue.send("from the getter");
      return 1;
    },
  });
  expect(queue.receiveAll()).toEqual(["from the getter", { inner: 1 }]);
});

test("after close nothing can be sent, what is there is received, and then comes ClosedError, at every receive", () => {
  const queue = queueOf<number>();
  for (let i = 0; i < 5; i++) queue.send(i);
  queue.close();
  queue.close();
  expect(queue.closed).toBe(true);
  for (const send of [queue.send, queue.trySend, queue.sendSync]) {
    expect(thrown(() => send.call(queue, 5))).toBeInstanceOf(ClosedError);
  }
  expect(queue.receiveSync()).toBe(0);
  expect(queue.tryReceive()).toBe(1);
  expect(queue.receiveAll(1)).toEqual([2]);
  expect(queue.receiveAll()).toEqual([3, 4]);
  for (let time = 0; time < 2; time++) {
    expect(thrown(() => queue.receiveSync())).toBeInstanceOf(ClosedError);
    expect(thrown(() => queue.tryReceive())).toBeInstanceOf(ClosedError);
    expect(thrown(() => queue.receiveAll())).toBeInstanceOf(ClosedError);
    expect(thrown(() => queue.handle)).toBeInstanceOf(ClosedError);
  }
});

test("nothing is left of a queue that was closed and drained, or disposed, with and without a handle, full or empty", () => {
  const before = fdTable();
  for (let round = 0; round < 20; round++) {
    const closed = new WakeQueue();
    if (round % 2) void closed.handle;
    closed.send(1);
    closed.close();
    expect(closed.tryReceive()).toBe(1);
    expect(thrown(() => closed.tryReceive())).toBeInstanceOf(ClosedError);
    const empty = new WakeQueue();
    if (round % 2) void empty.handle;
    empty.close();
    const disposed = new WakeQueue({ capacity: 64 });
    if (round % 2) void disposed.handle;
    while (disposed.trySend(1));
    thrown(() => disposed.sendSync(1, { timeout: 0 }));
    expect(thrown(() => disposed.sendSync(1, { timeout: 1 }))).toBeInstanceOf(TimeoutError);
    disposed.dispose();
    disposed.dispose();
  }
  expect(changes(before)).toEqual(NONE);
});

test("a disposed queue is ClosedError in all that it does, and closes nothing for the other object that stands for it", () => {
  const queue = queueOf<number>();
  const other = keep(WakeQueue.from<number>(queue.handle));
  queue.send(1);
  queue.dispose();
  for (const use of [
    () => queue.send(1),
    () => queue.trySend(1),
    () => queue.sendSync(1),
    () => queue.receiveSync(),
    () => queue.tryReceive(),
    () => queue.receiveAll(),
    () => queue.handle,
  ]) {
    expect(thrown(use)).toBeInstanceOf(ClosedError);
  }
  expect(queue.closed).toBe(true);
  queue.close(); // not its to close any more
  expect(other.closed).toBe(false);
  other.send(2);
  expect(other.receiveAll()).toEqual([1, 2]);
});

test("who wins at entry: the cancel, then the deadline, then what is there; and a value that was not taken is there still", () => {
  const queue = queueOf<number>({ capacity: 32 });
  const source = keep(new CancelSource());
  queue.send(1);
  queue.send(2);
  source.cancel("why");
  expect(thrown(() => queue.receiveSync({ cancel: source, timeout: 0 }))).toMatchObject({
    name: "AbortError",
    cause: "why",
  });
  expect(thrown(() => queue.receiveSync({ timeout: 0 }))).toBeInstanceOf(TimeoutError);
  expect(thrown(() => queue.sendSync(3, { cancel: source }))).toBeInstanceOf(CancelledError);
  expect(thrown(() => queue.sendSync(3, { timeout: 5 }))).toBeInstanceOf(TimeoutError);
  expect(queue.receiveAll()).toEqual([1, 2]);
  expect(thrown(() => queue.receiveSync({ cancel: CancelSource.timeout(5) }))).toBeInstanceOf(TimeoutError);
  queue.sendSync(4, { timeout: 5 });
  expect(queue.receiveSync({ timeout: 5 })).toBe(4);
});

test("a wrong argument is a TypeError or a RangeError, before any system call", () => {
  const queue = queueOf<number>();
  for (const [options, message] of [
    [{ capacity: 0 }, "capacity"],
    [{ capacity: 2 ** 29 + 1 }, "capacity"],
    [{ capacity: 1.5 }, "capacity"],
    [{ capacity: Number.NaN }, "capacity"],
    [{ capacity: "64" }, "capacity"],
    [{ capaciti: 64 }, 'did you mean "capacity"'],
    [null, "options"],
    [7, "options"],
  ] as const) {
    const error = thrown(() => new WakeQueue(options as never));
    expect(["TypeError", "RangeError"]).toContain(error.name);
    expect(error.message).toContain(message);
  }
  const calls = systemCalls(() => {
    for (const max of [-1, 0.5, Number.NaN, "1", null]) {
      expect(["TypeError", "RangeError"]).toContain(thrown(() => queue.receiveAll(max as never)).name);
    }
    for (const options of [
      5,
      null,
      { timeout: Number.NaN },
      { signal: new AbortController().signal },
      { cancel: {} },
    ]) {
      expect(["TypeError", "RangeError"]).toContain(thrown(() => queue.receiveSync(options as never)).name);
      expect(["TypeError", "RangeError"]).toContain(thrown(() => queue.sendSync(1, options as never)).name);
    }
    for (const handle of [undefined, null, 7, {}, { kind: "WakeQueue" }]) {
      expect(thrown(() => WakeQueue.from(handle as never))).toBeInstanceOf(TypeError);
    }
  });
  expect(calls).toEqual([]);
});

test("while nobody sleeps, a value costs no system call, neither to send nor to receive", () => {
  const queue = queueOf<number>();
  queue.send(1);
  queue.receiveSync();
  expect(
    systemCalls(() => {
      for (let i = 0; i < 100; i++) {
        queue.send(i);
        expect(queue.receiveSync({ timeout: 1000 })).toBe(i);
      }
    }),
  ).toEqual([]);
});
