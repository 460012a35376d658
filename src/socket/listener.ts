/** Accepting, in any number of threads. */
import { monotonic } from "../../ffi/clock.ts";
import { constants } from "../../ffi/platform/index.ts";
import { eventsNow } from "../../ffi/poll.ts";
import { Sockaddr } from "../../ffi/sockaddr.ts";
import { accept4 } from "../../ffi/socket.ts";
import { ClosedError, SystemError } from "../errors.ts";
import { checkDuration, checkKeys } from "../options.ts";
import { closeWhenDropped, keep, letGo } from "../shared/dropped.ts";
import { own } from "../shared/ledger.ts";
import { attempt, attemptSync, type OperationOptions, type WaitOptions } from "../wait/attempt.ts";
import { reactor } from "../wait/reactor.ts";
import { READABLE } from "../wait/readiness.ts";
import type { Task } from "../wait/task.ts";
import { SocketCore } from "./core.ts";
import { END, Iteration } from "./iteration.ts";
import type { ListenerHandle, ListeningFd } from "./listening-fd.ts";
import { CancellableSocket } from "./socket.ts";

/** Options of `stopAccepting`. */
export interface StopOptions {
  /** Milliseconds that the queue has to stay empty. */
  settle?: number | undefined;
}

const { EMFILE, ENFILE, ENOBUFS, ENOMEM, POLLIN } = constants;
const NEVER = Number.POSITIVE_INFINITY;
/** How long to sit out a shortage of descriptors, in milliseconds: doubled each time, as Go's http.Server does. */
const FIRST_PAUSE = 5;
const LONGEST_PAUSE = 1000;

/** `S` is what an accepted connection becomes. */
export class ListenerCore<S = unknown> extends SocketCore {
  readonly listening: ListeningFd;
  readonly wrap: (fd: number, peer: Sockaddr) => S;
  #pause = 0;
  /** Since when it has been stopping; a `monotonic()` time. */
  #stoppingSince = NEVER;
  #settle: number | undefined;
  #isSettled = false;
  /** Called when it closes itself, as its stop is complete. */
  onSettled: (() => void) | null = null;

  constructor(listening: ListeningFd, kind: string, wrap: (fd: number, peer: Sockaddr) => S) {
    const fd = listening.take();
    super(fd, kind, () => listening.release(fd));
    this.listening = listening;
    this.wrap = wrap;
    if (listening.stopped) this.stop(undefined); // it came too late: every other thread is stopping
  }

  get isStopping(): boolean {
    return this.#stoppingSince !== NEVER;
  }

  /** See `StreamListener.stopAccepting`. */
  stop(settle: number | undefined): void {
    if (this.closed) return;
    if (settle !== undefined) this.#settle = settle;
    if (!this.isStopping) {
      this.#stoppingSince = monotonic();
      this.listening.stop(true);
    }
    // Whoever waits already has to learn how long.
    if (this.reads.head !== null) reactor().defer(this, READABLE);
  }

  /** When the stop is complete if nobody comes any more. */
  get #settledAt(): number {
    return this.isStopping ? this.listening.settledAt(this.#stoppingSince, this.#settle) : NEVER;
  }

