/** How long a server has to come to its end. */
import { checkDuration, checkKeys } from "../options.ts";
import type { Timed } from "../wait/deadline-heap.ts";
import { toDeadline, type When } from "../when.ts";

/** Milliseconds that connections have to come to an end. */
const GRACE = 10_000;

export interface ShutdownOptions {
  /** When what is still active is ended with a reset: milliseconds, or a `Date`; 0: at once; `null`: never. Default 10,000. */
  grace?: When;
  /** See `stopAccepting`. */
  settle?: number | undefined;
}

/** `until` is a `monotonic()` time. Throws `TypeError`, `RangeError`. */
export function readShutdown(options: ShutdownOptions): { until: number; settle: number | undefined } {
  checkKeys("shutdown", options, ["grace", "settle"]);
  const { grace = GRACE, settle } = options;
  const until = toDeadline(grace, "grace");
  if (settle !== undefined) checkDuration(settle, "settle");
  return { until, settle };
}

/** Rings once, when the time of grace is over. */
export class GraceTimer implements Timed {
  dueAt = Number.POSITIVE_INFINITY;
  place = -1;
  readonly due: () => void;

  constructor(due: () => void) {
    this.due = due;
  }
}
