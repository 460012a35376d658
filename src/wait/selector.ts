/** A selector, of the kind that this process has. */
import { usePoll } from "../backend.ts";
import { isShortage } from "../errors.ts";
import type { Selector } from "./readiness.ts";
import { EpollSelector } from "./selector-epoll.ts";
import { PollSelector } from "./selector-poll.ts";

/**
 * A new selector. When descriptors run out, one that needs none: a blocking wait of a healthy socket works all the
 * same, at poll(2)'s price. `isFallback` tells.
 */
export function openSelector(): Selector {
  if (usePoll) return new PollSelector();
  try {
    return new EpollSelector();
  } catch (error) {
    if (isShortage(error)) return new PollSelector();
    throw error;
  }
}

/** Whether a selector only stands in for one that there was no descriptor for. */
export function isFallback(selector: object): boolean {
  return !usePoll && selector instanceof PollSelector;
}
