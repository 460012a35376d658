/** Values by promise, within one thread: who gets which, what ends a wait, and what the other forms do meanwhile. */
import { expect, test } from "bun:test";
import { constants } from "../../ffi/platform/index.ts";
import { BusyError, CancelSource, ClosedError, Poller, TimeoutError, WakeQueue } from "../../src/index.ts";
import { reactor } from "../../src/wait/reactor.ts";
import { failWith, faults } from "../faults.ts";
import { NONE } from "../leaks.ts";
import { keeper } from "../setup.ts";
import { thrown } from "../thread.ts";
import { rejection } from "./outcome.ts";
import { changesAtRest, isPending, restingTable, warmUp } from "./settled.ts";

const keep = keeper();
const replace = faults();
const queueOf = <T = unknown>(capacity?: number) => keep(new WakeQueue<T>({ capacity }));

test("receive gives what is there, in order, null and undefined like any other value", async () => {
  const queue = queueOf();
  const values = [1, undefined, null, "text", { deep: [1n] }, new Uint8Array([1, 2]), Number.NaN, false];
  for (const value of values) queue.send(value);
  for (const value of values) expect(await queue.receive()).toEqual(value);
  const pending = values.map(() => queue.receive());
  for (const value of values) queue.send(value);
  expect(await Promise.all(pending)).toEqual(values);
});

test("pending receives get the values in the order in which they were called, from whichever object of the queue", async () => {
  const queue = queueOf<number>();
  const other = keep(WakeQueue.from<number>(queue.handle));
  const settled: number[] = [];
  const pending = Array.from({ length: 200 }, (_, i) =>
    (i % 2 ? other : queue).receive().then((value) => settled.push(value)),
  );
  for (let i = 0; i < 200; i++) (i % 3 ? other : queue).send(i);
  await Promise.all(pending);
  expect(settled).toEqual(Array.from({ length: 200 }, (_, i) => i));
});

test("a receive that is cancelled, timed out or aborted took no value: it is there for the next one in the line", async () => {
  const queue = queueOf<number>();
  const source = keep(new CancelSource());
  const controller = new AbortController();
  const reason = { why: "the very object" };
  const cancelled = rejection(queue.receive({ cancel: source }));
  const aborted = rejection<unknown>(queue.receive({ signal: controller.signal }));
  const late = rejection(queue.receive({ timeout: 1 }));
  const first = queue.receive();
  const second = queue.receive({ cancel: keep(new CancelSource()), timeout: 30_000 });
  expect(await late).toBeInstanceOf(TimeoutError);
  source.cancel("why");
  controller.abort(reason);
  queue.send(1);
  queue.send(2);
  expect(await cancelled).toMatchObject({ name: "AbortError", code: "ABORT_ERR", cause: "why" });
  expect(await aborted).toBe(reason);
  expect(await Promise.all([first, second])).toEqual([1, 2]);
});

test("a receive whose value is in the queue when it is cancelled, before its turn of the loop, leaves it to the next", async () => {
  const queue = queueOf<number>();
  const source = keep(new CancelSource());
  for (let round = 0; round < 100; round++) {
    const pending = rejection(queue.receive({ cancel: source }));
    const next = round % 2 ? queue.receive() : null;
    queue.send(round);
    source.cancel();
    source.reset();
    expect((await pending).name).toBe("AbortError");
    expect(await (next ?? queue.receive())).toBe(round);
  }
});

test("who wins at entry: arguments, closed, signal, cancel, deadline, and then what is there", async () => {
  const queue = queueOf<number>();
  const source = keep(new CancelSource());
  source.cancel("why");
  const signal = AbortSignal.abort("the signal");
  queue.send(1);
  const all = { signal, cancel: source, timeout: 0 };
  expect(await rejection<unknown>(queue.receive(all))).toBe("the signal");
  expect(await rejection(queue.receive({ cancel: source, timeout: 0 }))).toMatchObject({ cause: "why" });
  expect(await rejection(queue.receive({ timeout: 0 }))).toBeInstanceOf(TimeoutError);
  expect(await queue.receive({ timeout: 1000 })).toBe(1);
  queue.close();
  expect(await rejection(queue.receive(all))).toBeInstanceOf(ClosedError);
  expect(await rejection(queue.receive({ ...all, timeout: Number.NaN }))).toBeInstanceOf(RangeError);
});

test("wrong arguments are a rejection, never a throw, also of what was closed or disposed", async () => {
  const open = queueOf<number>();
  const closed = queueOf<number>();
  closed.close();
  const disposed = WakeQueue.from<number>(open.handle);
  disposed.dispose();
  open.send(1);
  for (const queue of [open, closed, disposed]) {
    for (const options of [5, null, "x", { timeout: Number.NaN }, { timeout: "5" }, { signal: {} }, { cancel: {} }]) {
      const error = await rejection(queue.receive(options as never));
      expect(["TypeError", "RangeError"]).toContain(error.name);
    }
  }
  expect(await rejection(disposed.receive())).toBeInstanceOf(ClosedError);
  expect(await open.receive()).toBe(1);
});

