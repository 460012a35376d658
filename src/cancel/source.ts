import { monotonic } from "../../ffi/clock.ts";
import { ClosedError } from "../errors.ts";
import { printAs } from "../print.ts";
import { closedInTime, closeWhenDropped, type Dropped, keep, letGo } from "../shared/dropped.ts";
import { LONGEST_TIMER, toDeadline, type When } from "../when.ts";
import { coreOfSignal, isAbortSignal } from "./abort-signal.ts";
import { CancelCore } from "./core.ts";
import type { CancelHandle } from "./handle.ts";
import { CancelToken, sourceOf, tokenOf } from "./token.ts";

/** What a source can be cancelled by. */
export type Parent = CancelSource | CancelToken | AbortSignal;

let coreOfSource: (source: CancelSource) => CancelCore;
/** A child may make its parent's doorbell, behind the back of the object that has to close it. */
let guardParent: (source: CancelSource) => void;

/**
 * The power to cancel. Pass it as `cancel` to any number of operations, in any number of threads; `cancel()` stops
 * them all at once, and whatever uses the source later, until `reset()`.
 *
 * ```ts
 * const source = new CancelSource();
 * worker.postMessage(source.handle);       // there: socket.readSync(buffer, { cancel: CancelSource.from(handle) })
 * source.cancel("the user pressed a key"); // the read fails with CancelledError, and no byte is lost
 * ```
 *
 * Making one costs no file descriptor; taking its `handle` costs one, until every thread has disposed it.
 */
export class CancelSource implements Disposable {
  readonly #core: CancelCore;
  #disposed = false;
  #token: CancelToken | undefined;
  #reference: Reference | undefined;
  #onEnd: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** With a parent, it is cancelled with it, in whichever thread each lives, and never the other way round. */
  constructor(options?: { parent?: Parent | undefined }) {
    if (options instanceof CancelCore) {
      this.#core = options;
    } else {
      if (isAbortSignal(options) || options instanceof CancelSource || options instanceof CancelToken) {
        throw new TypeError("new CancelSource takes options: pass what is to cancel it as { parent }");
      }
      this.#core = descend(options?.parent === undefined ? [] : [options.parent], "parent");
    }
    // A child leans on its parents, and a source of another thread on its doorbell.
    if (this.#core.isShared || this.#core.line.length > 1) this.#guard(this.#core);
  }

  static {
    coreOfSource = (source) => source.#open();
    guardParent = (source) => source.#guard(source.#core);
    printAs(CancelSource, (source) => {
      const ending = source.#core.now();
      return {
        cancelled: ending !== null,
        timedOut: ending === "timed out" || undefined,
        disposed: source.#disposed || undefined,
      };
    });
  }

  /**
   * A source that cancels itself: its operations fail with `TimeoutError` once `when` has come. It needs no timer:
   * other threads, and blocking operations, look at the deadline themselves.
   */
  static timeout(when: When): CancelSource {
    return CancelSource.#of(CancelCore.create([], toDeadline(when, "when")));
  }

  /** A source that is cancelled as soon as one of these is. */
  static any(...sources: Parent[]): CancelSource {
    return CancelSource.#of(descend(sources, "each source"));
  }

  /**
   * The source that another thread sent. Throws `ClosedError` if every thread that held it has disposed it, and
   * `TypeError` for what is no handle.
   */
  static from(handle: CancelHandle): CancelSource {
    if (typeof handle !== "object" || handle === null) throw new TypeError("CancelSource.from takes a source's handle");
    return CancelSource.#of(CancelCore.from(handle));
  }

  static #of(core: CancelCore): CancelSource {
    return new CancelSource(core as object);
  }

  #open(): CancelCore {
    if (this.#disposed) throw new ClosedError("this CancelSource was disposed by this thread; make a new one");
    return this.#core;
  }

  /**
   * What to send to another thread with `postMessage`, any number of times. The first time costs an eventfd (and one
   * for each ancestor). Throws `ClosedError` once disposed, `SystemError` (`EMFILE`) if no descriptor is free.
   */
  get handle(): CancelHandle {
    const core = this.#open();
    const handle = core.share();
    this.#guard(core);
    if (core.endsByItself) this.#keepUntilEnded(core);
    return handle;
  }

