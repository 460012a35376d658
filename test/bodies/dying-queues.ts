/** Threads that are terminated while they have to do with a queue or a poller. */
import { ClosedError, Poller, type PollerHandle, type QueueHandle, WakeQueue } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import type { Context } from "../thread.ts";
import { BEGIN, DONE, heldUp, holder, PREPARED, standStill } from "./dying.ts";

export const deeds = [
  "takes a queue",
  "makes and shares a queue",
  "sends its first value",
  "sends a later value",
  "sends a value around the end of its ring",
  "sends to a full queue",
  "receives",
  "receives all",
  "closes the queue",
  "lets go of the queue",
  "takes a poller",
  "notifies",
] as const;
export type Deed = (typeof deeds)[number];

export interface QueueJob {
  deed: Deed;
  step: number;
  queue: QueueHandle;
  poller: PollerHandle;
}

/** Of bytes 7, as long as is told. */
export const LONG = 150;

function prepare(deed: Deed, { queue: handle, poller }: QueueJob): () => unknown {
  if (deed === "takes a queue") return () => WakeQueue.from(handle);
  if (deed === "makes and shares a queue") return () => new WakeQueue().handle;
  if (deed === "takes a poller") return () => Poller.from(poller);
  if (deed === "notifies") {
    const copy = Poller.from(poller);
    return () => copy.notify();
  }
  const queue = WakeQueue.from<unknown>(handle);
  switch (deed) {
    case "sends its first value":
      return () => queue.send("its value");
    case "sends a later value":
      queue.send("its first value");
      return () => queue.send("its value");
    case "sends a value around the end of its ring":
      queue.send(new Uint8Array(LONG)); // the test takes it out before the deed begins
      return () => queue.send(new Uint8Array(LONG).fill(7));
    case "sends to a full queue":
      return () => {
        try {
          queue.sendSync("its value", { timeout: 1 });
        } catch {
          // It was full all the time.
        }
      };
    case "receives":
      return () => queue.tryReceive();
    case "receives all":
      return () => queue.receiveAll();
    case "closes the queue":
      return () => queue.close();
    default:
      return () => queue.dispose();
  }
}

export function stepAndStop({ flags }: Context, job: QueueJob): void {
  standStill(flags, job.step, () => prepare(job.deed, job));
}

/** Stands still in the middle of a copy: before part number `part` (from 0) of an entry goes into the ring. */
export function copyAndStop({ flags }: Context, { queue: handle, part }: { queue: QueueHandle; part: number }): void {
  const hold = holder(flags);
  const queue = WakeQueue.from<unknown>(handle);
  queue.send(new Uint8Array(LONG));
  reach(flags, PREPARED);
  passed(flags, BEGIN);
  const { set } = Uint8Array.prototype;
  let parts = 0;
  Uint8Array.prototype.set = function (...parameters) {
    if (parts++ === part) {
      set.call(this, new Uint8Array(this.length - (parameters[1] ?? 0)).fill(9), parameters[1]); // half written, and wrong
      hold();
    }
    set.apply(this, parameters);
  };
  queue.send(new Uint8Array(LONG).fill(7));
  Uint8Array.prototype.set = set;
  reach(flags, DONE);
  hold();
}

/** Receives all that it sees, held up before access number `step`; says what it was, and then what came later. */
export function receiveInSteps({ flags, say }: Context, { queue: handle, step }: QueueJob): void {
  using queue = WakeQueue.from<string>(handle);
  const hold = holder(flags);
  queue.receiveAll();
  reach(flags, PREPARED);
  passed(flags, BEGIN);
  const received: string[] = [];
  heldUp(step, hold, () => {
    for (let value: string | undefined; (value = queue.tryReceive()) !== undefined; ) received.push(value);
  });
  reach(flags, DONE);
  say(received);
}

/** Sends a value, held up before access number `step`; says whether it was accepted. */
export function sendInSteps(
  { flags, say }: Context,
  { queue: handle, step, first }: QueueJob & { first: boolean },
): void {
  using queue = WakeQueue.from<string>(handle);
  const hold = holder(flags);
  if (!first) queue.send("earlier");
  reach(flags, PREPARED);
  passed(flags, BEGIN);
  let accepted = true;
  heldUp(step, hold, () => {
    try {
      queue.send("its value");
    } catch (error) {
      if (!(error instanceof ClosedError)) throw error;
      accepted = false;
    }
  });
  reach(flags, DONE);
  say(accepted);
}

/** Sends whenever it is told to. */
export function sendWhenTold({ flags, say }: Context, { queue: handle }: QueueJob): void {
  using queue = WakeQueue.from<string>(handle);
  queue.send("earlier");
  reach(flags, PREPARED);
  for (let turn = 1; ; turn++) {
    passed(flags, BEGIN, turn);
    if (Atomics.load(flags, DONE) === 1) return;
    queue.send("second");
    say("sent");
  }
}

export function closeIt(_: Context, handle: QueueHandle): void {
  using queue = WakeQueue.from(handle);
  queue.close();
}
