/** Many threads send, one receives by promises: every value comes once and in its sender's order, and nobody sleeps on. */
import { expect, test } from "bun:test";
import { CancelSource, ClosedError, WakeQueue } from "../../src/index.ts";
import { BEGIN, HAS_IT } from "../bodies/queues.ts";
import { reach } from "../gates.ts";
import { NONE } from "../leaks.ts";
import { Sequences } from "../sequences.ts";
import { keeper } from "../setup.ts";
import { type Thread, until } from "../thread.ts";
import { start, Victim } from "../victim.ts";
import { changesAfterDeath, changesAtRest, restingTable } from "./settled.ts";

const keep = keeper();
const LONG = process.env.CANCELFD_LONG === "1";
const COUNT = LONG ? 1_000_000 : 100_000;
/** No measurement: who is not woken waits for ever. */
const WATCHDOG = LONG ? 600_000 : 110_000;

async function producers(queue: WakeQueue<number>, body: string, count?: number, threads = 2): Promise<Thread[]> {
  const [module, name] = body.split(".") as [string, string];
  const all = await Promise.all(
    Array.from({ length: threads }, (_, sender) => start(keep, module, name, { queue: queue.handle, sender, count })),
  );
  for (const thread of all) await until("a producer to have the queue", () => Atomics.load(thread.flags, HAS_IT) === 1);
  for (const thread of all) reach(thread.flags, BEGIN);
  return all;
}

/** Closes the queue if it takes far too long: who waits then ends, and the count is wrong. */
function watchdog(queue: WakeQueue<number>): Disposable {
  const timer = setTimeout(() => queue.close(), WATCHDOG);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

const random = (state: number) => () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};

const turn = () => new Promise((resolve) => setImmediate(resolve));

type Consume = (queue: WakeQueue<number>, ledger: Sequences, total: number) => Promise<void>;
const ways: [string, number, Consume][] = [
  [
    "receive",
    COUNT,
    async (queue, ledger, total) => {
      while (ledger.total < total) ledger.check(await queue.receive());
    },
  ],
  [
    "for await",
    COUNT,
    async (queue, ledger, total) => {
      for await (const value of queue) {
        ledger.check(value);
        if (ledger.total === total) queue.close();
      }
    },
  ],
  [
    "for await loops that are left and begun again",
    COUNT / 5,
    async (queue, ledger, total) => {
      while (ledger.total < total) {
        let left = 1 + (ledger.total % 50);
        for await (const value of queue) {
          ledger.check(value);
          if (--left === 0 || ledger.total === total) break;
        }
      }
    },
  ],
  [
    "several receives at once, which are cancelled, aborted or run out of time at random",
    COUNT / 2,
    async (queue, ledger, total) => {
      const next = random(7);
      using source = new CancelSource();
      while (ledger.total < total) {
        const controller = new AbortController();
        const { signal } = controller;
        const all = Array.from({ length: 1 + Math.floor(next() * 6) }, async () => {
          const timeout = next() < 0.1 ? next() * 2 : undefined;
          try {
            ledger.check(await queue.receive(next() < 0.5 ? { cancel: source, timeout } : { signal, timeout }));
          } catch (error) {
            if (!["AbortError", "TimeoutError"].includes((error as Error).name)) throw error;
          }
        });
        for (let turns = Math.floor(next() * 3); turns > 0; turns--) await turn();
        if (next() < 0.5) controller.abort();
        source.cancel();
        source.reset();
        controller.abort();
        await Promise.all(all);
      }
    },
  ],
];

for (const [name, count, consume] of ways) {
  for (const capacity of [1 << 20, 1024]) {
    // A sleep and a wake-up for every few values costs a hundred times as much.
    const each = capacity === 1 << 20 ? count : Math.ceil(count / 10);
    test(
      `${each} values from each of 2 threads through ${capacity} bytes, by ${name}`,
      async () => {
        const before = await restingTable();
        const queue = keep(new WakeQueue<number>({ capacity }));
        using _ = watchdog(queue);
        const threads = await producers(queue, "queues.send", each);
        const ledger = new Sequences();
        await consume(queue, ledger, 2 * each);
        expect(ledger.next).toEqual([each, each]);
        for (const thread of threads) await thread.join();
        queue.dispose();
        expect(await changesAtRest(before)).toEqual(NONE);
      },
      WATCHDOG + 10_000,
    );
  }
}

