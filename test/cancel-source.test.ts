import { expect, test } from "bun:test";
import { CancelledError, CancelSource, TimeoutError } from "../src/index.ts";
import { type Observed, READY, ROUND, STARTED, STOP, WON } from "./bodies/entry.ts";
import { passed, reach } from "./gates.ts";
import { callsDuring } from "./hooks.ts";
import { FLAGS, Thread, thrown } from "./thread.ts";

test("a new source is armed: not cancelled, without a reason, and its check passes", () => {
  using source = new CancelSource();
  expect(source.cancelled).toBe(false);
  expect(source.reason).toBeUndefined();
  source.throwIfCancelled();
});

test("cancel is true for the call that cancelled, false for the others, and the first reason stays", () => {
  using source = new CancelSource();
  const reason = new Error("first");
  expect([source.cancel(reason), source.cancel("second"), source.cancel()]).toEqual([true, false, false]);
  expect(source.cancelled).toBe(true);
  expect(source.reason).toBe(reason);
});

test("throwIfCancelled throws what an operation would fail with, each time a new error", () => {
  using source = new CancelSource();
  const reason = { step: 3 };
  source.cancel(reason);
  const error = thrown(() => source.throwIfCancelled());
  expect(error).toBeInstanceOf(CancelledError);
  expect(error).toMatchObject({ name: "AbortError", code: "ABORT_ERR" });
  expect(error.cause).toBe(reason);
  expect(thrown(() => source.throwIfCancelled())).not.toBe(error);
});

test("a cancel without a reason has no cause", () => {
  using source = new CancelSource();
  source.cancel();
  expect(source.reason).toBeUndefined();
  expect(thrown(() => source.throwIfCancelled())).not.toHaveProperty("cause");
});

test("reset arms a cancelled source again, and leaves an armed one as it is", () => {
  using source = new CancelSource();
  for (let round = 0; round < 3; round++) {
    source.reset();
    expect(source.cancelled).toBe(false);
    expect(source.reason).toBeUndefined();
    expect(source.cancel(round)).toBe(true);
    expect(source.reason).toBe(round);
    source.reset();
    source.throwIfCancelled();
  }
});

test("another thread sees the cancel and its reason as a string, and its own cancel comes too late", async () => {
  using source = new CancelSource();
  const { handle } = source;
  source.cancel(new TypeError("the very object stays here"));
  const thread = await Thread.start("entry", "observe", handle);
  const reason = "TypeError: the very object stays here";
  expect(await thread.next<Observed>()).toEqual({
    cancelled: true,
    reason,
    again: false,
    name: "AbortError",
    cause: reason,
  });
  await thread.join();
});

test("another thread sees the reason of a cancel that came before the handle was taken", async () => {
  using source = new CancelSource();
  source.cancel("before anybody else knew of it");
  const thread = await Thread.start("entry", "observe", source.handle);
  expect(await thread.next<Observed>()).toMatchObject({ cancelled: true, reason: "before anybody else knew of it" });
  await thread.join();
});

test("a cancel in another thread is seen here, with its reason as a string", async () => {
  using source = new CancelSource();
  const thread = await Thread.start("entry", "observe", source.handle);
  expect(await thread.next<Observed>()).toMatchObject({ cancelled: false, reason: undefined, again: true });
  await thread.join();
  expect(source.cancelled).toBe(true);
  expect(source.reason).toBe("too late");
  expect(source.cancel("later still")).toBe(false);
});

for (const [what, reason, seen] of [
  ["nothing", undefined, undefined],
  ["a number", 42, "42"],
  ["an empty string", "", ""],
  ["null", null, "null"],
  ["text beyond ASCII", "grün 🟢", "grün 🟢"],
  ["a symbol", Symbol("s"), "Symbol(s)"],
] as const) {
  test(`the string form of ${what} travels as it is`, async () => {
    using source = new CancelSource();
    const { handle } = source;
    source.cancel(reason);
    const thread = await Thread.start("entry", "observe", handle);
    expect((await thread.next<Observed>()).reason).toBe(seen);
    await thread.join();
  });
}

test("a reason without a string form, and one that is too long, still cancel", async () => {
  const endless = `${"a".repeat(5000)}`;
  for (const [reason, seen] of [
    [Object.create(null), /string form/],
    [endless, /^a+$/],
    ["🟢".repeat(1000), /^(🟢)+$/u],
  ] as const) {
    using source = new CancelSource();
    const { handle } = source;
    expect(source.cancel(reason)).toBe(true);
    expect(source.reason).toBe(reason);
    const thread = await Thread.start("entry", "observe", handle);
    const observed = await thread.next<Observed>();
    expect(observed.cancelled).toBe(true);
    expect(observed.reason).toMatch(seen);
    await thread.join();
  }
});

test("a reason is seen whole, or not at all, while another thread cancels and resets without a pause", async () => {
  using source = new CancelSource();
  const given = ["a".repeat(500), "b".repeat(100), "c".repeat(300)];
  const thread = await Thread.start("entry", "watchReasons", { cancel: source.handle, given });
  passed(thread.flags, STARTED);
  const end = Date.now() + 1000;
  for (let round = 0; Date.now() < end; round++) {
    source.cancel(given[round % 3]);
    source.reset();
  }
  reach(thread.flags, STOP);
  const { strange, found } = await thread.next<{ strange: number; found: number }>();
  expect(strange).toBe(0);
  expect(found).toBeGreaterThan(100);
  await thread.join();
});