  /** The queue is empty, or (`asLongAsOthersAccept`) is for other threads to empty. Throws if the stop is complete. */
  endIfSettled(asLongAsOthersAccept: boolean): void {
    if (!this.isStopping || (asLongAsOthersAccept && this.listening.stopped) || monotonic() < this.#settledAt) return;
    this.#isSettled = true;
    this.onSettled?.();
    this.close();
    throw this.closedError()!;
  }

  override closedError(): ClosedError | null {
    if (!this.closed || !this.#isSettled) return super.closedError();
    return new ClosedError(`this ${this.kind} was told to stop accepting, and what was queued is taken`);
  }

  override leave(): void {
    if (this.isStopping) this.listening.stop(false);
    super.leave();
  }

  /** Descriptors have run out: wait a little, deaf to the client that makes the listener readable all the while. */
  sitOut(): void {
    this.#pause = this.#pause === 0 ? FIRST_PAUSE : Math.min(this.#pause * 2, LONGEST_PAUSE);
    this.wakeAt = monotonic() + this.#pause;
    this.deaf = true;
  }

  recovered(): void {
    this.#pause = 0;
    this.wakeAt = this.#settledAt;
    this.deaf = false;
  }
}

/**
 * What accept(2) can fail with although the listener is well: the client's connection died in the queue, or its network
 * did. The next connection is what the caller wants. (trio's list; accept(2) says the same of Linux.)
 */
const ofTheClient = [
  "ECONNABORTED",
  "EPROTO",
  "ENETDOWN",
  "ENOPROTOOPT",
  "EHOSTDOWN",
  "ENONET",
  "EHOSTUNREACH",
  "EOPNOTSUPP",
  "ENETUNREACH",
  "EPERM",
  "ENOSR",
  "ESOCKTNOSUPPORT",
  "EPROTONOSUPPORT",
  "ETIMEDOUT",
  "ECONNRESET",
] as const;
const clientErrors = new Set(ofTheClient.map((name) => -constants[name]));
const shortages = new Set([-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM]);
const peer = new Sockaddr();

/** Undefined: this client is gone, take the next. */
function tryAccept<S>(core: ListenerCore<S>): S | null | undefined {
  try {
    const fd = accept4(core.fd, peer);
    if (fd === null) return null;
    own(fd);
    core.listening.noteAccepted(fd);
    return core.wrap(fd, peer);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (clientErrors.has(error.errno)) return undefined;
    // A stop is complete when the queue is empty, which the kernel does not say in a shortage: it looks for a descriptor
    // before it looks for a client.
    if (core.isStopping && shortages.has(error.errno) && eventsNow(core.fd, POLLIN) === 0) return null;
    throw error;
  }
}

function acceptOrSitOut<S>(core: ListenerCore<S>): S | null | undefined {
  core.endIfSettled(true);
  try {
    const socket = tryAccept(core);
    if (socket === null) core.endIfSettled(false);
    core.recovered();
    return socket;
  } catch (error) {
    if (!(error instanceof SystemError) || !shortages.has(error.errno)) throw error;
    core.sitOut();
    return null;
  }
}

const ACCEPT: Task<ListenerCore, undefined, unknown> = { name: "accept", interest: READABLE, step: acceptOrSitOut };

/** A listening socket: what `TcpListener` and `UnixListener` share. */
export abstract class StreamListener<S> extends CancellableSocket {
  readonly #core: ListenerCore<S>;

  /** @internal */
  constructor(core: ListenerCore<S>) {
    super(core);
    this.#core = core;
    closeWhenDropped(this, core);
  }

  /** What to send to other threads with `postMessage`, any number of times. Throws `ClosedError`, also while it is stopping. */
  get handle(): ListenerHandle {
    this.#core.assertOpen();
    if (this.#core.isStopping) throw new ClosedError("this listener is stopping: nobody else can begin to accept");
    keep(this, "handle"); // a handle in flight holds nothing: the listener has to be there when it arrives
    return this.#core.listening.share();
  }

  /**
   * Takes the next connection, and waits until there is one. When it fails, no connection was taken. Clients that are
   * gone already are passed over; while descriptors are short it tries again, less and less often. Accepts of one thread
   * queue, first in first out.
   *
   * Rejected with `CancelledError`, the `reason` of the signal, `TimeoutError`, `ClosedError`, `SystemError`, `TypeError`,
   * `RangeError`.
   */
  accept(options?: OperationOptions): Promise<S> {
    if (!this.#core.isBusy(READABLE)) this.#core.recovered();
    return attempt(ACCEPT, this.#core, undefined, this, options) as Promise<S>;
  }

  /**
   * `accept` that blocks this thread until there is a connection.
   *
   * Throws `CancelledError`, `TimeoutError`, `ClosedError`, `BusyError` (a promise accept is pending), `SystemError`,
   * `TypeError`, `RangeError`.
   */
  acceptSync(options?: WaitOptions): S {
    if (!this.#core.isBusy(READABLE)) this.#core.recovered();
    return attemptSync(ACCEPT, this.#core, undefined, this.#core.readDeadline, options) as S;
  }

  /**
   * `accept` that never waits: null if no connection is queued, or a promise accept is before it. Throws `SystemError`
   * (`EMFILE`) in a shortage.
   */
  tryAccept(): S | null {
    this.#core.assertOpen();
    this.#core.endIfSettled(true);
    while (!this.#core.isBusy(READABLE)) {
      const socket = tryAccept(this.#core);
      if (socket === null) this.#core.endIfSettled(false);
      if (socket !== undefined) return socket;
    }
    return null;
  }

  /**
   * Ends the listener so that no client that has got a connection sees a reset. Accepts go on, those that wait included,
   * until what was queued is taken and the queue has stayed empty for the settle time; then the listener closes itself,
   * they fail with `ClosedError`, and iteration ends. Somebody has to accept until then.
   *
   * On Linux new clients are kept out meanwhile: their SYNs are dropped, so they try again, after a second, and are refused
   * or meet the next server. Clients of a Unix socket are refused at once. With the same listener in several threads that
   * happens when the last of them stops (or closes); one that stops earlier leaves the rest to them.
   * A thread that has a copy and never accepts should close it.
   *
   * `settle`: for how many milliseconds. Default: twice the longest round trip of the clients so far, at least 50. (A Unix
   * socket needs none.) Idempotent; a later call may change `settle`. Throws `TypeError`, `RangeError`.
   *
   * ```ts
   * process.once("SIGTERM", () => listener.stopAccepting());
   * for await (const socket of listener) void answer(socket); // ends after the last client
   * ```
   */
  stopAccepting(options: StopOptions = {}): void {
    checkKeys("stopAccepting", options, ["settle"]);
    if (options.settle !== undefined) checkDuration(options.settle, "settle");
    // Weak: the core outlives an object that is dropped, and must not keep it.
    const self = new WeakRef(this);
    this.#core.onSettled = () => {
      const listener = self.deref();
      if (listener !== undefined) letGo(listener);
    };
    this.#core.stop(options.settle);
  }

  /**
   * @internal `stopAccepting` for whoever knows that all threads of the listener are about to stop, and cannot wait for each
   * to say so: one may be blocked.
   */
  keepOut(): void {
    this.#core.assertOpen();
    this.#core.listening.keepOut();
  }

  /** Connections as they come, until the listener is closed. Leaving the loop leaves it open, and no connection is lost. */
  [Symbol.asyncIterator](): AsyncIterableIterator<S> {
    return new Iteration(async (options) => {
      try {
        return await this.accept(options);
      } catch (error) {
        if (error instanceof ClosedError) return END;
        throw error;
      }
    });
  }
}
