/** Threads that send to a queue, or receive from it. */
import { type CancelHandle, CancelSource, ClosedError, Poller, type QueueHandle, WakeQueue } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { around, aroundWaits } from "../hooks.ts";
import type { Context } from "../thread.ts";
import { GO_ON, holder } from "./dying.ts";

export interface Part {
  queue: QueueHandle;
  cancel?: CancelHandle;
  /** The sender's number, and how many values it sends. */
  sender?: number;
  count?: number;
  timeout?: number;
}

export interface Outcome {
  value?: unknown;
  name?: string;
  cause?: unknown;
}

function outcome(operation: () => unknown): Outcome {
  try {
    return { value: operation() };
  } catch (error) {
    const { name, cause } = error as Error;
    return { name, cause };
  }
}

/** Gates: it has the queue; it may begin. */
export const HAS_IT = 1;
export const BEGIN = 2;

/** Sends `sender * 2^32 + i`, waiting for room. */
export function send({ flags }: Context, { queue: handle, sender = 0, count = 0 }: Part): void {
  using queue = WakeQueue.from<number>(handle);
  reach(flags, HAS_IT);
  passed(flags, BEGIN);
  for (let i = 0; i < count; i++) queue.sendSync(sender * 2 ** 32 + i);
}

/** Sends until the queue is closed; says how many were accepted. */
export function sendUntilClosed({ flags, say }: Context, { queue: handle, sender = 0 }: Part): void {
  using queue = WakeQueue.from<number>(handle);
  reach(flags, HAS_IT);
  passed(flags, BEGIN);
  let accepted = 0;
  try {
    for (; ; accepted++) queue.sendSync(sender * 2 ** 32 + accepted);
  } catch (error) {
    if (!(error instanceof ClosedError)) throw error;
  }
  say(accepted);
}

/** One wait for a value, or for room, whose outcome it says; then once more without a wait. */
export function receiveOnce({ aboutToBlock, say }: Context, { queue: handle, cancel, timeout }: Part): void {
  using queue = WakeQueue.from(handle);
  using source = cancel === undefined ? undefined : CancelSource.from(cancel);
  aboutToBlock();
  say(outcome(() => queue.receiveSync({ cancel: source, timeout })));
  say(outcome(() => queue.tryReceive()));
}

export function sendOnce({ aboutToBlock, say }: Context, { queue: handle, cancel, timeout }: Part): void {
  using queue = WakeQueue.from(handle);
  using source = cancel === undefined ? undefined : CancelSource.from(cancel);
  aboutToBlock();
  say(outcome(() => queue.sendSync("one more", { cancel: source, timeout })));
  say(outcome(() => queue.trySend("another")));
}

/** The gates of a conversation: each thread's turn. */
export const TURN = 8;

/** Sends its number whenever it is its turn: each send begins after the one before has returned, in whichever thread. */
export function sendInTurn(
  { flags }: Context,
  { queue: handle, sender = 0, count = 0 }: Part,
  turns?: Int32Array,
): void {
  using queue = WakeQueue.from<number>(handle);
  const shared = turns ?? flags;
  for (let turn = sender; turn < count; turn += 4) {
    passed(shared, TURN, turn);
    queue.sendSync(turn);
    reach(shared, TURN, turn + 1);
  }
}

export function sendInTurnOf(context: Context, part: Part & { turns: Int32Array }): void {
  sendInTurn(context, part, part.turns);
}

/** Holds a copy, receives what is there, and lets go when told to: the role of the receiver goes with it. */
export function receiveAndLetGo({ flags, say }: Context, { queue: handle }: Part): void {
  const queue = WakeQueue.from(handle);
  say(outcome(() => queue.receiveAll()));
  passed(flags, BEGIN);
  queue.dispose();
  say("let go");
}

/** Where a wait can be held up: at the calls that it makes. Only a poller looks, and it drains only what was rung. */
export type Instant =
  | "before it looks"
  | "after it looked"
  | "before it drains"
  | "after it drained"
  | "before it sleeps"
  | "after it slept";

export interface HeldUpJob {
  queue: QueueHandle;
  instant: Instant;
  poller?: boolean;
  times: number;
}

/** Runs `run` as often as is told, each time held up at the instant, once; says what came of it. */
function eachHeldUp(
  { flags, say, aboutToBlock }: Context,
  { instant, times, poller }: HeldUpJob,
  run: () => unknown,
): void {
  for (let time = 0; time < times; time++) {
    const hold = holder(flags);
    let left = instant === "after it slept" && time > 0 ? 0 : 1;
    const at = (when: Instant) => {
      if (when === instant && left-- > 0) {
        hold();
        Atomics.store(flags, GO_ON, 0);
      }
    };
    let looks = poller ? 1 : 0;
    using _drain = around(
      ["read"],
      () => at("before it drains"),
      () => at("after it drained"),
    );
    using _sleep = aroundWaits(
      () => at(looks > 0 ? "before it looks" : "before it sleeps"),
      () => at(looks-- > 0 ? "after it looked" : "after it slept"),
    );
    aboutToBlock();
    const { value, name } = outcome(run);
    say(value ?? name);
  }
}

export function receiveHeldUp(context: Context, job: HeldUpJob): void {
  using queue = WakeQueue.from(job.queue);
  using poller = new Poller();
  if (!job.poller) {
    eachHeldUp(context, job, () => queue.receiveSync());
    return;
  }
  poller.add(queue, { readable: true });
  eachHeldUp(context, job, () => {
    if (poller.wait()[0]?.source !== queue) throw new Error("woken for nothing");
    return queue.tryReceive();
  });
}

/** Fills the queue, and sends once more. */
export function sendHeldUp(context: Context, job: HeldUpJob): void {
  using queue = WakeQueue.from<number>(job.queue);
  eachHeldUp(context, job, () => {
    while (queue.trySend(1));
    queue.sendSync(2);
    while (queue.trySend(3));
    return "sent";
  });
}
