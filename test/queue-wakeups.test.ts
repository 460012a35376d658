/** The instants at which a wake-up of a queue could be lost: something happens there, and the sleeper sees it. */
import { expect, test } from "bun:test";
import { constants } from "../ffi/platform/index.ts";
import { CancelSource, ClosedError, Poller, WakeQueue } from "../src/index.ts";
import { GO_ON, HELD } from "./bodies/dying.ts";
import type { Instant } from "./bodies/queues.ts";
import { failWith, faults } from "./faults.ts";
import { reach } from "./gates.ts";
import { callsDuring } from "./hooks.ts";
import { keeper } from "./setup.ts";
import { type Thread, thrown, until } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const replace = faults();

const instants: Instant[] = ["before it drains", "after it drained", "before it sleeps"];
const instantsOf = {
  receiveSync: instants,
  "a poller": ["before it looks", "after it looked", "before it sleeps"] satisfies Instant[],
};

const held = (thread: Thread) => until("it to be held up", () => Atomics.load(thread.flags, HELD) === 1);

for (const waiting of ["receiveSync", "a poller"] as const) {
  for (const instant of instantsOf[waiting]) {
    test(`a value that comes ${instant} is received by ${waiting}, on its first wait and on the next`, async () => {
      const queue = keep(new WakeQueue<string>());
      const job = { queue: queue.handle, instant, poller: waiting === "a poller", times: 2 };
      const thread = await start(keep, "queues", "receiveHeldUp", job);
      for (let time = 0; time < 2; time++) {
        await held(thread);
        Atomics.store(thread.flags, HELD, 0);
        queue.send(`value ${time}`);
        reach(thread.flags, GO_ON);
        expect(await thread.next()).toBe(`value ${time}`);
      }
      await thread.join();
    });

    test(`a close that comes ${instant} ends ${waiting}`, async () => {
      const queue = keep(new WakeQueue<string>());
      const job = { queue: queue.handle, instant, poller: waiting === "a poller", times: 1 };
      const thread = await start(keep, "queues", "receiveHeldUp", job);
      await held(thread);
      queue.close();
      reach(thread.flags, GO_ON);
      expect(await thread.next()).toBe("ClosedError");
      await thread.join();
    });
  }
}

for (const instant of instants) {
  test(`room that comes ${instant} is taken by a sender that waits for it, on its first wait and on the next`, async () => {
    const queue = keep(new WakeQueue<number>({ capacity: 32 }));
    const thread = await start(keep, "queues", "sendHeldUp", { queue: queue.handle, instant, times: 2 });
    for (let time = 0; time < 2; time++) {
      await held(thread);
      Atomics.store(thread.flags, HELD, 0);
      expect(queue.receiveAll().length).toBe(2);
      reach(thread.flags, GO_ON);
      expect(await thread.next()).toBe("sent");
    }
    await thread.join();
  });
}

test("a woken receiver whose value was there before the doorbell was heard takes it once, and sleeps again", async () => {
  const queue = keep(new WakeQueue<string>());
  const job = { queue: queue.handle, instant: "after it slept", times: 2 };
  const thread = await start(keep, "queues", "receiveHeldUp", job);
  await thread.blocked();
  queue.send("first");
  await held(thread);
  queue.send("second"); // rings nobody: the first has woken it
  reach(thread.flags, GO_ON);
  expect([await thread.next(), await thread.next()]).toEqual(["first", "second"]);
  await thread.join();
});

test("pokes are coalesced: of many values for one that sleeps only the first rings, and none for one that does not", () => {
  const queue = keep(new WakeQueue<number>());
  const rings = (run: () => void) => callsDuring(run).made.filter((name) => name === "write").length;
  expect(rings(() => queue.send(0))).toBe(0);
  expect(queue.receiveSync()).toBe(0);
  expect(thrown(() => queue.receiveSync({ timeout: 1 })).name).toBe("TimeoutError"); // it was about to sleep
  expect(
    rings(() => {
      for (let i = 0; i < 1000; i++) queue.send(i);
    }),
  ).toBe(1);
  expect(queue.receiveAll().length).toBe(1000);
});

test("a doorbell that can take no more has been rung: send and notify succeed, and the sleeper wakes once", () => {
  const queue = keep(new WakeQueue<number>());
  const poller = keep(new Poller());
  thrown(() => queue.receiveSync({ timeout: 1 }));
  replace("write", () => () => failWith(constants.EAGAIN));
  queue.send(1);
  poller.notify();
  queue.close();
  expect(queue.receiveSync({ timeout: 1000 })).toBe(1);
  expect(thrown(() => queue.receiveSync())).toBeInstanceOf(ClosedError);
});

test("a ring and a drain that a signal interrupts are done all the same", () => {
  const queue = keep(new WakeQueue<number>());
  thrown(() => queue.receiveSync({ timeout: 1 }));
  let interruptions = 2;
  replace(
    "write",
    (real) =>
      (...parameters) =>
        interruptions-- > 0 ? failWith(constants.EINTR) : real(...parameters),
  );
  queue.send(1);
  expect(interruptions).toBe(-1);
  expect(queue.receiveSync()).toBe(1);
});

test("a sender that waits with no descriptor left says so, and nothing was sent", () => {
  const queue = keep(new WakeQueue<number>({ capacity: 32 }));
  while (queue.trySend(1));
  for (const call of ["eventfd", "pipe2"] as const) replace(call, () => () => failWith(constants.EMFILE));
  expect(thrown(() => queue.sendSync(2, { timeout: 1000 }))).toMatchObject({ code: "EMFILE" });
  expect(thrown(() => new WakeQueue())).toMatchObject({ code: "EMFILE" });
  expect(thrown(() => new Poller())).toMatchObject({ code: "EMFILE" });
  expect(queue.receiveAll()).toEqual([1, 1]);
  queue.sendSync(3); // there is room: it needs none
  expect(queue.receiveAll()).toEqual([3]);
});

test("a receiver that was cancelled, and a sender too, leave nothing behind that keeps others from working", () => {
  const queue = keep(new WakeQueue<number>({ capacity: 32 }));
  const source = keep(new CancelSource());
  for (let round = 0; round < 100; round++) {
    expect(thrown(() => queue.receiveSync({ timeout: 0.01 })).name).toBe("TimeoutError");
    while (queue.trySend(round));
    expect(thrown(() => queue.sendSync(0, { timeout: 0.01 })).name).toBe("TimeoutError");
    source.cancel();
    expect(thrown(() => queue.receiveSync({ cancel: source })).name).toBe("AbortError");
    source.reset();
    expect(queue.receiveAll()).toEqual([round, round]);
  }
});
