import { expect, test } from "bun:test";
import { CancelledError, CancelSource, ClosedError, TimeoutError } from "../src/index.ts";
import { ARMED, CANCELLED, FIRST_DONE, REFUSED } from "./bodies/entry.ts";
import { passed, reach } from "./gates.ts";
import { operations, Ready, type Refusal, refused } from "./ready.ts";
import { Thread, thrown } from "./thread.ts";

for (const operation of operations) {
  const bytesWritten = operation.startsWith("write") ? 0 : undefined;

  test(`${operation} fails if its source is cancelled already, asks the kernel nothing, and leaves all to the next call`, () => {
    using source = new CancelSource();
    const reason = { why: "the very same object" };
    source.cancel(reason);
    const refusal = refused(operation, { cancel: source });
    expect(refusal.cause).toBe(reason);
    expect(refusal).toEqual({
      name: "AbortError",
      code: "ABORT_ERR",
      cause: reason,
      bytesWritten,
      calls: [],
      afterwards: "bytes",
      left: [],
    });
  });

  test(`${operation} fails in the same way with the token, a child, or a group of a cancelled source`, () => {
    using source = new CancelSource();
    using child = source.child();
    using group = CancelSource.any(new CancelSource(), source.token);
    source.cancel("enough");
    for (const cancel of [source.token, child, child.token, group]) {
      using ready = new Ready();
      const error = thrown(() => ready.do(operation, { cancel }));
      expect(error).toBeInstanceOf(CancelledError);
      expect(error.cause).toBe("enough");
    }
  });

  test(`${operation} fails with TimeoutError if its source has timed out, and leaves all to the next call`, () => {
    using source = CancelSource.timeout(0);
    const refusal = refused(operation, { cancel: source });
    expect(refusal).toMatchObject({
      name: "TimeoutError",
      code: "ERR_TIMEOUT",
      calls: [],
      afterwards: "bytes",
      left: [],
    });
    expect(refusal.bytesWritten).toBe(bytesWritten!);
  });

  test(`${operation} fails with ClosedError if its source was disposed, and leaves all to the next call`, () => {
    const source = new CancelSource();
    source.dispose();
    expect(refused(operation, { cancel: source })).toMatchObject({
      name: "ClosedError",
      calls: [],
      afterwards: "bytes",
    });
  });
}

test("at entry the source is looked at before the deadline, and the deadline before the data that is there", () => {
  using ready = new Ready();
  using source = new CancelSource();
  expect(thrown(() => ready.do("read", { cancel: source, timeout: 0 }))).toBeInstanceOf(TimeoutError);
  source.cancel();
  expect(thrown(() => ready.do("read", { cancel: source, timeout: 0 }))).toBeInstanceOf(CancelledError);
  expect(ready.do("read", {})).toBe("bytes");
});

test("at entry a closed socket is told before a cancelled source, and a disposed source before both", () => {
  using source = new CancelSource();
  source.cancel();
  const ready = new Ready();
  ready[Symbol.dispose]();
  for (const operation of ["read", "write", "accept"] as const)
    expect(thrown(() => ready.do(operation, { cancel: source, timeout: 0 }))).toBeInstanceOf(ClosedError);
});

test("every operation in another thread fails when its source was cancelled before, with the reason as a string", async () => {
  using source = new CancelSource();
  const { handle } = source;
  source.cancel(new Error("shutting down"));
  const thread = await Thread.start("entry", "refuseAll", handle);
  for (const operation of operations) {
    expect(await thread.next<Refusal>()).toEqual({
      name: "AbortError",
      code: "ABORT_ERR",
      cause: "Error: shutting down",
      bytesWritten: operation.startsWith("write") ? 0 : undefined,
      calls: [],
      afterwards: "bytes",
      left: [],
    });
  }
  await thread.join();
});

test("a cancel between two operations is there for the second, in this thread and in the other, until the reset", async () => {
  using source = new CancelSource();
  using ready = new Ready();
  const thread = await Thread.start("entry", "readThrice", source.handle);
  expect(ready.do("write", { cancel: source })).toBe("bytes");
  passed(thread.flags, FIRST_DONE);
  expect(await thread.next<string>()).toBe("bytes");
  source.cancel();
  reach(thread.flags, CANCELLED);
  expect(thrown(() => ready.do("read", { cancel: source }))).toBeInstanceOf(CancelledError);
  passed(thread.flags, REFUSED);
  expect(await thread.next<string>()).toBe("AbortError");
  source.reset();
  reach(thread.flags, ARMED);
  expect(ready.do("read", { cancel: source })).toBe("bytes");
  expect(await thread.next<string>()).toBe("bytes");
  await thread.join();
});
