/** Two threads at one queue, one of them held up at each instant in turn while the other does all of its part. */
import { expect, test } from "bun:test";
import { ClosedError, WakeQueue } from "../src/index.ts";
import { BEGIN, DONE, GO_ON, HELD, PREPARED } from "./bodies/dying.ts";
import { reach } from "./gates.ts";
import { keeper } from "./setup.ts";
import { type Thread, thrown, until } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const gate = (thread: Thread, number: number) =>
  until(`gate ${number}`, () => Atomics.load(thread.flags, number) === 1);
/** Resolves once it is held up, or has come to the end without. */
const heldOrDone = (thread: Thread) =>
  until("it to be held up", () => Atomics.load(thread.flags, HELD) === 1 || Atomics.load(thread.flags, DONE) === 1);

test("a receiver sees a value that was sent first before one that another thread sent next, at whatever instant they come", async () => {
  for (let step = 0, more = true; more; step++) {
    const queue = keep(new WakeQueue<string>());
    queue.send("earlier"); // the first place in a scan: what comes here when the scan has passed it is not seen by it
    const receiver = await start(keep, "dying-queues", "receiveInSteps", { queue: queue.handle, step });
    await gate(receiver, PREPARED);
    const other = await start(keep, "dying-queues", "sendWhenTold", { queue: queue.handle });
    await gate(other, PREPARED);
    reach(receiver.flags, BEGIN);
    await heldOrDone(receiver);
    more = Atomics.load(receiver.flags, DONE) === 0;
    queue.send("first");
    reach(other.flags, BEGIN);
    expect(await other.next()).toBe("sent");
    reach(receiver.flags, GO_ON);
    const received = await receiver.next<string[]>();
    await receiver.join();
    received.push(...queue.receiveAll()); // what it had not seen, it has left
    expect([step, received.filter((value) => value !== "earlier")]).toEqual([step, ["first", "second"]]);
    reach(other.flags, DONE);
    reach(other.flags, BEGIN, 2);
    await other.join();
    queue.dispose();
  }
});

for (const [first, closer] of [
  [true, "the receiver"],
  [false, "the receiver"],
  [true, "another thread"],
  [false, "another thread"],
] as const) {
  const which = first ? "the first" : "a later one";
  test(`${closer} closes at any instant of a send (${which}): it was accepted and is received, or ClosedError and is not`, async () => {
    for (let step = 0, more = true; more; step++) {
      const queue = keep(new WakeQueue<string>());
      const sender = await start(keep, "dying-queues", "sendInSteps", { queue: queue.handle, step, first });
      await gate(sender, PREPARED);
      queue.receiveAll();
      reach(sender.flags, BEGIN);
      await heldOrDone(sender);
      more = Atomics.load(sender.flags, DONE) === 0;
      if (closer === "the receiver") queue.close();
      else await (await start(keep, "dying-queues", "closeIt", queue.handle)).join();
      const received: string[] = [];
      const end = thrown(() => {
        for (;;) received.push(...queue.receiveAll());
      });
      expect(end).toBeInstanceOf(ClosedError);
      reach(sender.flags, GO_ON);
      expect([step, received]).toEqual([step, (await sender.next<boolean>()) ? ["its value"] : []]);
      await sender.join();
    }
  });
}