test("while a receive is pending, the other forms do not overtake it: BusyError, undefined, and an empty array", async () => {
  const queue = queueOf<number>();
  const source = keep(new CancelSource());
  const pending = queue.receive();
  const behind = rejection(queue.receive({ cancel: source }));
  queue.send(1);
  queue.send(2);
  for (let round = 0; round < 2; round++) {
    expect(thrown(() => queue.receiveSync({ timeout: 1000 }))).toBeInstanceOf(BusyError);
    expect(queue.tryReceive()).toBeUndefined();
    expect(queue.receiveAll()).toEqual([]);
    if (round === 0) source.cancel();
  }
  await behind;
  expect(await pending).toBe(1);
  expect(queue.receiveSync()).toBe(2);
  expect(queue.tryReceive()).toBeUndefined();
});

test("close gives pending receives what is there, and to the others ClosedError", async () => {
  const queue = queueOf<number>();
  const pending = [queue.receive(), queue.receive()];
  const without = [rejection(queue.receive()), rejection(queue.receive({ timeout: 30_000 }))];
  queue.send(1);
  queue.send(2);
  queue.close();
  expect(await Promise.all(pending)).toEqual([1, 2]);
  for (const error of await Promise.all(without)) expect(error).toBeInstanceOf(ClosedError);
  expect(await rejection(queue.receive())).toBeInstanceOf(ClosedError);
  const empty = queueOf<number>();
  const alone = rejection(empty.receive());
  empty.close();
  expect(await alone).toBeInstanceOf(ClosedError);
});

test("dispose ends what is pending on its object, and only that", async () => {
  const queue = queueOf<number>();
  const other = keep(WakeQueue.from<number>(queue.handle));
  const ended = [rejection(queue.receive()), rejection(queue.receive())];
  const goesOn = other.receive();
  queue.dispose();
  for (const error of await Promise.all(ended)) expect(error).toBeInstanceOf(ClosedError);
  other.send(1);
  expect(await goesOn).toBe(1);
  const last = rejection(other.receive());
  other.dispose();
  expect(await last).toBeInstanceOf(ClosedError);
});

test("a poller that hears the doorbell first takes nothing from a pending receive", async () => {
  const queue = queueOf<number>();
  const poller = keep(new Poller());
  poller.add(queue, { readable: true });
  for (let round = 0; round < 20; round++) {
    const pending = queue.receive();
    expect(await isPending(pending)).toBe(true); // it sleeps: the next send rings
    queue.send(round);
    expect(poller.wait({ timeout: 10_000 })).toMatchObject([{ source: queue, readable: true }]);
    expect(queue.tryReceive()).toBeUndefined();
    expect(await pending).toBe(round);
  }
});

test("a doorbell that was rung for a receive that was cancelled keeps the loop of this thread at rest", async () => {
  const queue = queueOf<number>();
  const other = queueOf<number>();
  const pending = other.receive();
  const source = keep(new CancelSource());
  const cancelled = rejection(queue.receive({ cancel: source }));
  source.cancel();
  await cancelled;
  queue.send(1); // it was about to sleep: this rings
  await isPending(pending);
  const { turn } = reactor();
  await Bun.sleep(100);
  expect(reactor().turn - turn).toBeLessThan(20);
  expect(await queue.receive()).toBe(1);
  other.send(2);
  expect(await pending).toBe(2);
});

test("a stream of values that are there lets timers have their turn", async () => {
  const queue = queueOf<number>();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const end = Date.now() + 20_000;
  for (let i = 0; ticks < 3 && Date.now() < end; i++) {
    queue.send(i);
    expect(await queue.receive()).toBe(i);
  }
  clearInterval(timer);
  expect(ticks).toBe(3);
});

test("nothing is left of queues whose receives were fulfilled, cancelled, and pending at the close", async () => {
  const before = await restingTable();
  for (let round = 0; round < 50; round++) {
    const queue = new WakeQueue<number>();
    const source = new CancelSource();
    if (round % 2) {
      void queue.handle;
      void source.handle;
    }
    const pending = queue.receive();
    const cancelled = rejection(queue.receive({ cancel: source }));
    const left = rejection(queue.receive());
    queue.send(1);
    expect(await pending).toBe(1);
    source.cancel();
    expect((await cancelled).name).toBe("AbortError");
    if (round % 3) queue.close();
    queue.dispose();
    expect(await left).toBeInstanceOf(ClosedError);
    source.dispose();
  }
  expect(await changesAtRest(before)).toEqual(NONE);
});

test("a descriptor that the kernel does not want to watch fails the receives that would wait on it, and takes no value", async () => {
  if (process.env.CANCELFD_BACKEND === "poll") return; // nothing can be refused there
  const queue = queueOf<number>();
  await warmUp();
  replace("epoll_ctl", () => () => failWith(constants.ENOMEM));
  expect(await rejection(queue.receive())).toMatchObject({ code: "ENOMEM" });
  queue.send(1);
  expect(await queue.receive()).toBe(1);
});
