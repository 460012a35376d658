/** A queue between threads: nothing is lost, nobody sleeps through a wake-up, and whoever waits can be stopped. */
import { expect, test } from "bun:test";
import { BusyError, CancelSource, ClosedError, TimeoutError, WakeQueue } from "../src/index.ts";
import { BEGIN, HAS_IT, type Outcome } from "./bodies/queues.ts";
import { reach } from "./gates.ts";
import { changesSince, NONE, quietTable } from "./leaks.ts";
import { Sequences } from "./sequences.ts";
import { keeper } from "./setup.ts";
import { FLAGS, type Thread, thrown, until } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const SENDERS = 4;
const COUNT = process.env.CANCELFD_LONG === "1" ? 1_000_000 : 250_000;
/** A watchdog, no measurement: who is not woken waits for ever. */
const WATCHDOG = process.env.CANCELFD_LONG === "1" ? 600_000 : 120_000;

async function senders(queue: WakeQueue<number>, body: string, count: number, threads = SENDERS): Promise<Thread[]> {
  const all = await Promise.all(
    Array.from({ length: threads }, (_, sender) => start(keep, "queues", body, { queue: queue.handle, sender, count })),
  );
  for (const thread of all) await until("a sender to have the queue", () => Atomics.load(thread.flags, HAS_IT) === 1);
  return all;
}

for (const capacity of [64, 4096, 1 << 20]) {
  test(
    `${COUNT} values from each of ${SENDERS} threads arrive, each once and in order, through ${capacity} bytes`,
    async () => {
      const before = await quietTable();
      const queue = keep(new WakeQueue<number>({ capacity }));
      const count = capacity === 64 ? Math.min(COUNT / 10, 100_000) : COUNT; // a sleep and a wake-up for every few values
      const threads = await senders(queue, "send", count);
      const seen = new Sequences();
      const total = SENDERS * count;
      for (const thread of threads) reach(thread.flags, BEGIN);
      const end = Date.now() + WATCHDOG;
      while (seen.total < total) {
        // One by one and all at once, in turns; each wait has to be ended by a sender.
        seen.check(queue.receiveSync({ timeout: end - Date.now() }));
        if (seen.total % 3 === 0) for (const value of queue.receiveAll()) seen.check(value);
      }
      for (const thread of threads) await thread.join();
      expect(seen.next).toEqual(Array(SENDERS).fill(count));
      expect(queue.tryReceive()).toBeUndefined();
      queue.dispose();
      expect(await changesSince(before)).toEqual(NONE);
    },
    WATCHDOG + 10_000,
  );
}

test("a value whose send began after another one's had returned is received after it, whichever threads sent them", async () => {
  const count = 4000;
  const queue = keep(new WakeQueue<number>());
  const turns = new Int32Array(new SharedArrayBuffer(FLAGS * 4));
  const threads = await Promise.all(
    Array.from({ length: SENDERS }, (_, sender) =>
      start(keep, "queues", "sendInTurnOf", { queue: queue.handle, sender, count, turns }),
    ),
  );
  for (let i = 0; i < count; i++) expect(queue.receiveSync({ timeout: 20_000 })).toBe(i);
  for (const thread of threads) await thread.join();
});

test("close under eight senders: every value that was accepted is received, none comes twice, and nothing more", async () => {
  for (let round = 0; round < 5; round++) {
    const queue = new WakeQueue<number>({ capacity: 1 << 14 });
    const threads = await senders(queue, "sendUntilClosed", 0, 8);
    const seen = new Sequences();
    for (const thread of threads) reach(thread.flags, BEGIN);
    while (seen.total < 2000) seen.check(queue.receiveSync({ timeout: 20_000 }));
    queue.close();
    expect(
      thrown(() => {
        for (;;) seen.check(queue.receiveSync({ timeout: 20_000 }));
      }),
    ).toBeInstanceOf(ClosedError);
    for (const [sender, thread] of threads.entries()) {
      expect([sender, seen.next[sender] ?? 0]).toEqual([sender, await thread.next<number>()]);
      await thread.join();
    }
  }
});

