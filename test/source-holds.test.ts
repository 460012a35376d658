import { expect, test } from "bun:test";
import { CancelSource, ClosedError } from "../src/index.ts";
import { Shared } from "../src/shared/holds.ts";
import {
  BEGIN,
  CLOSES,
  countedKind,
  type Held,
  type HoldJob,
  identityOf,
  READY,
  type ThingJob,
} from "./bodies/holders.ts";
import { changes } from "./fds.ts";
import { inStepWith, passed, reach, spin } from "./gates.ts";
import { around } from "./hooks.ts";
import { Stepper } from "./stepper.ts";
import { FLAGS, fdTable, Thread } from "./thread.ts";

const EIGHT = Array.from({ length: 8 }, (_, i) => i);

/** Threads that run `body`, and the memory that they share; told to end when the test is over. */
async function holders(body: string): Promise<{ threads: Thread[]; shared: Int32Array }> {
  const shared = new Int32Array(new SharedArrayBuffer(FLAGS * 4));
  const threads = await Promise.all(EIGHT.map((index) => Thread.start("holders", body, { shared, index })));
  for (const thread of threads) await thread.next();
  return { threads, shared };
}

async function end(threads: Thread[]): Promise<void> {
  for (const thread of threads) thread.worker.postMessage(null);
  for (const thread of threads) await thread.join();
}

/** Hands the round to all threads and begins it when all are there. */
async function begin(threads: Thread[], shared: Int32Array, job: HoldJob | ThingJob): Promise<void> {
  for (const thread of threads) thread.worker.postMessage(job);
  await inStepWith(threads, () => {
    for (const index of EIGHT) passed(shared, READY + index, job.round);
  });
  reach(shared, BEGIN, job.round);
}

/** A source that others can take, and its doorbell. */
function sharedSource(): { source: CancelSource; cancel: HoldJob["cancel"]; fd: number; identity: string } {
  const source = new CancelSource();
  const before = fdTable();
  const cancel = source.handle;
  const after = fdTable();
  const fd = Object.keys(after).find((one) => before[one] !== after[one] && after[one]!.endsWith("[eventfd]"));
  return { source, cancel, fd: Number(fd ?? -1), identity: fd === undefined ? "" : identityOf(Number(fd)) };
}

test("eight threads take and give back one source 20,000 times each: it is closed once, by the last, and not before", async () => {
  const before = fdTable();
  const { threads, shared } = await holders("takeAndGiveBack");
  const { source, ...job } = sharedSource();
  using _closes = around(
    ["close"],
    (closed) => void (closed === job.fd && Atomics.add(shared, CLOSES, 1)),
    () => {},
  );
  await begin(threads, shared, { ...job, round: 1, times: 20_000 });
  for (const thread of threads) expect(await thread.next<Held>()).toEqual({ taken: 20_000, gone: false, early: 0 });
  expect(Atomics.load(shared, CLOSES)).toBe(0);
  expect(source.cancel()).toBe(true);
  source.dispose();
  expect(Atomics.load(shared, CLOSES)).toBe(job.fd === -1 ? 0 : 1);
  await end(threads);
  expect(fdTable()).toEqual(before);
}, 60_000);

test("the same while the sender lets go: in each of 60 rounds one of them closes it, and the others find it gone", async () => {
  const before = fdTable();
  const { threads, shared } = await holders("takeAndGiveBack");
  using _closes = around(
    ["close"],
    (closed) => void (closed === bell && Atomics.add(shared, CLOSES, 1)),
    () => {},
  );
  let bell = -1;
  for (let round = 1; round <= 60; round++) {
    const { source, ...job } = sharedSource();
    bell = job.fd;
    await begin(threads, shared, { ...job, round, times: 2000 });
    spin(Math.random() * 500_000);
    source.dispose();
    for (const thread of threads) expect((await thread.next<Held>()).early).toBe(0);
    expect(() => CancelSource.from(job.cancel)).toThrow(ClosedError);
    if (bell !== -1) expect(Atomics.load(shared, CLOSES)).toBe(round);
  }
  await end(threads);
  expect(fdTable()).toEqual(before);
}, 60_000);

