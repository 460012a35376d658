/** The gap between "there is nothing" and sleep: whatever is cancelled there, and whatever comes after, is seen. */
import { expect, test } from "bun:test";
import { EMFILE } from "../ffi/index.ts";
import { CancelSource, TimeoutError } from "../src/index.ts";
import { failWith, faults } from "./faults.ts";
import { aroundWaits } from "./hooks.ts";
import { type Instant, Reader, WAITS } from "./reader.ts";
import { keeper, pair } from "./setup.ts";
import { thrown, until } from "./thread.ts";

const keep = keeper();
const fault = faults();

const instants: Instant[] = ["after it found nothing", "before it sleeps", "after it slept"];

/** What another thread does to the reader's source or its parent while the reader stands in the gap, and the cause. */
const deeds: [string, (source: CancelSource, parent: CancelSource) => void, string?][] = [
  ["a cancel", (source) => source.cancel("why"), "why"],
  [
    "a cancel and a reset",
    (source) => {
      source.cancel("why");
      source.reset();
    },
    "why",
  ],
  [
    "two cancels and two resets",
    (source) => {
      source.cancel("why");
      source.reset();
      source.cancel("why");
      source.reset();
    }, // the second reason has taken the place of the first
  ],
  ["a cancel of the parent", (_, parent) => parent.cancel("why"), "why"],
  [
    "a cancel and a reset of the parent",
    (_, parent) => {
      parent.cancel("why");
      parent.reset();
    },
    "why",
  ],
  [
    "a cancel of the parent and a reset of the child",
    (source, parent) => {
      parent.cancel("why");
      source.reset();
    },
    "why",
  ],
  [
    "a cancel of the parent and a reset of both",
    (source, parent) => {
      parent.cancel("why");
      parent.reset();
      source.reset();
    },
    "why",
  ],
];

for (const instant of instants) {
  /** Resolves once it does: of the sleep, some data ends it, and it has not looked at anything yet. */
  const standStill = async (reader: Reader) => {
    if (instant === "after it slept") {
      await until("it to sleep", () => Atomics.load(reader.thread.flags, WAITS) > 0);
      reader.far.writeSync("data");
    }
    await reader.paused();
  };

  for (const [what, deed, cause] of deeds) {
    test(`a read is cancelled by ${what} ${instant}, on its first wait and on a later one`, async () => {
      await using reader = await Reader.start();
      const parent = keep(new CancelSource());
      const source = keep(parent.child());
      // The first time the doorbell is new to the socket's selector, the second time it stands there already, rung.
      for (let time = 0; time < 2; time++) {
        reader.read({ cancel: source.handle, pause: instant });
        await standStill(reader);
        deed(source, parent);
        reader.goOn();
        const outcome = await reader.outcome();
        expect(outcome).toMatchObject({ name: "AbortError", code: "ABORT_ERR" });
        if (cause !== undefined) expect(outcome.cause).toBe(cause);
        parent.reset();
        source.reset();
        if (instant !== "after it slept") reader.far.writeSync("data");
        reader.read({ cancel: source.handle });
        expect(await reader.outcome()).toMatchObject({ text: "data" });
      }
    });
  }

  test(`a read that stands still ${instant} is not cancelled by what happened to its source before it began`, async () => {
    await using reader = await Reader.start();
    const parent = keep(new CancelSource());
    const source = keep(parent.child());
    for (let time = 0; time < 3; time++) {
      parent.cancel();
      parent.reset();
      source.reset();
      source.cancel();
      source.reset();
      reader.read({ cancel: source.handle, pause: instant });
      await standStill(reader);
      if (instant !== "after it slept") reader.far.writeSync("data");
      reader.goOn();
      expect(await reader.outcome()).toMatchObject({ text: "data" });
    }
  });

  test(`a reset of an armed source ${instant} cancels nothing: the read goes on, and the next one can be cancelled`, async () => {
    await using reader = await Reader.start();
    const parent = keep(new CancelSource());
    const source = keep(parent.child());
    reader.read({ cancel: source.handle, pause: instant });
    await standStill(reader);
    source.reset();
    parent.reset();
    reader.goOn();
    if (instant !== "after it slept") {
      await reader.blocked();
      reader.far.writeSync("data");
    }
    expect(await reader.outcome()).toMatchObject({ text: "data" });
    reader.read({ cancel: source.handle });
    await reader.blocked();
    parent.cancel();
    expect(await reader.outcome()).toMatchObject({ name: "AbortError" });
  });
}

test("a read that stands still is cancelled however many rounds have passed meanwhile: also after each power of two", async () => {
  await using reader = await Reader.start();
  const source = keep(new CancelSource());
  for (let power = 1; power <= 2 ** 17; power *= 2) {
    reader.read({ cancel: source.handle, pause: "before it sleeps" });
    await reader.paused();
    for (let round = 0; round < power; round++) {
      source.cancel();
      source.reset();
    }
    reader.goOn();
    reader.far.writeSync("data"); // ends the read if the cancel is lost
    expect([power, (await reader.outcome()).name]).toEqual([power, "AbortError"]);
    reader.read();
    await reader.outcome();
  }
});

test("a doorbell that rang in an earlier round keeps no later read awake", async () => {
  await using reader = await Reader.start();
  const parent = keep(new CancelSource());
  const source = keep(parent.child());
  for (let round = 0; round < 3; round++) {
    for (const rung of [source, parent]) {
      reader.read({ cancel: source.handle });
      await reader.blocked();
      rung.cancel();
      expect(await reader.outcome()).toMatchObject({ name: "AbortError" });
      parent.reset();
      source.reset();
    }
  }
  reader.read({ cancel: source.handle, timeout: 100 });
  const { name, waits } = await reader.outcome();
  expect(name).toBe("TimeoutError");
  // One sleep, the rest of its last millisecond, and at most one spurious wake each for two bells. An awake one has thousands.
  expect(waits).toBeLessThan(10);
});

test("nor does it one that finds no descriptor for its epoll set, and polls instead", () => {
  const { server } = pair(keep); // the client has an epoll set, from its connect
  const cancel = keep(new CancelSource());
  void cancel.handle;
  cancel.cancel();
  cancel.reset();
  fault("epoll_create1", () => () => failWith(EMFILE));
  let waits = 0;
  using _hook = aroundWaits(
    () => waits++,
    () => {},
  );
  expect(thrown(() => server.readSync(new Uint8Array(1), { cancel, timeout: 300 }))).toBeInstanceOf(TimeoutError);
  expect(waits).toBeLessThan(150); // every 10 ms, where it has to look at the state now and then
});
