/** Values from many threads to one, and the wake-up that comes with them. */
import { ClosedError, QueueFullError } from "../errors.ts";
import { checkCount, checkKeys } from "../options.ts";
import { printAs } from "../print.ts";
import { closedInTime, closeWhenDropped, keep, letGo } from "../shared/dropped.ts";
import { END, Iteration } from "../socket/iteration.ts";
import { attempt, attemptSync, type OperationOptions, type WaitOptions } from "../wait/attempt.ts";
import { copyOut } from "./entry.ts";
import { Copy } from "./queue-copy.ts";
import { QueueCore } from "./queue-core.ts";
import type { QueueHandle } from "./queue-memory.ts";
import { entrySize } from "./ring.ts";
import { RECEIVE, Receiving, refused, SEND, Sending, toEntry, unwrap } from "./sides.ts";

const NEVER = Number.POSITIVE_INFINITY;
const MEBIBYTE = 2 ** 20;
const LARGEST = 2 ** 29;

/** Options of a new `WakeQueue`. */
export interface QueueOptions {
  /**
   * Bytes that the values on their way may take, with 8 a value for the queue itself: 1 to 2^29 (512 MiB), 1 MiB unless
   * given. Threads that send at the very same instant may together exceed it by a value each.
   */
  capacity?: number | undefined;
}

/** The core behind a queue that a user passed. Throws `ClosedError` if it was disposed. */
export let coreOfQueue: (queue: WakeQueue<unknown>) => QueueCore;
/** What that very object has of it. */
export let copyOfQueue: (queue: WakeQueue<unknown>) => Copy;

/**
 * A queue from many threads to one: whoever sends wakes the thread that waits for values, in `receiveSync`, in a
 * `Poller`, or by a promise. Values are structured clones; of a `Uint8Array` or a `Buffer` its own bytes are sent, and a `Uint8Array`
 * arrives.
 *
 * ```ts
 * const queue = new WakeQueue<{ id: number }>();
 * worker.postMessage(queue.handle); // there: WakeQueue.from<{ id: number }>(handle).send({ id: 1 })
 * const { id } = queue.receiveSync({ timeout: 1000 });
 * ```
 *
 * A value that `send` accepted will be received, once, as long as some thread holds the queue: also when its sender is
 * terminated the instant after, and after `close`. Those of one thread arrive in the order in which it sent them, and
 * those of two threads too, if one `send` had returned before the other began.
 *
 * The first thread that receives is the receiver until it disposes its copy, or ends (a Worker: under `releaseOnExit`);
 * another one's receives throw `BusyError`.
 */
export class WakeQueue<T = unknown> implements Disposable {
  readonly #core: QueueCore;
  readonly #copy: Copy;
  #unkeep: (() => void) | undefined;

