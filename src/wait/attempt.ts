/**
 * The rule of every operation, once: check at entry, try the syscall, and only if it would block, wait and try again.
 *
 * Who wins. At entry: closed, `signal`, `cancel`, the socket's own source, the deadline, and then the syscall. After a
 * wake: the cancel words, then the syscall, and the deadline only if that would block again. A syscall that succeeded
 * wins: nothing is ever read and then reported as cancelled.
 */
import { monotonic } from "../../ffi/clock.ts";
import { isAbortSignal } from "../cancel/abort-signal.ts";
import type { CancelCore } from "../cancel/core.ts";
import { CancelSource, toCore } from "../cancel/source.ts";
import { CancelToken } from "../cancel/token.ts";
import { BusyError, CancelledError, type ClosedError, TimeoutError } from "../errors.ts";
import { checkBoolean, checkKeys } from "../options.ts";
import { toDeadline, type When } from "../when.ts";
import { cancelledBy, type Entry, expireSources, nextDeadline, UNLIMITED } from "./entry.ts";
import type { Park } from "./park.ts";
import { type Queue, STEPS } from "./queue.ts";
import { watchOfSignal } from "./signal-watch.ts";
import { outcomeOf, type Task } from "./task.ts";

const NEVER = Number.POSITIVE_INFINITY;

/** Options of the operations that block their thread (`…Sync`). */
export interface WaitOptions {
  /** Cancelling it, from any thread, stops the operation with `CancelledError`. */
  cancel?: CancelSource | CancelToken | undefined;
  /** Milliseconds, or a `Date`; then `TimeoutError`. Default: never. The object's own deadline counts as well: the earlier one wins. */
  timeout?: When;
  /**
   * Let a signal (Ctrl-C) end the wait with `SystemError` `EINTR`; nothing has happened then. JavaScript signal handlers
   * run only once the thread is back in its event loop, so a main thread that blocks and handles SIGINT needs this.
   */
  interruptible?: boolean | undefined;
}

/** Options of the operations that return a promise. */
export interface OperationOptions {
  /** Cancelling it, from any thread, stops the operation with `CancelledError`. */
  cancel?: CancelSource | CancelToken | undefined;
  /** Milliseconds, or a `Date`; then `TimeoutError`. Default: never. The object's own deadline counts as well: the earlier one wins. */
  timeout?: When;
  /** When it aborts, the operation is rejected with its `reason`, the very object. */
  signal?: AbortSignal | undefined;
}

/** What an operation works on: what can end it, and until when it waits. */
export interface Target {
  /** The error for a use after close (or after the end of the direction that `interest` means), or null. */
  closedError(interest: number): ClosedError | null;
  /** The object's own source, if anybody has asked for it. */
  readonly ownSource: CancelCore | null;
}

/** A target that a thread can block on: a descriptor with its park. */
export interface BlockingTarget extends Target {
  readonly park: Park;
  /** Whether a promise operation of that direction waits in this thread. */
  isBusy(interest: number): boolean;
  /** The `monotonic()` time at which the step wants to run again even if nothing is ready; Infinity: never. */
  readonly wakeAt: number;
  /** Until then readiness is of no use (descriptors have run out, say): do not even listen to it. */
  readonly deaf: boolean;
}

/** A target that promises can wait on. */
export interface PromiseTarget extends Target {
  queueOf(interest: number): Queue;
}

/** The checks at entry, in their order. Throws what the operation fails with. */
export function admit(
  operation: string,
  target: Target,
  interest: number,
  deadline: number,
  options: WaitOptions | OperationOptions | undefined,
  checkOptions: (options: object) => void,
): Entry {
  let source: CancelCore | null = null;
  let signal: AbortSignal | undefined;
  let until = deadline;
  if (options !== undefined) {
    checkOptions(options);
    // All of them before the source is looked at: a getter may dispose it.
    const { cancel, timeout } = options;
    signal = (options as OperationOptions).signal;
    until = Math.min(until, toDeadline(timeout, "timeout"));
    if (cancel !== undefined) source = toCore(cancel, "cancel");
  }
  const closed = target.closedError(interest);
  if (closed !== null) throw closed;
  if (signal?.aborted) throw signal.reason;
  const own = target.ownSource;
  const round = source === null ? 0 : enter(source, operation);
  const ownRound = own === null ? 0 : enter(own, operation);
  if (until !== NEVER && monotonic() >= until) throw new TimeoutError(operation);
  if (source === null && own === null && signal === undefined && until === NEVER) return UNLIMITED;
  return { source, round, own, ownRound, signal: signal === undefined ? null : watchOfSignal(signal), until };
}

/** The round that an operation belongs to. Throws if it is over before it began. */
function enter(source: CancelCore, operation: string): number {
  const { round } = source;
  if (source.now(round) === null) return round;
  throw source.error(round, operation) ?? new CancelledError(operation);
}

