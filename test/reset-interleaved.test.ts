/**
 * A reset (or a cancel, or a look at a timeout) in one thread, held up before each of its accesses to shared memory in
 * turn, while other threads do something to the same source and its parent.
 */
import { expect, test } from "bun:test";
import { CancelSource } from "../src/index.ts";
import { PAUSED, Reader, WAITS } from "./reader.ts";
import { keeper } from "./setup.ts";
import { Stepper } from "./stepper.ts";
import { until } from "./thread.ts";

const keep = keeper();

function family(): { parent: CancelSource; child: CancelSource } {
  const parent = keep(new CancelSource());
  return { parent, child: keep(parent.child()) };
}

/** Calls `round` for each access, until one round was over before it came to it. Returns what went wrong, by access. */
async function throughAllSteps(round: (step: number) => Promise<{ held: number; wrong?: string | false }>) {
  const wrong: string[] = [];
  for (let step = 0; ; step++) {
    const outcome = await round(step);
    if (outcome.wrong) wrong.push(`before access ${step}: ${outcome.wrong}`);
    if (outcome.held === 0) {
      expect(step).toBeGreaterThan(0);
      return wrong;
    }
  }
}

/** Begins a read that is held up between its sleep and its look at the words; resolves once it sleeps, or is over. */
async function beginToRead(reader: Reader, source: CancelSource) {
  reader.read({ cancel: source.handle, pause: "after it slept" });
  let over = false;
  const outcome = reader.outcome().finally(() => {
    over = true;
  });
  const { flags } = reader.thread;
  await until("the read to sleep or end", () => over || Atomics.load(flags, WAITS) > 0);
  return { outcome, woken: () => until("the read to wake or end", () => over || Atomics.load(flags, PAUSED) > 0) };
}

const lost: [string, (child: CancelSource) => void, (child: CancelSource) => CancelSource][] = [
  ["an armed source resets it", () => {}, (child) => child],
  ["a cancelled source resets it", (child) => child.cancel(), (child) => child],
  ["an armed source between the two resets it", () => {}, (child) => keep(child.child())],
];
for (const [what, prepare, descend] of lost) {
  test(`a parent's cancel and reset are not lost to a blocked read while a thread that has ${what}`, async () => {
    await using reader = await Reader.start();
    await using slow = await Stepper.start();
    const wrong = await throughAllSteps(async (step) => {
      const { parent, child } = family();
      const source = descend(child);
      prepare(child);
      let read = child.cancelled ? null : await beginToRead(reader, source);
      await slow.begin({ deed: "reset", cancel: child.handle, step });
      read ??= await beginToRead(reader, source);
      parent.cancel("why");
      parent.reset();
      await read.woken();
      const { held } = await slow.finish();
      reader.goOn();
      // After a lost cancel the read goes to sleep again: this ends it.
      reader.far.writeSync("data");
      const outcome = await read.outcome;
      if (outcome.text === undefined) {
        reader.read();
        await reader.outcome();
      }
      return { held, wrong: outcome.name !== "AbortError" && "the cancel was lost" };
    });
    expect(wrong).toEqual([]);
  });
}

for (const again of [false, true]) {
  const what = again ? ", also if the parent was cancelled and reset in between" : "";
  test(`a slow reset undoes nothing of a fast one in another thread${what}`, async () => {
    await using reader = await Reader.start();
    await using slow = await Stepper.start();
    const wrong = await throughAllSteps(async (step) => {
      const { parent, child } = family();
      const { handle } = child;
      parent.cancel();
      parent.reset();
      await slow.begin({ deed: "reset", cancel: handle, step });
      if (again) {
        parent.cancel();
        parent.reset();
      }
      child.reset();
      expect(child.cancelled).toBe(false);
      reader.read({ cancel: handle });
      await reader.blocked();
      const { held } = await slow.finish();
      const { cancelled } = child;
      reader.far.writeSync("data");
      const outcome = await reader.outcome();
      if (outcome.text === undefined) {
        reader.read();
        await reader.outcome();
      }
      if (outcome.name) return { held, wrong: "a read that began after the fast reset was cancelled" };
      return { held, wrong: cancelled && "the child is cancelled, and nobody has cancelled it since its reset" };
    });
    expect(wrong).toEqual([]);
  });
}

test("a slow cancel that is told that it cancelled ends the round with its reason, unless a reset came later", async () => {
  await using slow = await Stepper.start();
  const wrong = await throughAllSteps(async (step) => {
    const source = keep(new CancelSource());
    await slow.begin({ deed: "cancel", cancel: source.handle, step });
    source.cancel("the fast one");
    source.reset();
    const { held, result, reason } = await slow.finish();
    if (held === 0 || !source.cancelled) return { held };
    const right = result === true && reason === "the slow one" && source.reason === "the slow one";
    return { held, wrong: !right && `it is cancelled because of "${reason}" there, and "${source.reason}" here` };
  });
  expect(wrong).toEqual([]);
});

test("a reset that has turned the timeout off is not undone by a thread that was just marking it", async () => {
  await using resetter = await Stepper.start();
  await using looker = await Stepper.start();
  const wrong = await throughAllSteps(async (step) => {
    const inner = await throughAllSteps(async (look) => {
      const source = keep(CancelSource.timeout(8));
      const { handle } = source;
      await resetter.begin({ deed: "reset", cancel: handle, step });
      await Bun.sleep(10); // the deadline passes
      await looker.begin({ deed: "look", cancel: handle, step: look });
      const reset = await resetter.finish();
      const before = source.cancelled;
      const { held } = await looker.finish();
      return { held, wrong: !reset.cancelled && !before && source.cancelled && "it timed out after the reset" };
    });
    // One round more, to know how far the reset goes.
    await resetter.begin({ deed: "reset", cancel: keep(CancelSource.timeout(1000)).handle, step });
    const { held } = await resetter.finish();
    return { held, wrong: inner.join(", ") };
  });
  expect(wrong).toEqual([]);
});
