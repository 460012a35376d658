/** A queue survives a thread that is terminated at any instant: nothing blocks, nothing is half there, nobody sleeps on. */
import { expect, test } from "bun:test";
import { close } from "../ffi/index.ts";
import { ClosedError, Poller, WakeQueue } from "../src/index.ts";
import { coreOfQueue } from "../src/queue/wake-queue.ts";
import { BEGIN, DONE, HELD, PREPARED } from "./bodies/dying.ts";
import { type Deed, deeds, LONG, type QueueJob } from "./bodies/dying-queues.ts";
import type { Outcome } from "./bodies/queues.ts";
import { reach } from "./gates.ts";
import { changesSince, IF_LIKELY, NONE, quietTable } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { type Thread, thrown, until } from "./thread.ts";
import { start, Victim } from "./victim.ts";

const keep = keeper();
const pipes = process.env.CANCELFD_BACKEND === "poll";
/** Instants at which a new doorbell, or selector, is nobody's: made by the kernel, and not yet recorded. Each leaves it open. */
const UNRECORDED = 6;
const CAPACITY = 256;

const at = (victim: Victim, gate: number) => until(`gate ${gate}`, () => Atomics.load(victim.flags, gate) === 1);
const used = (queue: WakeQueue) => coreOfQueue(queue).rings.used;

/** What one of them received of these, in order, is right if it is all of them, with or without the victim's. */
function check(received: unknown[], before: unknown[], after: unknown[], its: (value: unknown) => boolean): string[] {
  const rest = [...received];
  for (const value of before) if (rest[0] === value) rest.shift();
  if (rest.length > after.length && its(rest[0])) rest.shift();
  return Bun.deepEquals(rest, after) ? [] : [`received ${JSON.stringify(received)}`];
}

function isIts(value: unknown): boolean {
  if (value === "its value") return true;
  return value instanceof Uint8Array && value.length === LONG && value.every((byte) => byte === 7);
}

async function dieAt(deed: Deed, step: number): Promise<{ held: boolean; wrong: string[] }> {
  const queue = keep(new WakeQueue<unknown>({ capacity: CAPACITY }));
  const poller = keep(new Poller());
  const victim = new Victim("node", "dying-queues", "stepAndStop", {
    deed,
    step,
    queue: queue.handle,
    poller: poller.handle,
  } satisfies QueueJob);
  await at(victim, PREPARED);
  const receives = deed.startsWith("receives");
  const full = deed === "sends to a full queue";
  if (!receives) queue.receiveAll();
  const before: unknown[] = ["before"];
  queue.send("before");
  while (full && queue.trySend(before.length)) before.push(before.length);
  for (const value of receives ? [1, 2] : []) {
    before.push(value);
    queue.send(value);
  }
  reach(victim.flags, BEGIN);
  await at(victim, HELD);
  const held = Atomics.load(victim.flags, DONE) === 0;

  // While it stands there: whoever else sends and receives is not held up.
  const wrong: string[] = [];
  const closes = deed === "closes the queue";
  if (!receives && !queue.closed) {
    const received = full ? queue.receiveAll() : [];
    queue.send("while it stands");
    received.push(...queue.receiveAll());
    wrong.push(...check(received, before, ["while it stands"], isIts));
  } else if (closes) {
    wrong.push(...check(queue.receiveAll(), before, [], isIts));
  }
  await victim.terminate();

  if (closes && queue.closed) {
    if (!(thrown(() => queue.send("after")) instanceof ClosedError)) wrong.push("closed, and not closed");
  } else {
    queue.send("after");
    // A receiver that died took what it took: nothing comes twice but what it had not finished with.
    const received = queue.receiveAll();
    const left = receives ? before.slice(before.length + 1 - received.length) : [];
    wrong.push(...check(received, left, ["after"], isIts));
    if (receives && deed === "receives" && received.length < 3) wrong.push(`it lost ${JSON.stringify(received)}`);
    queue.sendSync("once more", { timeout: 1000 });
    if (queue.receiveSync({ timeout: 1000 }) !== "once more") wrong.push("not once more");
  }
  poller.notify();
  if (poller.wait({ timeout: 1000 }).length !== 0) wrong.push("the poller has an event");
  queue.dispose();
  poller.close();
  return { held, wrong: wrong.map((what) => `before access ${step}: ${what}`) };
}

