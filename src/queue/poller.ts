/** One blocking wait over many things. */
import { checkFd } from "../../ffi/fd.ts";
import { ClosedError } from "../errors.ts";
import { checkBoolean, checkCount, checkKeys } from "../options.ts";
import { printAs } from "../print.ts";
import { closedInTime, closeWhenDropped, type Dropped, keep, letGo } from "../shared/dropped.ts";
import { CancellableSocket, coreOfSocket } from "../socket/socket.ts";
import { attemptSync, checkWaitOptions, type WaitOptions } from "../wait/attempt.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import type { Task } from "../wait/task.ts";
import { toDeadline } from "../when.ts";
import type { Interest, Pollable, PollEvent } from "./poll-event.ts";
import { type Member, PollerCore, type PollerHandle } from "./poller-core.ts";
import { copyOfQueue, coreOfQueue, WakeQueue } from "./wake-queue.ts";

const NEVER = Number.POSITIVE_INFINITY;
const MAX_EVENTS = 64;

/** Options of `Poller.wait`. */
export interface PollerWaitOptions extends WaitOptions {
  /** Return so many events at most; 64 unless given. The others come with the next wait. */
  maxEvents?: number | undefined;
}

/**
 * Blocks one thread until something is ready: sockets, listeners, queues and bare descriptors. Level-triggered: what is
 * ready and left alone is ready in the next wait again. That a deadline of a source has passed, that its own
 * `cancelSource` was cancelled, or that a listener which stops accepting has settled, ends no wait: give it a `timeout`.
 *
 * ```ts
 * using poller = new Poller();
 * poller.add(listener, { readable: true });
 * poller.add(queue, { readable: true });
 * for (;;) {
 *   for (const { source } of poller.wait()) {
 *     if (source === listener) poller.add(listener.acceptSync(), { readable: true });
 *     else if (source === queue) handle(queue.receiveAll());
 *     else if (source instanceof TcpSocket && source.tryRead(buffer) === 0) source.close(); // and it is out of the set
 *   }
 * }
 * ```
 */
export class Poller implements Disposable {
  readonly #core: PollerCore;
  readonly #copy: Copy;