  /** Throws `RangeError`, `TypeError`; `SystemError` (`EMFILE`) if no descriptor is free: it costs an eventfd. */
  constructor(options?: QueueOptions) {
    this.#core = isCore(options) ? options : create(options);
    this.#copy = new Copy(this.#core);
    closeWhenDropped(this, this.#copy);
  }

  static {
    coreOfQueue = (queue) => queue.#open();
    copyOfQueue = (queue) => queue.#copy;
    printAs(WakeQueue, ({ closed }) => ({ closed }));
  }

  /**
   * The queue that another thread sent. Throws `ClosedError` if every thread that held it has disposed it, and
   * `TypeError` for what is no handle.
   */
  static from<T = unknown>(handle: QueueHandle): WakeQueue<T> {
    return new WakeQueue<T>(QueueCore.from(handle) as object);
  }

  /**
   * What to send to other threads with `postMessage`, any number of times. It holds nothing by itself: keep the queue
   * until the other thread has said that it has it. Throws `ClosedError` once disposed.
   */
  get handle(): QueueHandle {
    const core = this.#open();
    const handle = core.share();
    if (this.#unkeep === undefined) {
      const unkeep = () => letGo(this);
      keep(this, "handle"); // it has to be there when the handle arrives
      core.whenLeaving(unkeep);
      this.#unkeep = unkeep;
    }
    return handle;
  }

  /** True once any thread has closed it, or this one has disposed it: nothing can be sent any more. */
  get closed(): boolean {
    return this.#copy.dropped || this.#core.closed;
  }

  #open(): QueueCore {
    if (this.#copy.dropped) throw this.#core.closedError();
    this.#core.assertHere();
    return this.#core;
  }

  /**
   * Sends a value, and wakes the receiver if it waits. Throws `QueueFullError` if there is no room, `ClosedError`;
   * `TypeError` for shared memory in it (that would arrive as a copy), `DataCloneError` for what cannot be cloned, and
   * `RangeError` if it is larger than the queue.
   */
  send(value: T): void {
    if (!this.trySend(value)) {
      throw new QueueFullError(
        `no room in this WakeQueue of ${this.#core.capacity} bytes; sendSync waits for it, trySend says so without an error`,
      );
    }
  }

  /** `send` that says false if there is no room, or a `sendAsync` of this thread is before it. Throws what else `send` does. */
  trySend(value: T): boolean {
    const core = this.#open();
    const entry = toEntry(core, value);
    if (core.sending?.isBusy()) return false;
    return core.put(entry, entrySize(entry));
  }

  /**
   * Sends a value, and blocks this thread until there is room. When it fails, nothing was sent. In the thread that
   * receives it would wait for itself: give it a `timeout`, or use `trySend`. Threads that wait are not served in order:
   * whoever's value fits goes first. A thread's first wait costs an eventfd.
   *
   * Throws `CancelledError`, `TimeoutError`, `ClosedError`, `BusyError` (a `sendAsync` of this thread is pending),
   * `SystemError`, and what `send` throws for the value.
   */
  sendSync(value: T, options?: WaitOptions): void {
    const core = this.#open();
    const entry = toEntry(core, value);
    core.sending ??= new Sending(core);
    try {
      attemptSync(SEND, core.sending, entry, NEVER, options);
    } finally {
      core.sending.done();
    }
  }

  /**
   * `sendSync` as a promise, which is fulfilled once the value is in the queue. When it is rejected, nothing was sent.
   * What is sent is the value as it is now, whatever becomes of it meanwhile. The `sendAsync`s of one thread wait in line,
   * and its other sends behind them.
   *
   * Rejected with `CancelledError`, the `reason` of the signal, `TimeoutError`, `ClosedError`, `SystemError`, and what
   * `send` throws for the value.
   *
   * ```ts
   * await queue.sendAsync(chunk, { timeout: 5000 }); // no faster than they are received
   * ```
   */
  async sendAsync(value: T, options?: OperationOptions): Promise<void> {
    const core = this.#core;
    const entry = toEntry(core, value);
    if (this.#copy.dropped) return refused(SEND, core, options);
    core.sending ??= new Sending(core);
    const side = core.sending;
    try {
      const sent = attempt(SEND, side, entry, this, options);
      if (side.isBusy()) copyOut(entry);
      await sent;
    } finally {
      side.done();
    }
  }

  /**
   * The next value, as soon as there is one. When it is rejected, none was taken. The receives of a thread get their
   * values in the order in which they were called; the queue is not collected, and the process stays, while one is
   * pending.
   *
   * Rejected with `CancelledError`, the `reason` of the signal, `TimeoutError`, `BusyError` if another thread receives,
   * `TypeError`, `RangeError`; `ClosedError` once it was closed and nothing is left, or this object was disposed.
   *
   * ```ts
   * const job = await queue.receive({ cancel, timeout: 1000 });
   * ```
   */
  receive(options?: OperationOptions): Promise<T> {
    const core = this.#core;
    if (this.#copy.dropped) return refused(RECEIVE, core, options);
    core.receiving ??= new Receiving(core);
    return attempt(RECEIVE, core.receiving, undefined, this, options) as Promise<T>;
  }

  /**
   * Values as they come, until the queue is closed and nothing is left. Leaving the loop closes nothing, and loses no
   * value.
   *
   * ```ts
   * for await (const job of queue) await work(job);
   * ```
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T, undefined> {
    return new Iteration<T>(async (options) => {
      try {
        return await this.receive(options);
      } catch (error) {
        if (error instanceof ClosedError) return END;
        throw error;
      }
    });
  }

  /**
   * The next value; blocks this thread until there is one. When it fails, none was taken. Throws `CancelledError`,
   * `TimeoutError`, `BusyError` if another thread receives, or a `receive` of this one is pending; `ClosedError` once it
   * was closed and nothing is left.
   */
  receiveSync(options?: WaitOptions): T {
    const core = this.#open();
    core.receiving ??= new Receiving(core);
    return attemptSync(RECEIVE, core.receiving, undefined, NEVER, options) as T; // what the sender put in is its word
  }

  /** `receiveSync` that never waits: undefined if there is nothing now, or a `receive` is before it. */
  tryReceive(): T | undefined {
    const core = this.#open();
    core.receive();
    if (core.receiving?.isBusy()) return undefined;
    const taken = core.take();
    return taken === null ? undefined : (unwrap(taken) as T);
  }

  /**
   * All values that are there now, `max` at most; never those that are sent while it runs. An empty array if there are
   * none, or a `receive` is before it; `ClosedError` if it was closed besides.
   */
  receiveAll(max: number = NEVER): T[] {
    if (max !== NEVER) checkCount(max, "max", 0, Number.MAX_SAFE_INTEGER);
    const core = this.#open();
    core.receive();
    const values: T[] = [];
    if (core.receiving?.isBusy()) return values;
    const last = core.lastPlace;
    while (values.length < max) {
      // At the end of a closed queue this throws, and what was taken before must not go with it.
      if (values.length > 0 && !core.hasValue) break;
      const taken = core.take(last);
      if (taken === null) break;
      values.push(unwrap(taken) as T);
    }
    return values;
  }

  /**
   * Ends it, for all threads: from now on `send` throws `ClosedError`, and so do receives once what is in the queue has
   * been received. Idempotent. A thread that could receive nothing more lets go of its copy by itself.
   */
  close(): void {
    if (!this.#copy.dropped) this.#core.close();
  }

  /**
   * This thread lets go of its copy, and closes nothing for the others; what is pending on it fails with `ClosedError`.
   * With the last one, what is in the queue is lost.
   */
  dispose(): void {
    this.#core.receiving?.failAllOf(this);
    this.#core.sending?.failAllOf(this);
    if (this.#unkeep !== undefined) {
      this.#unkeep();
      this.#core.notWhenLeaving(this.#unkeep);
    }
    closedInTime(this.#copy);
    this.#copy.drop();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function create(options: QueueOptions | undefined): QueueCore {
  if (options !== undefined) checkKeys("WakeQueue", options, ["capacity"]);
  const capacity = options?.capacity ?? MEBIBYTE;
  checkCount(capacity, "capacity", 1, LARGEST);
  return QueueCore.create(capacity);
}

function isCore(value: unknown): value is QueueCore {
  return value instanceof QueueCore;
}