test("of four threads that cancel at once, one is told that it did, in each of 2,000 rounds", async () => {
  const rounds = 2000;
  using source = new CancelSource();
  const shared = new Int32Array(new SharedArrayBuffer(FLAGS * 4));
  const threads = await Promise.all(
    [0, 1, 2, 3].map((index) =>
      Thread.start("entry", "competeToCancel", { cancel: source.handle, shared, index, rounds }),
    ),
  );
  const wrong: string[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (let index = 0; index < 4; index++) passed(shared, READY + index, round);
    source.reset();
    const before = Atomics.load(shared, WON);
    reach(shared, ROUND, round);
    for (let index = 0; index < 4; index++) passed(shared, READY + index, round + 1);
    const winners = Atomics.load(shared, WON) - before;
    if (winners !== 1 || !source.cancelled) wrong.push(`round ${round}: ${winners} winners`);
  }
  expect(wrong).toEqual([]);
  for (const thread of threads) await thread.join();
});

test("a token observes, and nothing that can be reached from it cancels or resets its source", () => {
  using source = new CancelSource();
  const { token } = source;
  expect(source.token).toBe(token);
  expect([token.cancelled, token.reason]).toEqual([false, undefined]);
  token.throwIfCancelled();

  expect(Object.keys(token)).toEqual([]);
  expect(JSON.stringify(token)).toBe("{}");
  const values = Reflect.ownKeys(token).map((key) => Reflect.get(token, key) as unknown);
  for (const key of Reflect.ownKeys(Object.getPrototypeOf(token) as object)) {
    if (key !== "constructor") values.push(Reflect.get(token, key) as unknown);
  }
  for (const value of values) {
    expect(value).not.toBe(source);
    expect(value instanceof CancelSource).toBe(false);
    for (const power of ["cancel", "reset", "handle", "dispose"]) {
      expect((value ?? {}) as object).not.toHaveProperty(power);
      expect(token).not.toHaveProperty(power);
    }
  }
  using child = token.child();
  child.cancel("the child alone");
  child.reset();
  expect(source.cancelled).toBe(false);
  const copy = Reflect.construct(token.constructor as new (source: unknown) => object, [source]);
  expect(Object.keys(copy)).toEqual([]);

  const reason = { given: "to the source" };
  source.cancel(reason);
  expect(token.cancelled).toBe(true);
  expect(token.reason).toBe(reason);
  expect(thrown(() => token.throwIfCancelled())).toBeInstanceOf(CancelledError);
  source.reset();
  expect(token.cancelled).toBe(false);
});

test("the reason of a source that timed out is a TimeoutError", () => {
  using source = CancelSource.timeout(0);
  expect(source.reason).toBeInstanceOf(TimeoutError);
  expect(source.cancel("too late")).toBe(false);
  expect(thrown(() => source.throwIfCancelled())).toBeInstanceOf(TimeoutError);
});

test("what is no source, token or AbortSignal is a TypeError where a parent is expected", () => {
  using source = new CancelSource();
  for (const wrong of [{}, source.handle, null, "source", 1, () => {}, new EventTarget()]) {
    expect(() => new CancelSource({ parent: wrong as never })).toThrow(TypeError);
    expect(() => CancelSource.any(source, wrong as never)).toThrow(TypeError);
  }
});

for (const wrong of [
  undefined,
  null,
  1,
  "handle",
  {},
  [],
  { state: new ArrayBuffer(64), holds: new ArrayBuffer(64) },
]) {
  test(`from(${JSON.stringify(wrong)}) is a TypeError`, () => {
    expect(() => CancelSource.from(wrong as never)).toThrow(TypeError);
  });
}

test("the reason that another thread gave outlives the source here, though its memory is gone", async () => {
  const source = new CancelSource();
  const { token } = source;
  const thread = await Thread.start("movers", "cancelOnce", { cancel: source.handle });
  expect(await thread.next()).toBe(true);
  await thread.join();
  source.dispose();
  expect(source.reason).toBe("from a third thread");
  expect(token.reason).toBe("from a third thread");
});

test("a reason whose toString disposes the source, or cancels it first, rings no doorbell that is a stranger's by then", () => {
  const source = new CancelSource();
  void source.handle;
  const reason = {
    toString() {
      source.dispose();
      return "why";
    },
  };
  const { made, result } = callsDuring(() => source.cancel(reason));
  expect(result).toBe(false);
  expect(made).not.toContain("write");

  using other = new CancelSource();
  void other.handle;
  expect(other.cancel({ toString: () => String(other.cancel("first")) })).toBe(false);
  expect(other.reason).toBe("first");
});

test("a reason whose toString takes the handle: there is one", () => {
  using source = new CancelSource();
  let handle: unknown;
  let calls = 0;
  source.cancel({
    toString() {
      if (++calls === 2) handle = source.handle; // the first time is the cancel's own
      return "why";
    },
  });
  expect(source.handle).toBe(handle as typeof source.handle);
});
