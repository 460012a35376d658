/** Every error that a user of the library can meet. */
import { constants } from "../ffi/platform/index.ts";
import { SystemError } from "../ffi/system-error.ts";

export { SystemError, type SystemErrorDetails } from "../ffi/system-error.ts";

/** What an error of a write carries beside its class. */
interface WriteProgress {
  /** Of a failed write: the bytes that the kernel had taken before. They will reach the peer; the rest will not. */
  bytesWritten?: number;
}

function describe(reason: unknown): string {
  if (reason === undefined) return "";
  const text = reason instanceof Error ? reason.message : typeof reason === "string" ? reason : "";
  return text === "" ? "" : `: ${text}`;
}

/**
 * A `CancelSource`, or `cancel()` of the object itself, stopped the operation. It did not happen: the bytes, or the
 * connection, are still in the kernel for the next call. `cause` is the reason given to `cancel`.
 */
export class CancelledError extends Error implements WriteProgress {
  override readonly name = "AbortError";
  readonly code = "ABORT_ERR";
  declare bytesWritten?: number;

  constructor(operation: string, reason?: unknown) {
    super(`${operation} was cancelled${describe(reason)}`, reason === undefined ? undefined : { cause: reason });
  }
}

/** A `timeout`, a deadline or a `CancelSource.timeout` passed before the operation could be done. It did not happen. */
export class TimeoutError extends Error implements WriteProgress {
  override readonly name = "TimeoutError";
  readonly code = "ERR_TIMEOUT";
  /** True in every error that is about time, whoever made it. */
  readonly timeout = true;
  declare bytesWritten?: number;

  constructor(operation: string) {
    super(`${operation} timed out; allow more time, or, of a deadline, set it anew: an expired one stays expired`);
  }
}

/** The object was closed (or disposed, or ended in that direction) on this side, before or during the operation. */
export class ClosedError extends Error implements WriteProgress {
  override readonly name = "ClosedError";
  readonly code = "ERR_SOCKET_CLOSED";
  declare bytesWritten?: number;
}

/**
 * A `…Sync` operation while a promise operation of the same direction waits on this object in this thread: it would
 * overtake that one, or wait for ever, as promises settle only once the thread is back in its event loop. Or another
 * thread receives from this `WakeQueue`.
 */
export class BusyError extends Error implements WriteProgress {
  override readonly name = "BusyError";
  readonly code = "ERR_SOCKET_BUSY";
  declare bytesWritten?: number;

  constructor(operation: string, why = "a promise operation of this direction is pending; await or cancel it first") {
    super(`${operation}: ${why}`);
  }
}

/** Whether a call failed because no descriptor is free, in this process or on this machine. */
export function isShortage(error: unknown): boolean {
  return error instanceof SystemError && (error.errno === -constants.EMFILE || error.errno === -constants.ENFILE);
}

/** The values on their way through a `WakeQueue` leave no room for this one. `sendSync` waits for room. */
export class QueueFullError extends Error {
  override readonly name = "QueueFullError";
  readonly code = "ERR_QUEUE_FULL";
}
