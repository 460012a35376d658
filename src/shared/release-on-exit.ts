/** What a thread that was terminated could not give back. */
import { Shared } from "./holds.ts";
import { knownLedgers } from "./ledger.ts";

/** A Worker of either kind: the web one, or that of node:worker_threads. */
interface AnyWorker {
  /** Not in every declaration of the web one. */
  readonly threadId?: number;
  addEventListener?(type: "close", listener: () => void): unknown;
  once?(event: "exit", listener: () => void): unknown;
}

/**
 * When `worker` has ended, by itself or terminated, this thread gives back what it still held and closes the sockets
 * and listeners it owned, and those of the Workers that it had started: their clients see an end, their ports are free.
 * Without it they stay open until the process ends. Call it right after `new Worker`.
 *
 * Throws `TypeError` for what is no running Worker.
 *
 * ```ts
 * const worker = new Worker(new URL("./server.ts", import.meta.url));
 * releaseOnExit(worker);
 * ```
 */
export function releaseOnExit(worker: AnyWorker): void {
  const thread = worker?.threadId;
  if (typeof thread !== "number") throw new TypeError("releaseOnExit takes a Worker");
  if (thread <= 0) throw new TypeError("this Worker has ended already; call releaseOnExit right after `new Worker`");
  // node:worker_threads' Worker has both, and its own event is the later one.
  if (typeof worker.once === "function") worker.once("exit", () => release(thread));
  else worker.addEventListener?.("close", () => release(thread));
}

/** Gives back everything of a thread that has ended. */
function release(thread: number): void {
  const ended = new Set(knownLedgers().flatMap((book) => [...book.family(thread)]));
  for (const book of knownLedgers()) {
    for (const address of book.shared()) {
      const shared = Shared.at(address);
      for (const one of ended) {
        if (shared.slotOf(one) !== -1) shared.kind?.mend(shared, one);
        shared.release(one);
      }
    }
  }
  for (const book of knownLedgers()) {
    const tickets = book.closeOwned(ended);
    // A source that was on its way with a detached socket.
    for (const address of tickets.length === 0 ? [] : book.shared()) {
      for (const ticket of tickets) Shared.at(address).releaseFor(ticket);
    }
  }
}
