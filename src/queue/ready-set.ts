/** The descriptors of a `Poller`, level-triggered. Two implementations; open-ready-set.ts chooses. */
import { constants } from "../../ffi/platform/index.ts";
import type { ParkSelector } from "../wait/park.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";

/** What a descriptor turned out to be, as bits; the first two as an interest has them. */
export const ENDED = 4;
export const FAILED = 8;
/** Its number is no open descriptor. */
export const INVALID = 16;

/** The token of all doorbells. */
export const DOORBELL = 0;

/**
 * A selector in which sources stand beside the doorbells that a `Park` puts there. Each has a token (1 or more), never
 * used twice, so that what comes late of a descriptor that is gone is nobody's.
 */
export interface ReadySet extends ParkSelector {
  /** A wait finds so many at most, from now on; what an earlier one has found is forgotten. */
  begin(maxEvents: number): void;
  /** Registers a source, or changes what is awaited of it, or takes it out: from or to 0 is not to be in the set. */
  change(fd: number, token: number, from: number, to: number): void;
  /** How many are ready: what the wait before has found, or else what a look finds now, so many at most. */
  look(maxEvents: number): number;
  /** The token of the `index`th; DOORBELL, or a source's. */
  tokenAt(index: number): number;
  /** Its bits. */
  readyAt(index: number): number;
  /** An event came of what is in the set no more, and would come for ever: build the set anew of what belongs there. */
  rebuild(members: Iterable<{ readonly fd: number; readonly token: number; readonly interest: number }>): void;
}

const { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLRDHUP } = constants;

/** The bits of a poll(2) event; epoll's are the same numbers. HUP and ERR are news for readers and for writers. */
export function toReady(events: number): number {
  return (
    (events & (POLLIN | POLLRDHUP | POLLHUP | POLLERR | POLLNVAL) ? READABLE : 0) |
    (events & (POLLOUT | POLLHUP | POLLERR | POLLNVAL) ? WRITABLE : 0) |
    (events & (POLLRDHUP | POLLHUP | POLLNVAL) ? ENDED : 0) |
    (events & (POLLERR | POLLNVAL) ? FAILED : 0) |
    (events & POLLNVAL ? INVALID : 0)
  );
}

/** What to ask poll(2), or epoll, for. */
export function toEvents(interest: number): number {
  return (interest & READABLE ? POLLIN | POLLRDHUP : 0) | (interest & WRITABLE ? POLLOUT : 0);
}
