/** Promises at one queue in several threads: room, closes and cancels that come from elsewhere. */
import { expect, test } from "bun:test";
import { CancelSource, ClosedError, WakeQueue } from "../../src/index.ts";
import { coreOfQueue } from "../../src/queue/wake-queue.ts";
import { BEGIN, HAS_IT, type Outcome } from "../bodies/queues.ts";
import { reach } from "../gates.ts";
import { NONE } from "../leaks.ts";
import { keeper } from "../setup.ts";
import { type Thread, until } from "../thread.ts";
import { start, Victim } from "../victim.ts";
import { rejection } from "./outcome.ts";
import { changesAfterDeath, isPending, restingTable } from "./settled.ts";

const keep = keeper();
const COUNT = process.env.CANCELFD_LONG === "1" ? 100_000 : 5000;

/** A thread that receives slowly, until the queue is closed. */
async function consumer(queue: WakeQueue<number>): Promise<Thread> {
  const thread = await start(keep, "queue-promises", "receiveSlowly", { queue: queue.handle });
  await until("the consumer to have the queue", () => Atomics.load(thread.flags, HAS_IT) === 1);
  return thread;
}

function full(): WakeQueue<unknown> {
  const queue = keep(new WakeQueue<unknown>({ capacity: 32 }));
  queue.send("one more"); // and another one has room only after it
  return queue;
}

test("sendAsync goes no faster than a slow consumer in another thread makes room, and all arrives in order", async () => {
  const queue = keep(new WakeQueue<number>({ capacity: 64 }));
  const thread = await consumer(queue);
  for (let i = 0; i < COUNT; i++) await queue.sendAsync(i);
  const behind = Array.from({ length: 100 }, (_, i) => queue.sendAsync(COUNT + i));
  await Promise.all(behind);
  expect(coreOfQueue(queue).rings.own()!.needed).toBe(0);
  queue.close();
  expect(await thread.next()).toEqual(Array.from({ length: COUNT + 100 }, (_, i) => i));
  await thread.join();
});

test("of sends that are cancelled at any time, those arrive that were fulfilled, and none else", async () => {
  const queue = keep(new WakeQueue<number>({ capacity: 64 }));
  const thread = await consumer(queue);
  const source = keep(new CancelSource());
  const accepted: number[] = [];
  let refused = 0;
  for (let i = 0; i < COUNT; i += 5) {
    const sends = [0, 1, 2, 3, 4].map((offset) =>
      queue.sendAsync(i + offset, offset % 2 ? { cancel: source } : { cancel: source, timeout: 0.5 }).then(
        () => accepted.push(i + offset),
        ({ name }: Error) => {
          if (name !== "AbortError" && name !== "TimeoutError") throw new Error(name);
          refused++;
        },
      ),
    );
    if (i % 2) await isPending(Promise.all(sends));
    else if (i % 3) await new Promise((resolve) => setImmediate(resolve));
    source.cancel();
    source.reset();
    await Promise.all(sends);
  }
  await queue.sendAsync(-1);
  queue.close();
  expect(await thread.next()).toEqual([...accepted, -1]);
  expect(refused).toBeGreaterThan(0);
});

for (const [what, make] of [
  ["receiveOnce", () => keep(new WakeQueue<unknown>())],
  ["sendOnce", full],
] as const) {
  test(`${what}: a promise that is pending in another thread is ended by a close and by a cancel of this one`, async () => {
    const source = keep(new CancelSource());
    for (const deed of ["close", "cancel"] as const) {
      const queue = make();
      const thread = await start(keep, "queue-promises", what, { queue: queue.handle, cancel: source.handle });
      expect(await thread.next()).toBe("pending");
      if (deed === "close") queue.close();
      else source.cancel("why");
      const { name, cause } = await thread.next<Outcome>();
      expect([name, cause]).toEqual(deed === "close" ? ["ClosedError", undefined] : ["AbortError", "why"]);
      await thread.join();
      source.reset();
      if (deed === "close") continue;
      const values = [];
      for (let value: unknown; (value = queue.tryReceive()) !== undefined; ) values.push(value);
      expect(values).toEqual(what === "sendOnce" ? ["one more"] : []);
    }
  });
}

test("a pending promise keeps its queue from being collected: a value, and room, end it though nobody has the object", async () => {
  const empty = keep(new WakeQueue<unknown>());
  const receiver = await start(keep, "queue-promises", "receiveOnce", { queue: empty.handle });
  expect(await receiver.next()).toBe("pending");
  empty.send("a value");
  expect((await receiver.next<Outcome>()).value).toBe("a value");
  const queue = full();
  const sender = await start(keep, "queue-promises", "sendOnce", { queue: queue.handle });
  expect(await sender.next()).toBe("pending");
  expect(queue.tryReceive()).toBe("one more");
  expect((await sender.next<Outcome>()).name).toBeUndefined();
  expect(queue.tryReceive()).toBe("one more");
});

test("a thread that lets go with a send pending asks for no room any more", async () => {
  const queue = full();
  const thread = await start(keep, "queue-promises", "sendAndLetGo", { queue: queue.handle });
  expect(await thread.next()).toEqual([32, 0, "ClosedError"]);
  reach(thread.flags, BEGIN);
  await thread.join();
  expect(queue.receiveAll()).toEqual(["one more"]);
});

test("a close by another thread ends what is pending here: a receive, and a sendAsync, with all behind them", async () => {
  const queue = keep(new WakeQueue<unknown>());
  const receives = [queue.receive(), queue.receive()].map((one) => rejection(one));
  const crammed = full();
  const sends = [crammed.sendAsync("late"), crammed.sendAsync("later")].map((one) => rejection(one));
  for (const one of [queue, crammed]) await (await start(keep, "dying-queues", "closeIt", one.handle)).join();
  for (const error of await Promise.all([...receives, ...sends])) expect(error).toBeInstanceOf(ClosedError);
  expect(crammed.receiveAll()).toEqual(["one more"]);
  expect(queue.closed).toBe(true);
});

for (const what of ["receiveOnce", "sendOnce"] as const) {
  test(`a thread that is terminated with its promise pending (${what}) leaves nothing, and holds up nobody`, async () => {
    const before = await restingTable();
    const queue = what === "sendOnce" ? full() : keep(new WakeQueue<unknown>());
    const victim = new Victim("web", "queue-promises", what, { queue: queue.handle });
    expect(await victim.hears(1)).toBe("pending");
    await victim.terminate();
    expect(queue.receiveAll()).toEqual(what === "sendOnce" ? ["one more"] : []);
    await queue.sendAsync("after");
    expect(await queue.receive()).toBe("after");
    queue.dispose();
    expect(await changesAfterDeath(before)).toEqual(NONE);
  });
}
