import { expect, test } from "bun:test";
import { monotonic } from "../ffi/index.ts";
import { CancelledError, CancelSource, connectSync, listen, TimeoutError } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { blackHole, keeper, refusedPort } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();

for (const [what, timeout] of [
  ["0", 0],
  ["-1", -1],
  ["-Infinity", Number.NEGATIVE_INFINITY],
  ["a past Date", new Date(Date.now() - 1000)],
  ["a Date before 1970", new Date(-1)],
] as const) {
  test(`a connect with a timeout of ${what} fails before any system call, even to a server that is there`, () => {
    const { address } = keep(listen({ hostname: "127.0.0.1" }));
    const calls = systemCalls(() => {
      const error = thrown(() => connectSync({ hostname: "127.0.0.1", port: address.port, timeout }));
      expect(error).toBeInstanceOf(TimeoutError);
      expect(error).toMatchObject({ name: "TimeoutError", code: "ERR_TIMEOUT", timeout: true });
    });
    expect(calls).toEqual([]);
  });
}

test("a lookup with a timeout of 0 is never begun", () => {
  const calls = systemCalls(() => {
    expect(thrown(() => connectSync({ hostname: "name.test", port: 1, timeout: 0 }))).toBeInstanceOf(TimeoutError);
  });
  expect(calls).toEqual([]);
});

for (const timeout of [null, undefined, Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER, 2 ** 31, 1e300]) {
  test(`a connect with a timeout of ${timeout} connects`, () => {
    const { address } = keep(listen({ hostname: "127.0.0.1" }));
    expect(keep(connectSync({ hostname: "127.0.0.1", port: address.port, timeout })).closed).toBe(false);
  });
}

for (const timeout of [0.5, 1, 30, 300]) {
  test(`a connect that nobody answers times out after ${timeout} ms, never before`, () => {
    const { port } = blackHole(keep);
    const before = fdTable();
    const begin = monotonic();
    expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout }))).toBeInstanceOf(TimeoutError);
    const took = monotonic() - begin;
    expect(took).toBeGreaterThanOrEqual(timeout);
    expect(took).toBeLessThan(timeout + 5000);
    expect(fdTable()).toEqual(before);
  });
}

test("a Date is a deadline as well", () => {
  const { port } = blackHole(keep);
  const timeout = new Date(Date.now() + 100);
  expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout }))).toBeInstanceOf(TimeoutError);
  expect(Date.now()).toBeGreaterThanOrEqual(timeout.getTime());
});

test("of a source's timeout and the connect's own the earlier one ends it, as a TimeoutError", () => {
  const { port } = blackHole(keep);
  for (const [mine, sources] of [
    [50, 20_000],
    [20_000, 50],
  ] as const) {
    using cancel = CancelSource.timeout(sources);
    const begin = monotonic();
    const dial = () => connectSync({ hostname: "127.0.0.1", port, timeout: mine, cancel });
    expect(thrown(dial)).toBeInstanceOf(TimeoutError);
    expect(monotonic() - begin).toBeLessThan(10_000);
  }
});

test("a source that is cancelled already ends it before any system call, and before its timeout counts", () => {
  using cancel = new CancelSource();
  cancel.cancel("no");
  const port = refusedPort();
  const calls = systemCalls(() => {
    const error = thrown(() => connectSync({ hostname: "127.0.0.1", port, cancel, timeout: 0 }));
    expect(error).toBeInstanceOf(CancelledError);
    expect(error.cause).toBe("no");
  });
  expect(calls).toEqual([]);
});

test("5,000 timed-out dials leave the descriptor table as it was, and the server none that lives", () => {
  const { port, listener } = blackHole(keep);
  const before = fdTable();
  for (let i = 0; i < 5000; i++) {
    try {
      connectSync({ hostname: "127.0.0.1", port, timeout: 0.01 });
      throw new Error("connected to a server without room");
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
    }
  }
  expect(fdTable()).toEqual(before);
  keep(listener.acceptSync({ timeout: 5000 })); // the one that took the room
  expect(listener.tryAccept()).toBeNull();
});
