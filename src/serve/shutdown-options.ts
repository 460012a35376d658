/** How long a server has to come to its end, and what it is told then. */
import { checkDuration, checkKeys } from "../options.ts";
import { toDeadline, type When } from "../when.ts";

/** Milliseconds that connections have to come to an end. */
const GRACE = 10_000;

/** The reasons that handlers are cancelled for. */
export const SHUTTING_DOWN = "the server is shutting down";
export const CLOSED = "the server was closed";

export interface ShutdownOptions {
  /** When what is still active is ended with a reset: milliseconds, or a `Date`; 0: at once; `null`: never. Default 10,000. */
  grace?: When;
  /**
   * Milliseconds that the listener's queue has to stay empty before it is closed. Default: twice the longest round trip of
   * the clients so far, at least 50; see `listener.stopAccepting`.
   */
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