  /** Should it be dropped without `dispose`, what it leans on is let go when it is collected. */
  #guard(core: CancelCore): void {
    if (this.#reference !== undefined) return;
    this.#reference = new Reference(core);
    closeWhenDropped(this, this.#reference);
  }

  /** A handle holds nothing, and what ends this source by itself lives in this thread: it is not collected before that. */
  #keepUntilEnded(core: CancelCore): void {
    if (this.#onEnd !== undefined) return;
    keep(this, "handle");
    this.#onEnd = () => this.#unkeep();
    for (const ancestor of core.line) ancestor.observe(this.#onEnd);
    this.#unkeepAtDeadline(core);
  }

  /** Once the core's line has timed out, if it does. Keeps no process alive. */
  #unkeepAtDeadline(core: CancelCore): void {
    const left = core.deadline - monotonic();
    if (left === Number.POSITIVE_INFINITY) return;
    if (left <= 0) this.#unkeep();
    else this.#timer = setTimeout(() => this.#unkeepAtDeadline(core), Math.min(left + 1, LONGEST_TIMER)).unref();
  }

  #unkeep(): void {
    letGo(this, "handle");
    clearTimeout(this.#timer);
    if (this.#onEnd === undefined) return;
    for (const ancestor of this.#core.line) ancestor.unobserve(this.#onEnd);
    this.#onEnd = undefined;
  }

  /** For code that may observe the cancellation and not cause it. */
  get token(): CancelToken {
    this.#token ??= tokenOf(this);
    return this.#token;
  }

  /**
   * Aborts when this source is cancelled, from whichever thread: for `fetch` and whatever else takes an AbortSignal. The
   * same object until `reset`, a new one after it. It keeps no process alive. Throws `ClosedError` once disposed.
   */
  get signal(): AbortSignal {
    return this.#open().signal(this);
  }

  /** True from the cancel on, whichever thread called it, until `reset`. */
  get cancelled(): boolean {
    return this.#core.now() !== null;
  }

  /**
   * What was given to `cancel`: the same object in the thread that called it, its string form in the others. Of a
   * source that timed out, a `TimeoutError`.
   */
  get reason(): unknown {
    this.#core.now();
    return this.#core.reason(this.#core.round);
  }

  /** Cancels. True for the call that did; false if it was cancelled already, or if this thread has disposed it. */
  cancel(reason?: unknown): boolean {
    return !this.#disposed && this.#core.cancel(reason);
  }

  /**
   * Arms it again. What was pending at the cancel is still cancelled. Clears the deadline of `CancelSource.timeout`.
   * Under a cancelled parent it stays cancelled. Throws `ClosedError` once disposed.
   */
  reset(): void {
    this.#open().reset();
  }

  /** Throws what an operation would fail with: `CancelledError` or `TimeoutError`. */
  throwIfCancelled(): void {
    this.#core.now();
    const error = this.#core.error(this.#core.round, "the operation");
    if (error !== null) throw error;
  }

  /** A source that is cancelled with this one, and can be cancelled without it. */
  child(): CancelSource {
    return new CancelSource({ parent: this });
  }

  /**
   * This thread lets go of it. Cancels nothing, here or elsewhere; the last thread to let go closes its eventfd. From
   * then on `cancel` returns false, and `handle`, and operations that are given it, throw `ClosedError`. Idempotent.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#unkeep();
    this.#core.follower?.unhold(this);
    if (this.#reference === undefined) this.#core.release();
    else this.#reference.drop();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A core that is cancelled when one of `parents` is. */
function descend(parents: readonly Parent[], name: string): CancelCore {
  const cores: CancelCore[] = [];
  try {
    for (const parent of parents) {
      cores.push(isAbortSignal(parent) ? coreOfSignal(parent) : toCore(parent, name).retain());
    }
    for (const parent of parents) if (!isAbortSignal(parent)) guardParent(toSource(parent));
    return CancelCore.create([...new Set(cores)]);
  } finally {
    for (const parent of cores) parent.release();
  }
}

/** What one `CancelSource` object has of its core: one of the references that keep it. */
class Reference implements Dropped {
  readonly kind = "CancelSource";
  readonly remedy = "dispose()";
  readonly #core: CancelCore;
  #dropped = false;

  constructor(core: CancelCore) {
    this.#core = core;
  }

  drop(): boolean {
    if (this.#dropped) return false;
    this.#dropped = true;
    closedInTime(this);
    return this.#core.release();
  }
}

function toSource(value: CancelSource | CancelToken): CancelSource {
  return value instanceof CancelToken ? sourceOf(value) : value;
}

/** The core behind what a user passed. Throws `TypeError` for anything else, `ClosedError` if it was disposed. */
export function toCore(value: CancelSource | CancelToken, name: string): CancelCore {
  if (value instanceof CancelToken) return coreOfSource(sourceOf(value));
  if (value instanceof CancelSource) return coreOfSource(value);
  throw new TypeError(
    `${name} is a CancelSource or a CancelToken${isAbortSignal(value) ? ", not an AbortSignal: make it the parent of a source, new CancelSource({ parent: signal })" : ""}`,
  );
}
