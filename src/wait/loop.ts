/** How Bun's event loop learns that something in a selector is ready, without a thread of JavaScript that blocks. */

import { usePoll } from "../backend.ts";
import { LoopWatch, watchWorks } from "./loop-watch.ts";
import { LoopWorker } from "./loop-worker.ts";
import type { Selector } from "./readiness.ts";
import { EpollSelector } from "./selector-epoll.ts";

export interface Loop {
  /**
   * From now on, once, the loop calls back when something in the selector is ready. Armed already: what has changed in
   * the selector counts. Throws `SystemError` (`EMFILE`).
   */
  arm(): void;
  /** Whether the process waits for that. */
  keepAlive(on: boolean): void;
  /** Nobody polls what has left the selector any more: its descriptors can be closed. */
  settle(): void;
  /** Before the selector is closed. */
  close(): void;
}

const { CANCELFD_LOOP } = process.env;
if (CANCELFD_LOOP !== undefined && CANCELFD_LOOP !== "watch" && CANCELFD_LOOP !== "worker") {
  throw new Error(`CANCELFD_LOOP is "watch" or "worker", not "${CANCELFD_LOOP}"`);
}
if (CANCELFD_LOOP === "watch" && usePoll) {
  throw new Error('CANCELFD_LOOP=watch needs an epoll descriptor to watch; poll has none: use "worker"');
}

/**
 * The way that works here. Nobody promises that Bun closes a connection whose descriptor is no socket as soon as it is
 * readable, which is what the watch builds on: so it is tried once a thread, and if it fails a helper thread does it.
 */
export async function openLoop(selector: Selector, wake: () => void): Promise<Loop> {
  const watchable = selector instanceof EpollSelector && CANCELFD_LOOP !== "worker";
  if (watchable && (CANCELFD_LOOP === "watch" || (await watchWorks()))) return new LoopWatch(selector.fd, wake);
  return new LoopWorker(selector, wake);
}
