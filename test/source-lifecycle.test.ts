import { expect, test } from "bun:test";
import { CancelledError, CancelSource, ClosedError, releaseOnExit } from "../src/index.ts";
import { changes } from "./fds.ts";
import { Reader } from "./reader.ts";
import { keeper, pair } from "./setup.ts";
import { fdTable, Thread, thrown, until } from "./thread.ts";

const keep = keeper();

test("a source costs no descriptor until its handle is taken, then the same handle each time, and none after dispose", () => {
  const before = fdTable();
  const source = new CancelSource();
  using child = source.child();
  expect(fdTable()).toEqual(before);
  expect(source.handle).toBe(source.handle);
  child.cancel();
  source.cancel();
  source.reset();
  source.dispose();
  child.dispose();
  expect(fdTable()).toEqual(before);
});

test("after dispose cancel is false, and handle, reset, child and operations throw ClosedError; dispose is idempotent", () => {
  const { client } = pair(keep);
  for (const withHandle of [false, true]) {
    const source = new CancelSource();
    const { token } = source;
    if (withHandle) source.handle;
    source.dispose();
    source.dispose();
    expect(source.cancel()).toBe(false);
    expect(source.cancelled).toBe(false);
    expect(() => source.handle).toThrow(ClosedError);
    expect(() => source.reset()).toThrow(ClosedError);
    expect(() => source.child()).toThrow(ClosedError);
    expect(() => token.child()).toThrow(ClosedError);
    expect(() => CancelSource.any(source)).toThrow(ClosedError);
    expect(() => client.readSync(new Uint8Array(1), { cancel: source })).toThrow(ClosedError);
    expect(() => client.readSync(new Uint8Array(1), { cancel: token })).toThrow(ClosedError);
  }
});

test("a cancelled source that is disposed keeps saying so, and why", () => {
  for (const withHandle of [false, true]) {
    const source = new CancelSource();
    if (withHandle) source.handle;
    const reason = { why: "kept" };
    source.cancel(reason);
    source.dispose();
    expect(source.cancelled).toBe(true);
    expect(source.reason).toBe(reason);
    expect(thrown(() => source.throwIfCancelled())).toBeInstanceOf(CancelledError);
  }
});

test("from is a ClosedError once the last holder has disposed", () => {
  const source = new CancelSource();
  const { handle } = source;
  const other = CancelSource.from(handle);
  source.dispose();
  const again = CancelSource.from(handle);
  other.dispose();
  again.dispose();
  expect(() => CancelSource.from(handle)).toThrow(ClosedError);
  expect(() => CancelSource.from(structuredClone(handle))).toThrow(ClosedError);
});

test("two from in one thread are one source: either cancels the other, and each is disposed for itself", () => {
  using source = new CancelSource();
  const first = CancelSource.from(source.handle);
  using second = CancelSource.from(structuredClone(source.handle));
  const reason = { identical: true };
  expect(first.cancel(reason)).toBe(true);
  expect(second.reason).toBe(reason);
  expect(second.cancel()).toBe(false);
  first.dispose();
  expect(first.cancel()).toBe(false);
  second.reset();
  expect(source.cancelled).toBe(false);
  expect(second.cancel()).toBe(true);
  expect(source.cancelled).toBe(true);
});

test("dispose in the thread that made the source leaves the other ones working", async () => {
  await using reader = await Reader.start();
  const source = new CancelSource();
  const { handle } = source;
  reader.read({ cancel: handle });
  await reader.blocked();
  source.dispose();
  using again = CancelSource.from(handle); // the reader holds it
  expect(again.cancel("still possible")).toBe(true);
  expect(await reader.outcome()).toMatchObject({ name: "AbortError", cause: "still possible" });
});

test("dispose cancels nothing: a read that is blocked with the source goes on, and reads", async () => {
  await using reader = await Reader.start();
  const source = new CancelSource();
  reader.read({ cancel: source.handle });
  await reader.blocked();
  source.dispose();
  reader.far.writeSync("data");
  expect(await reader.outcome()).toMatchObject({ text: "data" });
});

test("a thread that is terminated while it holds a source leaves it working for the others", async () => {
  await using reader = await Reader.start();
  reader.read({ timeout: 1 }); // what it opens for its first wait stays open
  await reader.outcome();
  const before = fdTable();
  const source = new CancelSource();
  const thread = await Thread.start("holders", "holdForEver", source.handle);
  releaseOnExit(thread.worker);
  await thread.next();
  await thread.terminate();
  reader.read({ cancel: source.handle });
  await reader.blocked();
  expect(source.cancel("all is well")).toBe(true);
  expect(await reader.outcome()).toMatchObject({ cause: "all is well" });
  source.dispose();
  await until("its descriptors to be gone", () => Object.keys(changes(before).opened).length === 0);
});

test("a source with a far timeout whose handle was taken is collected once it was disposed, cancelled before or not: no timer stays", async () => {
  const COUNT = 100;
  const over = Array.from({ length: COUNT }, (_, i) => {
    const source = CancelSource.timeout(3_600_000);
    const child = source.child();
    void child.handle;
    if (i % 2 === 0) child.cancel();
    child.dispose();
    source.dispose();
    return new WeakRef(child);
  });
  // The stack may still refer to one or the other.
  await until("the disposed sources to be collected", () => {
    Bun.gc(true);
    return over.filter((one) => one.deref() === undefined).length > COUNT * 0.8;
  });
});