  static {
    printAs(Poller, (poller) => ({ sources: poller.#core.members.size, closed: poller.#copy.dropped }));
  }

  /** Throws `SystemError` (`EMFILE`): it costs two descriptors. */
  constructor();
  /** @internal */
  constructor(core: PollerCore);
  constructor(core: PollerCore = PollerCore.create()) {
    if (!(core instanceof PollerCore)) throw new TypeError("new Poller() takes nothing");
    this.#core = core;
    this.#copy = new Copy(core);
    closeWhenDropped(this, this.#copy);
  }

  /**
   * The poller of another thread, to `notify` it; all else is for the thread that made it. Throws `ClosedError` if
   * every thread that had it has closed it, and `TypeError` for what is no handle.
   */
  static from(handle: PollerHandle): Poller {
    return new Poller(PollerCore.from(handle));
  }

  /** What to send to other threads with `postMessage`, any number of times. Throws `ClosedError`. */
  get handle(): PollerHandle {
    const core = this.#open();
    keep(this, "handle"); // a handle in flight holds nothing: the poller has to be there when it arrives
    return core.share();
  }

  #open(): PollerCore {
    if (this.#copy.dropped) throw new ClosedError("this Poller was closed");
    return this.#core;
  }

  /**
   * Awaits `interest` of `source` from now on. A socket, listener or queue that is closed leaves the set by itself; a
   * bare number has to be deleted before it is closed. Of a queue `readable` is all there is, and this thread becomes
   * its receiver.
   *
   * Throws `TypeError` if it is there already, or is nothing that can be waited for; `ClosedError`, `BusyError` (a queue
   * that another thread receives from), `SystemError` (`EBADF`). A plain file is always ready.
   */
  add(source: Pollable, interest: Interest): void {
    const core = this.#open();
    const wanted = toInterest(interest);
    if (core.members.has(source))
      throw new TypeError("this source is in the Poller already; modify changes its interest");
    if (typeof source === "number") {
      checkFd(source);
      core.add(source, source, wanted, null, () => {});
    } else if (source instanceof WakeQueue) {
      checkQueueInterest(wanted);
      void core.set; // before the queue gets its receiver
      const queue = coreOfQueue(source);
      queue.receive();
      this.#join(core, source, queue.fd, wanted, copyOfQueue(source));
    } else if (source instanceof CancellableSocket) {
      const socket = coreOfSocket(source);
      socket.assertOpen();
      this.#join(core, source, socket.fd, wanted, socket);
    } else {
      throw new TypeError("a Poller waits for sockets, listeners, WakeQueues and file descriptors (numbers)");
    }
  }

  /** Adds what knows when it goes. */
  #join(core: PollerCore, source: Exclude<Pollable, number>, fd: number, interest: number, goes: Goes): void {
    const leaver = () => core.remove(core.members.get(source) as Member);
    core.add(source, fd, interest, source instanceof WakeQueue ? coreOfQueue(source) : null, () =>
      goes.notWhenLeaving(leaver),
    );
    goes.whenLeaving(leaver);
  }

  /** Changes what is awaited of `source`. Throws `TypeError` if it is not in the set. */
  modify(source: Pollable, interest: Interest): void {
    const core = this.#open();
    const wanted = toInterest(interest);
    const member = core.members.get(source);
    if (member === undefined) throw new TypeError("this source is not in the Poller (any more); add puts it there");
    if (member.queue !== null) checkQueueInterest(wanted);
    core.change(member, wanted);
  }

  /** Takes `source` out, if it is there. */
  delete(source: Pollable): void {
    const core = this.#open();
    const member = core.members.get(source);
    if (member !== undefined) core.remove(member);
  }

  /**
   * Blocks this thread until something is ready, and returns what is. An empty array: the `timeout` has passed, or
   * somebody has called `notify`.
   *
   * Throws `CancelledError`, `ClosedError`, `SystemError` (`EINTR` if `interruptible`), and `TimeoutError` if it is
   * `cancel` that timed out.
   */
  wait(options?: PollerWaitOptions): PollEvent[] {
    const core = this.#open();
    if (options !== undefined) checkWaitOptions(options, "cancel, timeout, interruptible, maxEvents", "maxEvents");
    const { cancel, timeout, interruptible, maxEvents = MAX_EVENTS } = options ?? {};
    checkCount(maxEvents, "maxEvents", 1, 0x10_0000);
    const wakeAt = toDeadline(timeout, "timeout");
    core.set.begin(maxEvents);
    core.wakeAt = wakeAt;
    // That the timeout has passed is no error here, so it is not the attempt's.
    return attemptSync(WAIT, core, maxEvents, NEVER, { cancel, interruptible });
  }

  /**
   * Makes the wait of the thread that made it return, or if it does not wait, its next one: once for any number of
   * calls. From any thread. Throws `ClosedError`.
   */
  notify(): void {
    this.#open().notify();
  }

  /** Closes the set, not what is in it. Of a poller from a handle, this thread's copy. Idempotent. */
  close(): void {
    letGo(this);
    closedInTime(this.#copy);
    this.#copy.drop();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const WAIT: Task<PollerCore, number, PollEvent[]> = {
  name: "wait",
  interest: READABLE,
  step: (core, maxEvents) => core.look(maxEvents),
};

/** What tells when its descriptor goes. */
interface Goes {
  whenLeaving(leaver: () => void): void;
  notWhenLeaving(leaver: () => void): void;
}

function toInterest(interest: Interest): number {
  checkKeys("the interest", interest, ["readable", "writable"]);
  checkBoolean(interest.readable, "readable");
  checkBoolean(interest.writable, "writable");
  return (interest.readable ? READABLE : 0) | (interest.writable ? WRITABLE : 0);
}

function checkQueueInterest(interest: number): void {
  if (interest & WRITABLE)
    throw new TypeError("of a WakeQueue only `readable` can be awaited; sendSync waits for room");
}

/** What one object has of its poller. */
class Copy implements Dropped {
  readonly kind = "Poller";
  readonly remedy = "close()";
  readonly #core: PollerCore;
  dropped = false;

  constructor(core: PollerCore) {
    this.#core = core;
  }

  drop(): boolean {
    if (this.dropped) return false;
    this.dropped = true;
    return this.#core.release();
  }
}