function check(entry: Entry, operation: string): void {
  const error = cancelledBy(entry, operation);
  if (error !== null) throw error;
}

/**
 * Does the task until it has a result, and blocks this thread meanwhile. `deadline` is the `monotonic()` time of the
 * object's own deadline.
 */
export function attemptSync<T extends BlockingTarget, A, R, V>(
  task: Task<T, A, R, V>,
  target: T,
  argument: A,
  deadline: number,
  options: WaitOptions | undefined,
): V {
  const { name, interest } = task;
  try {
    const entry = admit(name, target, interest, deadline, options, checkWaitOptions);
    if (target.isBusy(interest)) throw new BusyError(name);
    for (;;) {
      const result = task.step(target, argument);
      if (result !== null && result !== undefined) return outcomeOf(task, result);
      if (result === null) {
        if (nextDeadline(entry) !== NEVER) expire(entry, name, monotonic());
        const { park } = target;
        // A doorbell that was only just put up may have missed the ring, so the states have the last word.
        const news = park.arm(target.deaf ? 0 : interest, entry.source, entry.own);
        if (news && cancelledBy(entry, name) !== null) park.disarm();
        else park.sleep(Math.min(nextDeadline(entry), target.wakeAt), options?.interruptible === true);
      }
      check(entry, name);
    }
  } catch (error) {
    task.failed?.(error, argument);
    throw error;
  }
}

function expire(entry: Entry, operation: string, now: number): void {
  expireSources(entry, now);
  check(entry, operation);
  if (entry.until <= now) throw new TimeoutError(operation);
}

/**
 * Does the task at once if it can be done at once and nobody waits before it, and else waits in the queue of its
 * direction. Never throws; `holder` is not collected meanwhile.
 */
export function attempt<T extends PromiseTarget, A, R, V>(
  task: Task<T, A, R, V>,
  target: T,
  argument: A,
  holder: object,
  options: OperationOptions | undefined,
): Promise<V> {
  const { name, interest } = task;
  try {
    const entry = admit(name, target, interest, NEVER, options, checkOperationOptions);
    const queue = target.queueOf(interest);
    if (queue.deadline !== NEVER && monotonic() >= queue.deadline) throw new TimeoutError(name);
    let blocked = false;
    if (queue.takeTry()) {
      for (let steps = 0; steps < STEPS && !blocked; steps++) {
        const result = task.step(target, argument);
        if (result === null) blocked = true;
        else if (result !== undefined) return Promise.resolve(outcomeOf(task, result));
        check(entry, name);
      }
    }
    return queue.add(task, target, argument, holder, entry, blocked);
  } catch (error) {
    // A reason is not ours to change. (Nor is what is no options to be asked for a signal: a source makes one then.)
    if (!(error instanceof TypeError) && error !== reasonIn(options)) task.failed?.(error, argument);
    return Promise.reject(error);
  }
}

/** A misspelt `timeout` would wait for ever, and so would a signal in the place of the options. `more` is a further key. */
export function checkShape(options: object, known: string, more?: string): void {
  if (typeof options !== "object" || options === null) throw new TypeError(`options is an object: { ${known} }`);
  if (isAbortSignal(options)) throw new TypeError("pass an AbortSignal as { signal }, and not as the options");
  if (options instanceof CancelSource || options instanceof CancelToken) {
    throw new TypeError("pass a CancelSource or a CancelToken as { cancel }, and not as the options");
  }
  // Not Object.keys: this is the way of every operation, and an array a call would be garbage.
  for (const key in options) {
    if (key !== "cancel" && key !== "timeout" && key !== "signal" && key !== "interruptible" && key !== more) {
      checkKeys("this operation", options, known.split(", "));
    }
  }
}

/** Of the signal in the options; a getter of the user's may throw. */
function reasonIn(options: OperationOptions | undefined): unknown {
  try {
    return options?.signal?.reason;
  } catch {
    return undefined;
  }
}

/** `more` is a further key, and then `known` names it, too. */
export function checkWaitOptions(options: WaitOptions, known = "cancel, timeout, interruptible", more?: string): void {
  checkShape(options, known, more);
  if ((options as { signal?: unknown }).signal !== undefined) {
    throw new TypeError(
      "an AbortSignal cannot stop a …Sync operation: it fires in this thread, which is blocked until the operation ends. " +
        "Pass a CancelSource as `cancel`, and cancel it from another thread, or a `timeout`",
    );
  }
  checkBoolean(options.interruptible, "interruptible");
}

export function checkOperationOptions(options: OperationOptions): void {
  checkShape(options, "cancel, timeout, signal");
  const { signal } = options;
  if (signal !== undefined && !isAbortSignal(signal)) {
    throw new TypeError("signal is an AbortSignal; a CancelSource or a CancelToken goes into `cancel`");
  }
}
