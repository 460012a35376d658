/** An AbortSignal as a parent: what it ends, why, and what is left on it. */
import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { CancelledError, CancelSource, listen, TimeoutError } from "../src/index.ts";
import type { ReadOutcome } from "./bodies/doorbells.ts";
import { changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper, pair } from "./setup.ts";
import { thrown, until } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();

/** A signal whose abort listeners are counted. */
function counted(): { controller: AbortController; signal: AbortSignal; count: () => number; added: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  const listeners = new Set<unknown>();
  let added = 0;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...parameters: Parameters<typeof add>) => {
    added++;
    listeners.add(parameters[1]);
    add(...parameters);
  };
  signal.removeEventListener = (...parameters: Parameters<typeof remove>) => {
    listeners.delete(parameters[1]);
    remove(...parameters);
  };
  return { controller, signal, count: () => listeners.size, added: () => added };
}

/** The ways to put a source under a signal. */
const ways: [string, (signal: AbortSignal) => CancelSource][] = [
  ["new CancelSource({ parent: signal })", (signal) => new CancelSource({ parent: signal })],
  ["CancelSource.any(signal)", (signal) => CancelSource.any(signal)],
  ["CancelSource.any(signal, source)", (signal) => CancelSource.any(signal, keep(new CancelSource()))],
  ["CancelSource.any(source, signal, signal)", (signal) => CancelSource.any(keep(new CancelSource()), signal, signal)],
];

for (const [what, under] of ways) {
  test(`${what} is cancelled when the signal fires, with the signal's very reason, and the operations under it`, () => {
    const { client } = pair(keep);
    for (const reason of [new Error("why"), { any: "thing" }, "text", 0, null]) {
      const controller = new AbortController();
      const source = keep(under(controller.signal));
      const child = keep(source.child());
      expect([source.cancelled, child.cancelled]).toEqual([false, false]);
      controller.abort(reason);
      for (const one of [source, child]) {
        expect(one.cancelled).toBe(true);
        expect(one.reason).toBe(reason);
        const error = thrown(() => client.readSync(new Uint8Array(1), { cancel: one }));
        expect(error).toBeInstanceOf(CancelledError);
        expect(error.cause).toBe(reason);
        expect(one.cancel("too late")).toBe(false);
      }
    }
  });

  test(`${what}, of a signal that has fired, is born cancelled, and a reset changes nothing`, () => {
    const reason = new Error("long ago");
    const source = keep(under(AbortSignal.abort(reason)));
    expect(source.cancelled).toBe(true);
    expect(source.reason).toBe(reason);
    expect(thrown(() => source.throwIfCancelled()).cause).toBe(reason);
    source.reset();
    expect(source.cancelled).toBe(true);
    expect(source.reason).toBe(reason);
    expect(keep(source.child()).cancelled).toBe(true);
  });

  test(`${what}: its own cancel does not reach the signal, nor the signal's other sources`, () => {
    const { signal } = new AbortController();
    const [source, other] = [keep(under(signal)), keep(under(signal))];
    expect(source.cancel("alone")).toBe(true);
    expect([signal.aborted, other.cancelled]).toEqual([false, false]);
    source.reset();
    expect(source.cancelled).toBe(false);
  });
}

test("a signal that fires without a reason, and one that times out, have the platform's own reasons", async () => {
  const controller = new AbortController();
  const source = keep(new CancelSource({ parent: controller.signal }));
  controller.abort();
  expect(source.reason).toBe(controller.signal.reason);
  expect((source.reason as Error).name).toBe("AbortError");

  const signal = AbortSignal.timeout(1);
  const timed = keep(new CancelSource({ parent: signal }));
  await until("the signal to fire", () => signal.aborted);
  expect(timed.reason).toBe(signal.reason);
  expect((timed.reason as Error).name).toBe("TimeoutError");
  // A signal is cancelled, whatever it says of itself; only a timeout of ours is a TimeoutError.
  expect(thrown(() => timed.throwIfCancelled())).toBeInstanceOf(CancelledError);
});

