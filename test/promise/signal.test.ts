/** `source.signal`: the source as an AbortSignal, in every thread that asks for it. */
import { expect, test } from "bun:test";
import { CancelSource, ClosedError, TimeoutError } from "../../src/index.ts";
import { CANCEL, CANCELLED, type CancelJob, GONE, SEEN, type SignalReport } from "../bodies/reactor.ts";
import { reach } from "../gates.ts";
import { keeper, pair } from "../setup.ts";
import { Thread, thrown, until } from "../thread.ts";

const keep = keeper();

/** Resolves with the reason once it has aborted. */
const aborts = (signal: AbortSignal) =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
  });

async function canceller(source: CancelSource, job: Partial<CancelJob> = {}): Promise<Thread> {
  const thread = await Thread.start("reactor", "cancelWhenTold", { cancel: source.handle, rounds: 1, ...job });
  expect(await thread.next<string>()).toBe("up");
  return thread;
}

test("it aborts within the call when its source is cancelled in this thread, with the very reason", () => {
  const source = keep(new CancelSource());
  const { signal } = source;
  const seen: unknown[] = [];
  signal.addEventListener("abort", () => seen.push(signal.reason));
  expect(signal.aborted).toBe(false);
  const reason = { why: "because" };
  source.cancel(reason);
  expect(seen).toEqual([reason]);
  expect(seen[0]).toBe(reason);
  expect(signal.aborted).toBe(true);
});

test("without a reason it aborts all the same, as a controller would", () => {
  const source = keep(new CancelSource());
  const { signal } = source;
  source.cancel();
  expect(signal.aborted).toBe(true);
  expect(signal.reason).toMatchObject({ name: "AbortError" });
});

test("it aborts when another thread cancels, with the reason in its string form", async () => {
  const source = keep(new CancelSource());
  const thread = await canceller(source);
  const aborted = aborts(source.signal);
  reach(thread.flags, CANCEL);
  expect(await aborted).toBe("round 1");
  await thread.join();
});

test("it aborts when it was handed out before the source had a handle", async () => {
  const source = keep(new CancelSource());
  const aborted = aborts(source.signal);
  const child = keep(source.child());
  const below = aborts(child.signal);
  const thread = await canceller(source);
  reach(thread.flags, CANCEL);
  expect(await Promise.all([aborted, below])).toEqual(["round 1", "round 1"]);
  await thread.join();
});

test("every thread that asked for it gets its own, and all abort, whoever cancels", async () => {
  const source = keep(new CancelSource());
  const watchers = [];
  for (let i = 0; i < 3; i++) {
    const thread = await Thread.start("reactor", "reportSignal", source.handle);
    expect(await thread.next<string>()).toBe("up");
    watchers.push(thread);
  }
  const reason = new Error("it was me");
  const aborted = aborts(source.signal);
  source.cancel(reason);
  expect(await aborted).toBe(reason);
  for (const thread of watchers) {
    expect(await thread.next<SignalReport>()).toEqual({ reason: String(reason), same: true, aborted: true });
    await thread.join();
  }
});

test("in the thread that cancels the reason is the object, also if that is not where the source was made", async () => {
  const source = keep(new CancelSource());
  const aborted = aborts(source.signal);
  const thread = await Thread.start("reactor", "cancelWithAnObject", source.handle);
  expect(await thread.next<boolean>()).toBe(true);
  expect(await aborted).toBe("Error: an object");
  await thread.join();
});

test("it aborts when the timeout of its source passes, not before, with a TimeoutError", async () => {
  for (const timeout of [1, 30]) {
    const begin = performance.now();
    const source = keep(CancelSource.timeout(timeout));
    expect(await aborts(source.signal)).toBeInstanceOf(TimeoutError);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(timeout - 0.1); // two clocks
  }
  expect(keep(CancelSource.timeout(0)).signal.aborted).toBe(true);
});

test("it aborts with its parent: cancelled here, elsewhere, by a timeout, and as one of several", async () => {
  const parent = keep(new CancelSource());
  const other = keep(new CancelSource());
  const grandchild = keep(keep(parent.child()).child());
  const either = keep(CancelSource.any(other, parent));
  const reason = {};
  const aborted = [grandchild, either].map(({ signal }) => aborts(signal));
  parent.cancel(reason);
  for (const seen of await Promise.all(aborted)) expect(seen).toBe(reason);

  const far = keep(new CancelSource());
  const below = keep(keep(far.child()).child());
  const farAborted = aborts(below.signal);
  const thread = await canceller(far);
  reach(thread.flags, CANCEL);
  expect(await farAborted).toBe("round 1");
  await thread.join();

  const timed = keep(keep(CancelSource.timeout(5)).child());
  expect(await aborts(timed.signal)).toBeInstanceOf(TimeoutError);
});

test("a child's signal does not touch the parent's", () => {
  const parent = keep(new CancelSource());
  const child = keep(parent.child());
  const signals = [parent.signal, child.signal];
  child.cancel();
  expect(signals.map(({ aborted }) => aborted)).toEqual([false, true]);
});

