import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { CancelledError, CancelSource, TimeoutError } from "../src/index.ts";
import { Reader } from "./reader.ts";
import { keeper, pair } from "./setup.ts";
import { Stepper } from "./stepper.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const into = new Uint8Array(8);

/** Cancels a source in another thread. */
async function cancelElsewhere(source: CancelSource): Promise<void> {
  await using other = await Stepper.start();
  await other.begin({ deed: "cancel", cancel: source.handle, step: Number.POSITIVE_INFINITY });
  await other.finish();
}

test("a child is cancelled with its parent, and its grandchildren, with the parent's own reason", () => {
  using parent = new CancelSource();
  using child = parent.child();
  using grandchild = new CancelSource({ parent: child.token });
  const reason = { why: "identical" };
  parent.cancel(reason);
  for (const source of [child, grandchild]) {
    expect(source.cancelled).toBe(true);
    expect(source.reason).toBe(reason);
    expect(source.cancel("too late")).toBe(false);
    expect(thrown(() => source.throwIfCancelled()).cause).toBe(reason);
  }
});

test("a parent is never cancelled with its child, nor is a sibling", () => {
  using parent = new CancelSource();
  using child = parent.child();
  using sibling = parent.child();
  expect(child.cancel("alone")).toBe(true);
  expect([parent.cancelled, sibling.cancelled]).toEqual([false, false]);
  expect(parent.cancel("all")).toBe(true);
  expect(sibling.reason).toBe("all");
});

test("a child that was cancelled before its parent keeps its own reason", () => {
  using parent = new CancelSource();
  using child = parent.child();
  child.cancel("its own");
  parent.cancel("the parent's");
  expect(child.reason).toBe("its own");
});

for (const where of ["here", "in another thread"]) {
  test(`a read that is blocked with a child in another thread ends when the parent is cancelled ${where}`, async () => {
    await using reader = await Reader.start();
    using parent = new CancelSource();
    using child = parent.child();
    reader.read({ cancel: child.handle });
    await reader.blocked();
    if (where === "here") parent.cancel("the slow one");
    else await cancelElsewhere(parent);
    expect(await reader.outcome()).toMatchObject({ name: "AbortError", cause: "the slow one" });
    expect(child.reason).toBe("the slow one");
  });

  test(`a read that is blocked with the parent goes on when the child is cancelled ${where}`, async () => {
    await using reader = await Reader.start();
    using parent = new CancelSource();
    using child = parent.child();
    reader.read({ cancel: parent.handle });
    await reader.blocked();
    if (where === "here") child.cancel();
    else await cancelElsewhere(child);
    expect([child.cancelled, parent.cancelled]).toEqual([true, false]);
    reader.far.writeSync("data");
    expect(await reader.outcome()).toMatchObject({ text: "data" });
  });
}

test("a read that is blocked with a child that its own thread has made ends when the parent is cancelled here", async () => {
  await using reader = await Reader.start();
  using parent = new CancelSource();
  reader.read({ cancel: parent.handle, child: true });
  await reader.blocked();
  parent.cancel("why");
  expect(await reader.outcome()).toMatchObject({ name: "AbortError", cause: "why" });
});

test("a child of a cancelled parent is born cancelled, and stays so until its own reset under an armed parent", () => {
  using parent = new CancelSource();
  parent.cancel("before it was born");
  using child = parent.child();
  using group = CancelSource.any(new CancelSource(), parent);
  for (const born of [child, group]) {
    expect(born.reason).toBe("before it was born");
    born.reset();
    expect(born.cancelled).toBe(true);
  }
  parent.reset();
  for (const born of [child, group]) {
    expect(born.cancelled).toBe(true);
    born.reset();
    expect(born.cancelled).toBe(false);
  }
});

test("a child that is reset under a cancelled parent stays cancelled, also for a read in another thread", async () => {
  await using reader = await Reader.start();
  using parent = new CancelSource();
  using child = parent.child();
  const { handle } = child;
  parent.cancel("why");
  child.reset();
  expect(child.cancelled).toBe(true);
  reader.far.writeSync("data");
  reader.read({ cancel: handle });
  expect(await reader.outcome()).toMatchObject({ name: "AbortError", cause: "why" });
  parent.reset();
  reader.read({ cancel: handle });
  expect(await reader.outcome()).toMatchObject({ name: "AbortError" });
  child.reset();
  reader.read({ cancel: handle });
  expect(await reader.outcome()).toMatchObject({ text: "data" });
});

test("a parent's cancel and reset leave the child, and its child, cancelled until each one's own reset", () => {
  using parent = new CancelSource();
  using child = parent.child();
  using grandchild = child.child();
  parent.cancel("why");
  parent.reset();
  expect([parent.cancelled, child.cancelled, grandchild.cancelled]).toEqual([false, true, true]);
  expect([child.reason, grandchild.reason]).toEqual(["why", "why"]);
  child.reset();
  expect([parent.cancelled, child.cancelled, grandchild.cancelled]).toEqual([false, false, true]);
  grandchild.reset();
  expect(grandchild.cancelled).toBe(false);
  parent.cancel("again");
  expect([child.reason, grandchild.reason]).toEqual(["again", "again"]);
});

test("a child stays cancelled however often its parent is cancelled and reset before the child's own reset: 200,000 times", () => {
  using parent = new CancelSource();
  using child = parent.child();
  const lost: number[] = [];
  for (let round = 1; round <= 200_000; round++) {
    parent.cancel();
    parent.reset();
    if (!child.cancelled) lost.push(round);
  }
  expect(lost).toEqual([]);
});

