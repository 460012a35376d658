/** What an operation brings along: who can end it, and until when it waits. */
import type { CancelCore } from "../cancel/core.ts";
import type { SignalWatch } from "./signal-watch.ts";

const NEVER = Number.POSITIVE_INFINITY;

export interface Entry {
  readonly source: CancelCore | null;
  /** The round of `source` that it belongs to. */
  readonly round: number;
  /** The own source of the object that it works on. */
  readonly own: CancelCore | null;
  readonly ownRound: number;
  readonly signal: SignalWatch | null;
  /** A `monotonic()` time; the deadlines of sources apart. */
  readonly until: number;
}

/** That of an operation which nothing but a close ends. */
export const UNLIMITED: Entry = { source: null, round: 0, own: null, ownRound: 0, signal: null, until: NEVER };

/** The error of an operation that a source has ended; null: none has. Words only, no clock. */
export function cancelledBy({ source, round, own, ownRound }: Entry, operation: string): Error | null {
  return source?.error(round, operation) ?? own?.error(ownRound, operation) ?? null;
}

/** When a deadline may end it: its own, or a source's. */
export function nextDeadline({ source, own, until }: Entry): number {
  return Math.min(until, source === null ? NEVER : source.deadline, own === null ? NEVER : own.deadline);
}

/** Marks the sources whose deadlines have passed by `now`. */
export function expireSources({ source, own }: Entry, now: number): void {
  if (source !== null && source.deadline <= now) source.expire(now);
  if (own !== null && own.deadline <= now) own.expire(now);
}
