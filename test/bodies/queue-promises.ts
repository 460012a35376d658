/** Threads that send to a queue, or receive from it, by promises. */
import { libc } from "../../ffi/libc.ts";
import { constants } from "../../ffi/platform/index.ts";
import { type CancelHandle, CancelSource, ClosedError, type QueueHandle, WakeQueue } from "../../src/index.ts";
import { coreOfQueue } from "../../src/queue/wake-queue.ts";
import { failWith } from "../faults.ts";
import { passed, reach, spin } from "../gates.ts";
import type { Context } from "../thread.ts";
import { BEGIN, HAS_IT, type Outcome, type Part } from "./queues.ts";

async function outcome(operation: () => Promise<unknown>): Promise<Outcome> {
  try {
    return { value: await operation() };
  } catch (error) {
    const { name, cause } = error as Error;
    return { name, cause };
  }
}

/** Sends `sender * 2^32 + i`, each once the one before is in; without a count until it is terminated. */
export async function sendAsync({ flags }: Context, { queue: handle, sender = 0, count }: Part): Promise<void> {
  using queue = WakeQueue.from<number>(handle);
  reach(flags, HAS_IT);
  passed(flags, BEGIN);
  for (let i = 0; i !== count; i++) await queue.sendAsync(sender * 2 ** 32 + i);
}

/** Receives until the queue is closed, each value with a while of work; says what came. */
export async function receiveSlowly({ flags, say }: Context, { queue: handle }: Part): Promise<void> {
  using queue = WakeQueue.from<number>(handle);
  const received: number[] = [];
  reach(flags, HAS_IT);
  for await (const value of queue) {
    received.push(value);
    spin(10_000);
  }
  say(received);
}

/** Has one promise pending, once it says "pending"; and then what came of it. */
async function pendOnce(
  { say }: Context,
  { queue: handle, cancel }: { queue: QueueHandle; cancel?: CancelHandle },
  operate: (queue: WakeQueue, cancel: CancelSource | undefined) => Promise<unknown>,
): Promise<void> {
  const source = cancel === undefined ? undefined : CancelSource.from(cancel);
  let queue: WakeQueue | null = WakeQueue.from(handle);
  const pending = outcome(() => operate(queue!, source));
  queue = null;
  // Nobody has the object now but what is pending on it.
  for (let time = 0; time < 3; time++) {
    await new Promise((resolve) => setImmediate(resolve));
    Bun.gc(true);
  }
  say("pending");
  say(await pending);
  source?.dispose();
}

export function receiveOnce(context: Context, part: Part): Promise<void> {
  return pendOnce(context, part, (queue, cancel) => queue.receive({ cancel }));
}

export function sendOnce(context: Context, part: Part): Promise<void> {
  return pendOnce(context, part, (queue, cancel) => queue.sendAsync("one more", { cancel }));
}

/** Lets go of the queue with a send pending; says for how much room it has asked before and after, and what came of it. */
export async function sendAndLetGo({ flags, say }: Context, { queue: handle }: Part): Promise<void> {
  const queue = WakeQueue.from(handle);
  const pending = outcome(() => queue.sendAsync("one more"));
  const ring = coreOfQueue(queue).rings.own()!;
  const asked = [ring.needed];
  queue.dispose();
  asked.push(ring.needed);
  say([...asked, (await pending).name]);
  passed(flags, BEGIN);
}

/** Sends until the queue is closed, many at once; says how many were accepted. */
export async function sendManyUntilClosed({ flags, say }: Context, { queue: handle, sender = 0 }: Part): Promise<void> {
  using queue = WakeQueue.from<number>(handle);
  reach(flags, HAS_IT);
  passed(flags, BEGIN);
  let accepted = 0;
  for (let next = 0, open = true; open; next += 10) {
    const sends = Array.from({ length: 10 }, (_, i) => queue.sendAsync(sender * 2 ** 32 + next + i));
    for (const { status, reason } of (await Promise.allSettled(sends)) as PromiseRejectedResult[]) {
      if (status !== ("rejected" as string)) accepted++;
      else if (reason instanceof ClosedError) open = false;
      else throw reason;
    }
  }
  say(accepted);
}

/** Makes a queue whose doorbell is a pipe, and receives so many values; says the handle, and then the values. */
export async function receiveByPipe({ say }: Context, count: number): Promise<void> {
  const { eventfd } = libc;
  libc.eventfd = () => failWith(constants.EPERM); // in this thread
  using queue = new WakeQueue<number>({ capacity: 4096 });
  libc.eventfd = eventfd; // the event loop has a use of its own for it
  say(queue.handle);
  const received: number[] = [];
  while (received.length < count / 2) received.push(await queue.receive());
  for await (const value of queue) if (received.push(value) === count) break;
  say(received);
}
