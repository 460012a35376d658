import { expect, test } from "bun:test";
import { monotonic } from "../ffi/index.ts";
import { CancelSource, type When } from "../src/index.ts";
import { Reader, WAITS } from "./reader.ts";
import { keeper, pair } from "./setup.ts";
import { thrown, until } from "./thread.ts";

const keep = keeper();

test("a read that is blocked in another thread fails with TimeoutError once its source times out, and not before", async () => {
  await using reader = await Reader.start();
  const before = monotonic();
  using source = CancelSource.timeout(400);
  reader.read({ cancel: source.handle });
  const outcome = await reader.outcome();
  expect(outcome).toMatchObject({ name: "TimeoutError", code: "ERR_TIMEOUT" });
  expect(outcome.waits).toBeGreaterThan(0);
  expect(outcome.at).toBeGreaterThanOrEqual(before + 400);
  expect(source.cancelled).toBe(true);
});

test("a read that is blocked with a child, or a grandchild, of a source fails with TimeoutError when that times out", async () => {
  await using reader = await Reader.start();
  for (const depth of [1, 2]) {
    const before = monotonic();
    using source = CancelSource.timeout(300);
    using child = source.child();
    using grandchild = child.child();
    reader.read({ cancel: (depth === 1 ? child : grandchild).handle });
    const outcome = await reader.outcome();
    expect(outcome).toMatchObject({ name: "TimeoutError", code: "ERR_TIMEOUT" });
    expect(outcome.waits).toBeGreaterThan(0);
    expect(outcome.at).toBeGreaterThanOrEqual(before + 300);
  }
});

test("reset clears the deadline while another thread is blocked with it: that thread goes on waiting, and reads", async () => {
  await using reader = await Reader.start();
  const before = monotonic();
  using source = CancelSource.timeout(1000);
  reader.read({ cancel: source.handle });
  await reader.blocked();
  source.reset();
  expect(monotonic()).toBeLessThan(before + 1000); // else this machine is too slow for the test
  // It wakes at the deadline, finds that it is off, and goes to sleep again.
  await until("the second sleep", () => Atomics.load(reader.thread.flags, WAITS) >= 2);
  expect(monotonic()).toBeGreaterThanOrEqual(before + 1000);
  expect(source.cancelled).toBe(false);
  reader.far.writeSync("late, and welcome");
  expect(await reader.outcome()).toMatchObject({ text: "late, and welcome" });
});

test("after that reset the source can still be cancelled", async () => {
  await using reader = await Reader.start();
  using source = CancelSource.timeout(60_000);
  reader.read({ cancel: source.handle });
  await reader.blocked();
  source.reset();
  expect(source.cancel("by hand")).toBe(true);
  expect(await reader.outcome()).toMatchObject({ name: "AbortError", cause: "by hand" });
});

test("a source that was cancelled before its deadline says so also after it", async () => {
  using source = CancelSource.timeout(20);
  using child = source.child();
  expect(source.cancel("first")).toBe(true);
  const passed = monotonic() + 21;
  await until("the deadline to pass", () => monotonic() > passed);
  expect(source.reason).toBe("first");
  expect(child.reason).toBe("first");
  expect(thrown(() => child.throwIfCancelled()).name).toBe("AbortError");
});

test("a source that was reset after its timeout does not time out again", async () => {
  using source = CancelSource.timeout(1);
  await until("the timeout", () => source.cancelled);
  source.reset();
  await Bun.sleep(5);
  expect(source.cancelled).toBe(false);
  const { client } = pair(keep);
  expect(thrown(() => client.readSync(new Uint8Array(1), { cancel: source, timeout: 5 })).name).toBe("TimeoutError");
  expect(source.cancelled).toBe(false);
});

const past: [string, When][] = [
  ["zero", 0],
  ["a negative time", -5],
  ["the most negative time", Number.NEGATIVE_INFINITY],
  ["a Date in the past", new Date(Date.now() - 1)],
  ["the first Date", new Date(0)],
];
for (const [what, when] of past) {
  test(`${what} has passed already: the source is born timed out, and so are its children`, () => {
    using source = CancelSource.timeout(when);
    using child = source.child();
    using group = CancelSource.any(child.token);
    for (const one of [source, child, group]) {
      expect(one.cancelled).toBe(true);
      expect(one.cancel("too late")).toBe(false);
      expect(thrown(() => one.throwIfCancelled())).toMatchObject({ name: "TimeoutError", timeout: true });
    }
  });
}

const odd: [string, unknown, typeof RangeError | typeof TypeError][] = [
  ["NaN", Number.NaN, RangeError],
  ["Date.now()", Date.now(), RangeError],
  ["Date.now() and five seconds", Date.now() + 5000, RangeError],
  ["half a year ago as a number", Date.now() - 182 * 24 * 3600 * 1000, RangeError],
  ["an invalid Date", new Date("no date"), RangeError],
  ["a string", "5000", TypeError],
  ["a bigint", 5000n, TypeError],
  ["an object", {}, TypeError],
];
for (const [what, when, error] of odd) {
  test(`${what} is a ${error.name}, for a source, a timeout and a deadline`, () => {
    const { client, listener } = pair(keep);
    expect(() => CancelSource.timeout(when as When)).toThrow(error);
    expect(() => client.readSync(new Uint8Array(1), { timeout: when as When })).toThrow(error);
    expect(() => client.setDeadline(when as When)).toThrow(error);
    expect(() => listener.acceptSync({ timeout: when as When })).toThrow(error);
    expect(client.tryRead(new Uint8Array(1))).toBeNull();
  });
}

for (const [what, when] of [
  ["Infinity", Number.POSITIVE_INFINITY],
  ["null", null],
  ["undefined", undefined],
  ["2**53", 2 ** 53],
  ["1e300", 1e300],
  ["the last Date", new Date(8.64e15)],
] as [string, When][]) {
  test(`${what} never comes`, async () => {
    await using reader = await Reader.start();
    using source = CancelSource.timeout(when);
    using child = source.child();
    reader.read({ cancel: child.handle });
    await reader.blocked();
    expect(source.cancelled).toBe(false);
    reader.far.writeSync("!");
    expect(await reader.outcome()).toMatchObject({ text: "!" });
  });
}

test("of several timeouts in a line the next one counts, also when a reset takes the nearest away", () => {
  const { client } = pair(keep);
  const before = monotonic();
  using far = CancelSource.timeout(60);
  using near = CancelSource.timeout(10);
  using group = CancelSource.any(far, near);
  near.reset();
  expect(thrown(() => client.readSync(new Uint8Array(1), { cancel: group })).name).toBe("TimeoutError");
  expect(monotonic()).toBeGreaterThanOrEqual(before + 60);
  expect([far.cancelled, near.cancelled, group.cancelled]).toEqual([true, false, true]);
});

test("a source never times out early: 200 waits of 0.1 to 3 ms", () => {
  const { client } = pair(keep);
  const early: string[] = [];
  for (let i = 0; i < 200; i++) {
    const time = 0.1 + (i % 30) / 10;
    const before = monotonic();
    using source = CancelSource.timeout(time);
    expect(thrown(() => client.readSync(new Uint8Array(1), { cancel: source })).name).toBe("TimeoutError");
    const took = monotonic() - before;
    if (took < time) early.push(`${time} ms took ${took}`);
  }
  expect(early).toEqual([]);
});