test("a child's own cancel and reset are its own, whatever its parent does later", () => {
  using parent = new CancelSource();
  using child = parent.child();
  for (let round = 0; round < 3; round++) {
    child.cancel(round);
    child.reset();
    expect([parent.cancelled, child.cancelled]).toEqual([false, false]);
    parent.cancel(`round ${round}`);
    expect(child.reason).toBe(`round ${round}`);
    parent.reset();
    child.reset();
  }
});

test("a parent that is disposed in the middle still passes a cancel on: here, and to a read in another thread", async () => {
  await using reader = await Reader.start();
  for (const elsewhere of [false, true]) {
    using grandparent = new CancelSource();
    const parent = grandparent.child();
    using child = parent.child();
    if (elsewhere) {
      reader.read({ cancel: child.handle });
      await reader.blocked();
    }
    parent.dispose();
    expect(parent.cancel()).toBe(false);
    expect(child.cancelled).toBe(false);
    grandparent.cancel("from the top");
    expect(child.reason).toBe("from the top");
    if (elsewhere) expect(await reader.outcome()).toMatchObject({ cause: "from the top" });
  }
});

test("any is cancelled with each of its sources, whatever they are, and says why", () => {
  for (const which of [0, 1, 2]) {
    const sources = [keep(new CancelSource()), keep(new CancelSource()), keep(keep(new CancelSource()).child())];
    using group = CancelSource.any(sources[0]!, sources[1]!.token, sources[2]!, sources[0]!);
    expect(group.cancelled).toBe(false);
    sources[which]!.cancel(`source ${which}`);
    expect(group.reason).toBe(`source ${which}`);
    expect(sources.filter((source) => source.cancelled).length).toBe(1);
    sources[which]!.reset();
    group.reset();
    group.cancel("the group alone");
    expect(sources.some((source) => source.cancelled)).toBe(false);
  }
  using none = CancelSource.any();
  expect(none.cancelled).toBe(false);
  expect(none.cancel()).toBe(true);
});

test("any ends a blocked read with each of its sources, and with the timeout of one", async () => {
  await using reader = await Reader.start();
  for (const which of [0, 1]) {
    const sources = [keep(new CancelSource()), keep(new CancelSource())];
    using group = CancelSource.any(...sources);
    reader.read({ cancel: group.handle });
    await reader.blocked();
    sources[which]!.cancel(which);
    expect(await reader.outcome()).toMatchObject({ name: "AbortError", cause: String(which) });
  }
  using timed = CancelSource.any(keep(new CancelSource()), keep(CancelSource.timeout(50)));
  reader.read({ cancel: timed.handle });
  expect(await reader.outcome()).toMatchObject({ name: "TimeoutError" });
  expect(thrown(() => timed.throwIfCancelled())).toBeInstanceOf(TimeoutError);
});

test("the root of a chain of a hundred is cancelled in another thread: the leaf's read ends, and says why", async () => {
  await using reader = await Reader.start();
  reader.read({ timeout: 1 });
  await reader.outcome();
  const before = fdTable();
  const chain = [new CancelSource()];
  for (let depth = 1; depth < 100; depth++) chain.push(chain.at(-1)!.child());
  const leaf = chain.at(-1)!;
  for (const at of [0, 50, 98]) {
    reader.read({ cancel: leaf.handle });
    await reader.blocked();
    await cancelElsewhere(chain[at]!);
    expect(await reader.outcome()).toMatchObject({ name: "AbortError", cause: "the slow one" });
    expect(leaf.reason).toBe("the slow one");
    expect(chain.filter((source) => source.cancelled).length).toBe(100 - at);
    for (const source of chain) source.reset();
    expect(leaf.cancelled).toBe(false);
  }
  for (const source of chain) source.dispose();
  expect(fdTable()).toEqual(before);
});

test("a lattice of 20 groups, each of two children of the one before, is looked at by source and not by path", () => {
  let top = keep(new CancelSource());
  const root = top;
  for (let level = 0; level < 20; level++) top = keep(CancelSource.any(keep(top.child()), keep(top.child())));
  // There are 41 sources, and a million paths.
  let looks = 0;
  const load = Atomics.load;
  const counted = (words: Int32Array, index: number) => {
    looks++;
    return load(words, index);
  };
  Object.assign(Atomics, { load: counted });
  try {
    expect(top.cancelled).toBe(false);
  } finally {
    Object.assign(Atomics, { load });
  }
  expect(looks).toBeLessThan(1000);
  root.cancel();
  expect(top.cancelled).toBe(true);
});

test("100,000 children that are used for one operation each and disposed leave nothing behind", () => {
  const { client, server } = pair(keep);
  using parent = new CancelSource();
  parent.handle;
  const count = () => {
    Bun.gc(true);
    const { objectTypeCounts } = heapStats();
    return (objectTypeCounts.CancelCore ?? 0) + (objectTypeCounts.CancelSource ?? 0);
  };
  thrown(() => client.readSync(into, { timeout: 1 }));
  const before = fdTable();
  const objects = count();
  for (let i = 0; i < 100_000; i++) {
    using child = parent.child();
    if (i % 4 === 0) server.writeSync("x");
    if (i % 4 === 1) child.cancel();
    if (i % 100 === 2) child.handle;
    try {
      client.readSync(into, { cancel: child, timeout: 0.001 });
    } catch (error) {
      const expected = i % 4 === 1 ? CancelledError : TimeoutError;
      if (!(error instanceof expected)) throw error;
    }
  }
  expect(fdTable()).toEqual(before);
  expect(count() - objects).toBeLessThan(1000);
  expect(parent.cancelled).toBe(false);
});