test("of a timeout and a signal above one source, the earlier one is what ended it", () => {
  const controller = new AbortController();
  const late = keep(CancelSource.any(CancelSource.timeout(60_000), controller.signal));
  const early = keep(CancelSource.any(CancelSource.timeout(0), controller.signal));
  controller.abort("the signal");
  expect(late.reason).toBe("the signal");
  expect(thrown(() => early.throwIfCancelled())).toBeInstanceOf(TimeoutError);
});

test("there is one abort listener on a signal, however many sources, and none after the last is disposed", () => {
  const { controller, signal, count, added } = counted();
  for (let round = 1; round <= 3; round++) {
    const sources = ways.map(([, under]) => under(signal));
    for (let i = 0; i < 100; i++) sources.push(new CancelSource({ parent: signal }));
    sources.push(...sources.map((source) => source.child()));
    expect([count(), added()]).toEqual([1, round]);
    for (const source of sources.slice(0, -1)) source.dispose();
    expect(count()).toBe(1);
    sources.at(-1)!.dispose();
    expect(count()).toBe(0);
  }
  controller.abort();
  expect(added()).toBe(3);
});

test("a signal that fires while it has sources is left alone once they are disposed, and one that has fired from the start", () => {
  const { controller, signal, count, added } = counted();
  const sources = ways.map(([, under]) => under(signal));
  controller.abort();
  for (const source of sources) source.dispose();
  expect(count()).toBe(0);
  for (const [, under] of ways) under(signal).dispose();
  expect([count(), added()]).toEqual([0, 1]);
});

test("what throws under a signal leaves no abort listener on it", () => {
  const { signal, count } = counted();
  const disposed = new CancelSource();
  disposed.dispose();
  for (const wrong of [7, null, {}, "signal", disposed]) {
    expect(thrown(() => CancelSource.any(signal, wrong as never))).toBeInstanceOf(Error);
    expect(count()).toBe(0);
  }
});

test("a source under a signal that is dropped leaves no abort listener once it is collected", async () => {
  const { signal, count } = counted();
  const drop = () => {
    for (let i = 0; i < 10; i++) void new CancelSource({ parent: signal }).child();
  };
  drop();
  expect(count()).toBe(1);
  await until("the sources to be collected", () => {
    Bun.gc(true);
    return count() === 0;
  });
});

test("100,000 children of one signal that are made and disposed leave nothing: no listener, no descriptor, no object", async () => {
  const before = await quietTable();
  const { signal, count, added } = counted();
  const first = keep(new CancelSource({ parent: signal }));
  const objects = () => {
    Bun.gc(true);
    return heapStats().objectCount;
  };
  const make = (times: number) => {
    for (let i = 0; i < times; i++) {
      const child = i % 2 === 0 ? new CancelSource({ parent: signal }) : CancelSource.any(signal, first);
      child.dispose();
    }
  };
  make(1000);
  const few = objects();
  make(100_000);
  await until("the objects to be collected", () => objects() < few + 10_000);
  expect([count(), added()]).toEqual([1, 1]);
  first.dispose();
  expect(count()).toBe(0);
  expect(await changesSince(before)).toEqual(NONE);
});

test("a thread that is blocked under a signal of another thread wakes when that fires, with the reason as text", async () => {
  const before = await quietTable();
  const controller = new AbortController();
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const source = keep(new CancelSource({ parent: controller.signal }));
  const child = keep(CancelSource.any(source));
  for (const one of [source, child]) {
    const job = { cancel: one.handle, port: listener.address.port };
    const thread = await start(keep, "doorbells", "readRefused", job);
    const peer = listener.acceptSync({ timeout: 20_000 });
    await thread.blocked();
    if (one === source) {
      expect(source.cancel("the source alone")).toBe(true);
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "the source alone" });
      source.reset();
      child.reset();
    } else {
      controller.abort(new Error("the signal"));
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "Error: the signal" });
    }
    peer.close();
    await thread.terminate();
  }
  for (const one of [child, source]) one.dispose();
  listener.close();
  expect(await changesSince(before)).toEqual(NONE);
});