test("a receiver that is blocked in the kernel is woken by a value, a close, a cancel and its timeout", async () => {
  const source = keep(new CancelSource());
  const closedOutcome = { name: "ClosedError" };
  const deeds: [(queue: WakeQueue) => unknown, number | undefined, Outcome[]][] = [
    [(queue) => queue.send("value"), undefined, [{ value: "value" }, { value: undefined }]],
    [(queue) => queue.close(), undefined, [closedOutcome, closedOutcome]],
    [() => source.cancel("why"), undefined, [{ name: "AbortError", cause: "why" }, { value: undefined }]],
    [() => {}, 100, [{ name: "TimeoutError" }, { value: undefined }]],
  ];
  for (const [deed, timeout, outcomes] of deeds) {
    const queue = keep(new WakeQueue());
    const thread = await start(keep, "queues", "receiveOnce", { queue: queue.handle, cancel: source.handle, timeout });
    if (timeout === undefined) await thread.blocked();
    deed(queue);
    for (const outcome of outcomes) expect(await thread.next<Outcome>()).toMatchObject(outcome);
    await thread.join();
    source.reset();
  }
});

test("a sender that waits for room is woken by room, a close, a cancel and its timeout", async () => {
  const source = keep(new CancelSource());
  const deeds: [(queue: WakeQueue) => unknown, number | undefined, Outcome[], unknown[]][] = [
    [(queue) => queue.receiveAll(), undefined, [{ value: undefined }, { value: true }], ["one more", "another"]],
    [(queue) => queue.close(), undefined, [{ name: "ClosedError" }, { name: "ClosedError" }], ["in it"]],
    [() => source.cancel("why"), undefined, [{ name: "AbortError", cause: "why" }, { value: false }], ["in it"]],
    [() => {}, 100, [{ name: "TimeoutError" }, { value: false }], ["in it"]],
  ];
  for (const [deed, timeout, outcomes, left] of deeds) {
    const queue = keep(new WakeQueue({ capacity: 64 }));
    queue.send("in it");
    for (let length = 40; length >= 0; length -= 8) queue.trySend(new Uint8Array(length)); // to the brim
    const bytes = queue.receiveAll().slice(1);
    for (const value of ["in it", ...bytes]) queue.send(value);
    const thread = await start(keep, "queues", "sendOnce", { queue: queue.handle, cancel: source.handle, timeout });
    if (timeout === undefined) await thread.blocked();
    deed(queue);
    for (const outcome of outcomes) expect(await thread.next<Outcome>()).toMatchObject(outcome);
    await thread.join();
    const values: unknown[] = queue.receiveAll();
    expect<unknown[]>(values.filter((value) => typeof value === "string")).toEqual(left);
    source.reset();
  }
});

test("a sender is woken by the receive that makes room enough", async () => {
  const queue = keep(new WakeQueue({ capacity: 64 }));
  for (let i = 0; i < 4; i++) queue.send(i);
  const thread = await start(keep, "queues", "sendOnce", { queue: queue.handle }); // "one more" takes 32 bytes
  await thread.blocked();
  expect(queue.tryReceive()).toBe(0);
  expect(queue.tryReceive()).toBe(1);
  expect(await thread.next<Outcome>()).toEqual({ value: undefined, cause: undefined } as Outcome);
  expect(queue.receiveAll()).toContain("one more");
});

test("one thread receives: another one's receive is BusyError until the first has let go, and loses nothing", async () => {
  const queue = keep(new WakeQueue<string>());
  queue.send("first");
  const thread = await start(keep, "queues", "receiveAndLetGo", { queue: queue.handle });
  expect(await thread.next<Outcome>()).toEqual({ value: ["first"] });
  queue.send("second");
  for (const receive of [
    () => queue.tryReceive(),
    () => queue.receiveAll(),
    () => queue.receiveSync({ timeout: 1000 }),
  ]) {
    const error = thrown(receive);
    expect(error).toBeInstanceOf(BusyError);
    expect(error.message).toContain(`thread ${thread.worker.threadId} `);
  }
  reach(thread.flags, BEGIN);
  expect(await thread.next()).toBe("let go");
  queue.send("third");
  expect(queue.receiveAll()).toEqual(["second", "third"]);
  await thread.join();
  expect(thrown(() => queue.receiveSync({ timeout: 5 }))).toBeInstanceOf(TimeoutError);
});
