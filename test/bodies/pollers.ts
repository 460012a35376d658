/** Threads that wait in a poller, or wake the one that does. */
import {
  type CancelHandle,
  CancelSource,
  ClosedError,
  type ListenerHandle,
  Poller,
  type PollerHandle,
  type QueueHandle,
  TcpListener,
  TcpSocket,
  WakeQueue,
} from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import type { Context } from "../thread.ts";

export const GO = 1;
export const ROUND = 2;

export interface WaitJob {
  queue: QueueHandle;
  listener: ListenerHandle;
  cancel: CancelHandle;
  timeout?: number;
}

/** Waits once, and says what is ready by its kind, or what the wait failed with; then whether it works on. */
export function waitOnce({ aboutToBlock, say }: Context, job: WaitJob): void {
  using queue = WakeQueue.from(job.queue);
  using listener = TcpListener.from(job.listener);
  using cancel = CancelSource.from(job.cancel);
  using poller = new Poller();
  poller.add(queue, { readable: true });
  poller.add(listener, { readable: true });
  say(poller.handle);
  aboutToBlock();
  try {
    const events = poller.wait({ cancel, timeout: job.timeout });
    say(events.map(({ source, ended }) => (source === queue ? "queue" : "listener") + (ended ? " ended" : "")));
  } catch (error) {
    say((error as Error).name);
  }
  poller.notify();
  say(poller.wait());
}

/** Notifies once a round, as soon as the round has begun. */
export function notifyEachRound(
  { flags }: Context,
  { poller, rounds }: { poller: PollerHandle; rounds: number },
): void {
  using copy = Poller.from(poller);
  for (let round = 1; round <= rounds; round++) {
    passed(flags, ROUND, round);
    copy.notify();
  }
}

/** What a thread with a copy may do, and what becomes of it when the poller is closed. */
export function useCopy({ flags, say }: Context, handle: PollerHandle): void {
  using copy = Poller.from(handle);
  const names: string[] = [];
  for (const call of [() => copy.wait(), () => copy.add(0, {}), () => copy.notify()]) names.push(nameOf(call));
  say(names);
  passed(flags, GO);
  say([nameOf(() => copy.notify()), nameOf(() => Poller.from(handle).close())]);
}

function nameOf(call: () => unknown): string {
  try {
    call();
    return "";
  } catch (error) {
    return (error as Error).name;
  }
}

/** An echo server in one thread: connections, data and orders in one wait. Says how many bytes it sent back. */
export function serve({ say }: Context, job: { listener: ListenerHandle; orders: QueueHandle }): void {
  using listener = TcpListener.from(job.listener);
  using orders = WakeQueue.from<string>(job.orders);
  using poller = new Poller();
  poller.add(listener, { readable: true });
  poller.add(orders, { readable: true });
  const buffer = new Uint8Array(1024);
  let echoed = 0;
  for (;;) {
    for (const { source } of poller.wait()) {
      if (source === orders) {
        const order = next(orders);
        if (order === undefined) return;
        say(order === "how many" ? echoed : order);
      } else if (source === listener) {
        poller.add(listener.acceptSync(), { readable: true });
      } else if (source instanceof TcpSocket) {
        const count = source.tryRead(buffer);
        if (count === 0) source.close();
        else if (count !== null) echoed += source.writeSync(buffer.subarray(0, count));
      }
    }
  }
}

/** Undefined: that was the last one. */
function next(orders: WakeQueue<string>): string | undefined {
  try {
    return orders.receiveSync();
  } catch (error) {
    if (!(error instanceof ClosedError)) throw error;
    return undefined;
  }
}

/** Sends so many numbers. */
export function sendNumbers({ flags }: Context, { queue: handle, count }: { queue: QueueHandle; count: number }): void {
  using queue = WakeQueue.from<number>(handle);
  reach(flags, GO);
  for (let i = 0; i < count; i++) queue.sendSync(i);
}