test("where there is no eventfd, a receiver is woken by a pipe", async () => {
  const count = COUNT / 20;
  const receiver = await start(keep, "queue-promises", "receiveByPipe", 2 * count);
  const queue = keep(WakeQueue.from<number>(await receiver.next()));
  const threads = await producers(queue, "queues.send", count);
  const ledger = new Sequences();
  for (const value of await receiver.next<number[]>()) ledger.check(value);
  expect(ledger.next).toEqual([count, count]);
  for (const thread of [...threads, receiver]) await thread.join();
});

test(
  "values that are sent and received by promises, through room for a few",
  async () => {
    const queue = keep(new WakeQueue<number>({ capacity: 128 }));
    using _ = watchdog(queue);
    const count = COUNT / 20;
    const threads = await producers(queue, "queue-promises.sendAsync", count);
    const ledger = new Sequences();
    while (ledger.total < 2 * count) ledger.check(await queue.receive());
    for (const thread of threads) await thread.join();
    expect(ledger.next).toEqual([count, count]);
  },
  WATCHDOG + 10_000,
);

test("close under senders by promise: what was accepted is received, and nothing more", async () => {
  for (let round = 0; round < 3; round++) {
    const queue = keep(new WakeQueue<number>({ capacity: 512 }));
    const threads = await producers(queue, "queue-promises.sendManyUntilClosed", undefined, 3);
    const ledger = new Sequences();
    for await (const value of queue) {
      ledger.check(value);
      if (ledger.total === 500) queue.close();
    }
    for (const [sender, thread] of threads.entries()) {
      expect([sender, ledger.next[sender] ?? 0]).toEqual([sender, await thread.next<number>()]);
      await thread.join();
    }
  }
});

for (const kind of ["web", "node"] as const) {
  test(`a producer that is terminated (${kind}): what it sent comes without a gap, and the others go on`, async () => {
    const before = await restingTable();
    const queue = keep(new WakeQueue<number>({ capacity: 1024 }));
    const victims = [0, 1].map(
      (sender) => new Victim(kind, "queue-promises", "sendAsync", { queue: queue.handle, sender }),
    );
    for (const victim of victims) reach(victim.flags, BEGIN);
    const ledger = new Sequences();
    let ended: Promise<void> | undefined;
    let has = 0;
    for await (const value of queue) {
      ledger.check(value);
      if (ended === undefined && (ledger.next[0] ?? 0) > 300 && (ledger.next[1] ?? 0) > 300) {
        ended = victims[0]!.terminate().then(() => {
          has = ledger.next[1]!;
        });
      }
      // Long after its end, when all that it left behind has been received.
      if (has > 0 && ledger.next[1]! > has + 300) break;
    }
    await ended;
    await victims[1]!.terminate();
    for (const value of queue.receiveAll()) ledger.check(value);
    queue.send(2 * 2 ** 32);
    ledger.check(await queue.receive());
    queue.dispose();
    expect(await changesAfterDeath(before, victims.length)).toEqual(NONE);
  });
}

test("the receives of a thread that has a receiver beside it are refused, until that one is terminated with its receive pending", async () => {
  const queue = keep(new WakeQueue<unknown>());
  const victim = new Victim("node", "queue-promises", "receiveOnce", { queue: queue.handle });
  expect(await victim.hears(1)).toBe("pending");
  const busy = await queue.receive().catch((error) => error);
  expect(busy).toMatchObject({ name: "BusyError", code: "ERR_SOCKET_BUSY" });
  expect(busy).not.toBeInstanceOf(ClosedError);
  await victim.terminate();
  const pending = queue.receive();
  queue.send("for whoever is left");
  expect(await pending).toBe("for whoever is left");
});