test("a shared thing that eight threads take and give back ends once in each of 400 rounds, and in nobody's hands", async () => {
  const { threads, shared } = await holders("holdThings");
  const kind = countedKind(shared);
  for (let round = 1; round <= 400; round++) {
    const thing = Shared.create(kind, 1);
    await begin(threads, shared, { round, handle: thing.publish(), times: 500 });
    spin(Math.random() * 200_000);
    thing.release();
    for (const thread of threads) expect(await thread.next<number>()).toBe(0);
    expect(Atomics.load(shared, CLOSES)).toBe(round);
  }
  await end(threads);
}, 60_000);

test("a handle posted to eight threads while its sender disposes is a working source or gone, in 200 rounds", async () => {
  const before = fdTable();
  const { threads } = await holders("takeAndUse");
  const seen: Record<string, number> = { gone: 0, works: 0 };
  let pause = 100_000;
  for (let round = 0; round < 200; round++) {
    const source = new CancelSource();
    const { handle } = source;
    for (const thread of threads) thread.worker.postMessage(handle);
    spin(pause * Math.random() * 2);
    source.dispose();
    let works = 0;
    for (const thread of threads) {
      const answer = await thread.next<string>();
      seen[answer] = (seen[answer] ?? 0) + 1;
      if (answer === "works") works++;
    }
    // So that both happen, on any machine.
    pause = Math.min(20_000_000, works > 4 ? pause * 0.9 : pause * 1.1);
  }
  expect(Object.keys(seen)).toEqual(["gone", "works"]);
  expect(seen.gone).toBeGreaterThan(0);
  expect(seen.works).toBeGreaterThan(0);
  await end(threads);
  expect(fdTable()).toEqual(before);
}, 60_000);

/** What the test does while the other thread is held up in the middle of `deed`, before any of its accesses. */
const meanwhile: [string, "from" | "dispose", (source: CancelSource) => void][] = [
  ["takes a source while its last holder disposes it", "from", (source) => source.dispose()],
  [
    "takes a source while its last holder disposes it and makes another",
    "from",
    (source) => {
      source.dispose();
      using next = new CancelSource();
      next.handle;
    },
  ],
  ["disposes a source while the other holder does", "dispose", (source) => source.dispose()],
  [
    "disposes a source, as its last holder, while another takes it",
    "dispose",
    (source) => {
      const { handle } = source;
      source.dispose();
      try {
        using again = CancelSource.from(handle);
        expect(again.cancel()).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(ClosedError);
      }
    },
  ],
];
for (const [what, deed, act] of meanwhile) {
  test(`a thread ${what}: wherever it stands, the doorbell is closed in the end, and not in its hands`, async () => {
    await using slow = await Stepper.start();
    const wrong: string[] = [];
    for (let step = 0, held = 1; held === 1; step++) {
      const before = fdTable();
      const source = new CancelSource();
      await slow.begin({ deed, cancel: source.handle, step });
      act(source);
      const end = await slow.finish();
      held = end.held;
      if (end.name !== undefined && end.name !== "ClosedError") wrong.push(`before access ${step}: ${end.name}`);
      if (end.cancelled) wrong.push(`before access ${step}: cancelled`);
      const leaked = Object.entries(changes(before).opened);
      if (leaked.length > 0) wrong.push(`before access ${step}: left open ${leaked}`);
    }
    expect(wrong).toEqual([]);
  });
}

test("a thread that comes too late for a source does not keep the next one open that has its memory", async () => {
  await using slow = await Stepper.start();
  const leaks: string[] = [];
  for (let step = 0, first = 1; first > 0; step++) {
    first = 0;
    for (let second = 1, held = 2; held === 2; second++) {
      const before = fdTable();
      const source = new CancelSource();
      await slow.begin({ deed: "from", cancel: source.handle, step, second });
      source.dispose();
      await slow.goOn();
      const next = new CancelSource();
      next.handle;
      next.dispose();
      held = (await slow.finish()).held;
      first ||= held;
      const open = Object.entries(changes(before).opened);
      if (open.length > 0) leaks.push(`before accesses ${step} and ${step + second}: ${open}`);
    }
  }
  expect(leaks).toEqual([]);
});
