/** Chooses how a `Poller` waits. */
import { usePoll } from "../backend.ts";
import type { ReadySet } from "./ready-set.ts";
import { EpollReadySet } from "./ready-set-epoll.ts";
import { PollReadySet } from "./ready-set-poll.ts";

/** Throws `SystemError` (`EMFILE`) where it takes a descriptor. */
export function openReadySet(): ReadySet {
  return usePoll ? new PollReadySet() : new EpollReadySet();
}
