/**
 * The two ends of a queue that an operation can wait at: for a value, and for room. A promise waits in line behind
 * those of its thread that came before it; one doorbell an end and thread is enough for all of them.
 */
import type { CancelCore } from "../cancel/core.ts";
import type { ClosedError } from "../errors.ts";
import {
  admit,
  type BlockingTarget,
  checkOperationOptions,
  type OperationOptions,
  type PromiseTarget,
  type Target,
} from "../wait/attempt.ts";
import { Park } from "../wait/park.ts";
import { Queue, type QueueOwner } from "../wait/queue.ts";
import { reactor } from "../wait/reactor.ts";
import { READABLE } from "../wait/readiness.ts";
import type { Ready, Registration } from "../wait/registrations.ts";
import type { Task } from "../wait/task.ts";
import { type Entry, encode } from "./entry.ts";
import type { QueueCore, Taken } from "./queue-core.ts";
import { entrySize } from "./ring.ts";

const NEVER = Number.POSITIVE_INFINITY;

abstract class Side implements BlockingTarget, PromiseTarget, QueueOwner, Ready {
  readonly core: QueueCore;
  readonly ownSource: CancelCore | null = null;
  readonly wakeAt = NEVER;
  readonly deaf = false;
  readonly keepsAlive = true;
  /** The promises that wait here. */
  readonly #line: Queue = new Queue(this, READABLE);
  #park: Park | null = null;
  /** In the reactor, from the first promise that had to wait. */
  #registration: Registration | null = null;

  constructor(core: QueueCore) {
    this.core = core;
    core.whenLeaving(() => this.leave());
  }

  queueOf(): Queue {
    return this.#line;
  }

  deadlineOf(): number {
    return NEVER;
  }

  isBusy(): boolean {
    return this.#line.head !== null;
  }

  /** Asked for only by an operation that has to wait. */
  get park(): Park {
    this.#park ??= new Park(this.fd);
    return this.#park;
  }

  /**
   * Edges will do: a step that comes to nothing has drained the doorbell, has said that it sleeps and has looked again
   * since, so whatever it did not see rings after that.
   */
  awaitReadiness(): void {
    const isAwaited = this.isBusy();
    if (this.core.left || (this.#registration === null && !isAwaited)) return;
    const here = reactor();
    const interest = here.edgeTriggered || isAwaited ? READABLE : 0;
    if (this.#registration === null) this.#registration = here.register(this.fd, this, interest);
    else here.modify(this.#registration, interest);
  }

  ready(readiness: number): void {
    if (readiness & READABLE && this.isBusy()) this.#line.run();
    // What was cancelled leaves its interest behind, and a level that nobody waits for would be told for ever.
    if (!reactor().edgeTriggered) this.awaitReadiness();
  }

  /** Somebody else has drained the doorbell, and with it perhaps the news for those who wait here. */
  lookAgain(): void {
    if (this.isBusy() && !this.#line.isRunning) reactor().defer(this, READABLE);
  }

  /** Ends what waits here in the name of `holder`. */
  failAllOf(holder: object): void {
    for (let one = this.#line.head; one !== null; ) {
      const { next } = one;
      if (one.holder === holder) one.fail(this.core.closedError());
      one = next;
    }
  }

  /** What is shared is there still. */
  protected leave(): void {
    this.#line.failAll(() => this.core.closedError());
    this.#park?.close();
    if (this.#registration !== null) reactor().unregister(this.#registration);
    this.#registration = null;
  }

  /** The descriptor that turns readable when it is worth another try. */
  abstract get fd(): number;
  abstract closedError(): ClosedError | null;
}

export class Receiving extends Side {
  get fd(): number {
    return this.core.fd;
  }

  /** That the queue was closed is not the end here: what is left will be received. */
  closedError(): ClosedError | null {
    return this.core.left ? this.core.closedError() : null;
  }
}

/**
 * Takes the next value, or sees to it that the doorbell rings when there is one. Throws `ClosedError` at the end,
 * `BusyError` if another thread receives.
 */
function tryReceive({ core }: Receiving): Taken | null {
  core.receive();
  const taken = core.take();
  if (taken !== null) return taken;
  core.drain(); // who rings after this is seen below, or wakes
  core.aboutToSleep();
  return core.take();
}

/** The value that was taken, which the shared record must not keep alive. */
export function unwrap(taken: Taken): unknown {
  const { value } = taken;
  taken.value = undefined;
  return value;
}

/** The value, which is known to fit once there is room. */
export function toEntry({ capacity }: QueueCore, value: unknown): Entry {
  const entry = encode(value);
  const size = entrySize(entry);
  if (size > capacity) {
    throw new RangeError(
      `a value of ${size} bytes does not fit into a WakeQueue of ${capacity}; make it with a larger capacity`,
    );
  }
  return entry;
}

export class Sending extends Side {
  #waits = false;

  get fd(): number {
    return this.core.roomFd();
  }

  closedError(): ClosedError | null {
    return this.core.closed ? this.core.closedError() : null;
  }

  waits(bytes: number): void {
    this.#waits = true;
    this.core.waitForRoom(bytes);
  }

  /** Else who takes its thread's place would be rung for it. */
  protected override leave(): void {
    super.leave();
    this.done();
  }

  /** A send is over, whatever came of it: nobody has to ring any more, unless the next one waits already. */
  done(): void {
    if (!this.#waits || this.isBusy()) return;
    this.#waits = false;
    this.core.waitNoMore();
  }
}

/** Puts a value in, or sees to it that the doorbell rings when there is room. Throws `ClosedError`. */
function trySend(side: Sending, entry: Entry): true | null {
  const size = entrySize(entry);
  if (side.core.put(entry, size)) return true;
  side.waits(size);
  return side.core.put(entry, size) || null;
}

export const RECEIVE: Task<Receiving, undefined, Taken, unknown> = {
  name: "receive",
  interest: READABLE,
  step: tryReceive,
  unwrap,
};
/** Room shows as readiness to read: of the doorbell that says so. */
export const SEND: Task<Sending, Entry, true> = { name: "send", interest: READABLE, step: trySend };

/** What becomes of an operation on an object that was disposed while others stand for its queue: wrong arguments come first. */
export async function refused(
  { name, interest }: { readonly name: string; readonly interest: number },
  core: QueueCore,
  options: OperationOptions | undefined,
): Promise<never> {
  const gone: Target = { closedError: () => core.closedError(), ownSource: null };
  admit(name, gone, interest, NEVER, options, checkOperationOptions);
  throw core.closedError();
}