for (const deed of deeds) {
  test(`a thread ${deed}, and is terminated before any one of its accesses to what threads share: nothing is lost, blocked or left`, async () => {
    const wrong: string[] = [];
    let unrecorded = 0;
    for (let step = 0, more = true; more; step++) {
      const before = await quietTable();
      const result = await dieAt(deed, step);
      more = result.held;
      wrong.push(...result.wrong);
      const { opened, closed } = await changesSince(before, IF_LIKELY);
      for (const fd of Object.keys(opened)) close(Number(fd));
      if (Object.keys(closed).length > 0) wrong.push(`before access ${step}: closed ${JSON.stringify(closed)}`);
      if (Object.keys(opened).length === 0) continue;
      unrecorded++;
      if (Object.keys(opened).length > (pipes ? 2 : 1))
        wrong.push(`before access ${step}: left ${JSON.stringify(opened)}`);
    }
    expect(wrong).toEqual([]);
    expect(unrecorded).toBeLessThanOrEqual(UNRECORDED);
  });
}

for (const part of [0, 1]) {
  test(`a sender that is terminated in the middle of copying part ${part + 1} of a value into the ring: it never was there, and blocks nobody`, async () => {
    const before = await quietTable();
    const queue = new WakeQueue<unknown>({ capacity: CAPACITY });
    const victim = new Victim("node", "dying-queues", "copyAndStop", { queue: queue.handle, part });
    await at(victim, PREPARED);
    expect(queue.receiveAll()).toEqual([new Uint8Array(LONG)]);
    reach(victim.flags, BEGIN);
    await at(victim, HELD);
    expect(Atomics.load(victim.flags, DONE)).toBe(0);
    for (const when of ["while it stands", "after its end"]) {
      queue.send(when);
      expect(queue.receiveAll()).toEqual([when]);
      if (when === "while it stands") await victim.terminate();
    }
    // The next thread in its place goes on where the last whole value ended.
    const next = await start(keep, "queues", "sendOnce", { queue: queue.handle });
    await next.join();
    expect(queue.receiveAll()).toEqual(["one more", "another"]);
    queue.dispose();
    expect(await changesSince(before)).toEqual(NONE);
  });
}

/** Lets a thread die at each access of a deed while another sleeps; `expects` says what has to come of that one. */
async function atEachStep(
  deed: Deed,
  sleeper: "receiveOnce" | "sendOnce",
  expects: (queue: WakeQueue<unknown>, thread: Thread, step: number) => Promise<void>,
): Promise<void> {
  for (let step = 0, more = true; more; step++) {
    const queue = keep(new WakeQueue<unknown>({ capacity: 64 }));
    const poller = keep(new Poller());
    const handles = { queue: queue.handle, poller: poller.handle };
    const victim = new Victim("node", "dying-queues", "stepAndStop", { deed, step, ...handles });
    await at(victim, PREPARED);
    while (sleeper === "sendOnce" && queue.trySend("full")); // "one more" takes 32 bytes, as this does
    const thread = await start(keep, "queues", sleeper, { queue: queue.handle });
    await thread.blocked();
    reach(victim.flags, BEGIN);
    await at(victim, HELD);
    more = Atomics.load(victim.flags, DONE) === 0;
    await victim.terminate();
    await expects(queue, thread, step);
    await thread.join();
    queue.dispose();
    poller.close();
  }
}

test("a sender dies at any instant: if its value was in, the receiver that sleeps is woken for it, and else by the next", async () => {
  await atEachStep("sends its first value", "receiveOnce", async (queue, thread) => {
    // If it is in, nobody else need send anything; if it is not (or is received already), somebody does.
    const isIn = used(queue) > 0;
    if (!isIn) queue.send("the next");
    const { value } = await thread.next<Outcome>();
    if (isIn) expect(value).toBe("its value");
    else expect(["its value", "the next"]).toContain(value as string);
  });
});

test("a thread dies at any instant of a close: if the queue is closed, the receiver that sleeps is woken, and else not closed", async () => {
  await atEachStep("closes the queue", "receiveOnce", async (queue, thread) => {
    if (!queue.closed) queue.send("not closed");
    const { value, name } = await thread.next<Outcome>();
    expect(["not closed", "ClosedError"]).toContain(value === undefined ? name! : `${value}`);
  });
});

test("a thread dies at any instant of a close: a sender that waits for room is woken, if the queue is closed", async () => {
  await atEachStep("closes the queue", "sendOnce", async (queue, thread) => {
    if (queue.closed) expect(await thread.next<Outcome>()).toMatchObject({ name: "ClosedError" });
    else {
      queue.receiveAll();
      expect((await thread.next<Outcome>()).name).toBeUndefined();
    }
  });
});

test("the receiver dies at any instant: if it had made room, the sender that waits for it is woken, and else by the next receiver", async () => {
  await atEachStep("receives", "sendOnce", async (queue, thread, step) => {
    if (used(queue) > 32) queue.receiveAll();
    expect([step, (await thread.next<Outcome>()).name]).toEqual([step, undefined]);
  });
});