test("it aborts when an AbortSignal above it does, with that signal's reason, and in other threads as text", async () => {
  const controller = new AbortController();
  const source = keep(new CancelSource({ parent: controller.signal }));
  const child = keep(source.child());
  const thread = await Thread.start("reactor", "reportSignal", child.handle);
  await thread.next();
  const { signal } = child;
  const reason = new Error("from above");
  controller.abort(reason);
  expect(signal.reason).toBe(reason);
  expect(await thread.next<SignalReport>()).toMatchObject({ reason: String(reason), aborted: true });
  await thread.join();
});

test("it is one object within a round, aborted or not, and another one after reset", () => {
  const source = keep(new CancelSource());
  const first = source.signal;
  expect(source.signal).toBe(first);
  expect(source.token.signal).toBe(first);
  source.cancel("one");
  expect(source.signal).toBe(first);
  source.reset();
  const second = source.signal;
  expect(second).not.toBe(first);
  expect([first.aborted, second.aborted]).toEqual([true, false]);
  source.reset(); // there was nothing to arm
  expect(source.signal).toBe(second);
  source.cancel("two");
  expect([first.reason, second.reason]).toEqual(["one", "two"]);
});

test("first asked for when the source is cancelled already, it has aborted", () => {
  const source = keep(new CancelSource());
  const reason = {};
  source.cancel(reason);
  expect(source.signal.aborted).toBe(true);
  expect(source.signal.reason).toBe(reason);
});

test("cancels and resets of another thread, each round's signal aborts, though the round is long over", async () => {
  const source = keep(new CancelSource());
  const ROUNDS = 50;
  const thread = await canceller(source, { rounds: ROUNDS, reset: true });
  for (let round = 1; round <= ROUNDS; round++) {
    const aborted = aborts(source.signal);
    reach(thread.flags, CANCEL, round);
    expect(await aborted).toBe(`round ${round}`);
    while (Atomics.load(thread.flags, CANCELLED) < round) await Bun.sleep(1);
    expect(source.signal.aborted).toBe(false);
  }
  await thread.join();
});

test("a disposed source has none, and one that was handed out does not abort any more", async () => {
  const source = new CancelSource();
  const other = keep(CancelSource.from(source.handle));
  const { signal } = source;
  source.dispose();
  expect(thrown(() => source.signal)).toBeInstanceOf(ClosedError);
  other.cancel();
  expect(other.signal.aborted).toBe(true);
  expect(other.signal).toBe(signal); // one source in this thread, and one signal
});

test("fetch takes it, and is aborted from another thread", async () => {
  using server = Bun.serve({ port: 0, fetch: () => new Promise<Response>(() => {}) });
  const source = keep(new CancelSource());
  const thread = await canceller(source);
  const answer = fetch(server.url, { signal: source.signal }).then(
    () => "an answer",
    (error: unknown) => error,
  );
  await Bun.sleep(10);
  reach(thread.flags, CANCEL);
  expect(await answer).toBe("round 1");
  await thread.join();
});

test("operations of the same source end before its signal's listeners run, which may do anything", async () => {
  const { client, server } = pair(keep);
  const source = keep(new CancelSource());
  const order: string[] = [];
  let after: Promise<number> | undefined;
  source.signal.addEventListener("abort", () => {
    order.push(server.tryRead(new Uint8Array(8)) === null ? "nobody reads" : "bytes");
    source.reset();
    after = client.read(new Uint8Array(8), { cancel: source });
    source.signal.addEventListener("abort", () => order.push("the next round"));
  });
  const read = client.read(new Uint8Array(8), { cancel: source }).catch((error: Error) => error.name);
  source.cancel("first");
  expect(client.tryRead(new Uint8Array(8))).toBeNull(); // the listener's read is pending
  expect(await read).toBe("AbortError");
  server.writeSync("for the second");
  expect(await after).toBe(8);
  source.cancel("second");
  expect(order).toEqual(["nobody reads", "the next round"]);
});

for (const [disposed, which] of [
  [0, "its only object is"],
  [1, "another object of it was disposed, and this one is"],
  [3, "all objects of it but one were disposed, and this one is"],
] as const) {
  test(`a source whose signal is out is not collected, though ${which} dropped: another thread's cancel arrives`, async () => {
    const thread = await Thread.start("reactor", "cancelsAfterCollection", disposed);
    expect(await thread.next<string>()).toBe("up");
    const source = keep(new CancelSource());
    thread.worker.postMessage(source.handle);
    expect(await thread.next<string>()).toBe("has it");
    reach(thread.flags, SEEN);
    expect(await thread.next<string>()).toBe("collected");
    source.cancel("still there");
    expect(await thread.next<string>()).toBe("still there");
    reach(thread.flags, GONE);
    await thread.join();
  });
}

test("objects of a source that handed it out and were disposed are collected, while another one lives on", async () => {
  const source = keep(new CancelSource());
  const { handle, signal } = source;
  const COUNT = 100;
  const disposed = Array.from({ length: COUNT }, () => {
    using other = CancelSource.from(handle);
    expect(other.signal).toBe(signal);
    return new WeakRef(other);
  });
  // The stack may still refer to one or the other.
  await until("the disposed objects to be collected", () => {
    Bun.gc(true);
    return disposed.filter((one) => one.deref() === undefined).length > COUNT / 2;
  });
  expect(signal.aborted).toBe(false);
  source.cancel("at last");
  expect(signal.reason).toBe("at last");
});
