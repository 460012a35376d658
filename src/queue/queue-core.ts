/**
 * A queue as this thread knows it: the rings, who receives, who sleeps, and what is left to do when it is closed. All
 * of it in shared memory such that a thread may be terminated between any two accesses.
 *
 * Nobody misses a wake-up: whoever goes to sleep drains its doorbell, says that it sleeps, and looks once more; whoever
 * has something for it puts that in first, then looks for sleepers, then rings.
 */
import { threadId } from "node:worker_threads";
import { BusyError, ClosedError } from "../errors.ts";
import { disownDoorbell, doorbellFd, drainDoorbell, openDoorbell, ringDoorbell } from "../shared/drained-doorbell.ts";
import { Shared, type SharedHandle } from "../shared/holds.ts";
import type { Entry } from "./entry.ts";
import {
  BELL,
  CAPACITY,
  CLOSED,
  ORDER,
  QUEUE,
  QUEUE_WORDS,
  type QueueHandle,
  RECEIVER,
  RINGS,
  ringSize,
  SENDERS_WAIT,
  SLEEP,
  SLEEPS,
} from "./queue-memory.ts";
import { Rings } from "./rings.ts";
import type { Receiving, Sending } from "./sides.ts";

const me = threadId + 1;

/** Whoever has a queue's descriptor in a set: told before it goes. */
export type Leaver = () => void;

export class QueueCore {
  static readonly #known = new Map<number, QueueCore>();
  readonly capacity: number;
  readonly rings: Rings;
  readonly #shared: Shared;
  readonly #payload: Int32Array;
  #handle: SharedHandle | undefined;
  #references = 1;
  #leavers: Set<Leaver> | undefined;
  /** True once this thread has let go. */
  left = false;
  #receives = false;
  /** What waits here, for values and for room, if anything has. */
  receiving: Receiving | null = null;
  sending: Sending | null = null;

  private constructor(shared: Shared) {
    this.#shared = shared;
    this.#payload = shared.payload;
    this.capacity = this.#payload[CAPACITY]!;
    this.rings = new Rings(shared, RINGS, ringSize(this.capacity));
  }

  /** Throws `SystemError` (`EMFILE`). */
  static create(capacity: number): QueueCore {
    const shared = Shared.create(QUEUE, QUEUE_WORDS);
    shared.payload[CAPACITY] = capacity;
    try {
      openDoorbell(shared.payload, BELL);
    } catch (error) {
      shared.release();
      throw error;
    }
    return new QueueCore(shared);
  }

  /** Throws `TypeError` for what is no handle, `ClosedError` if every thread has let go. */
  static from(handle: QueueHandle): QueueCore {
    const data = handle as unknown as SharedHandle; // a brand for the user, data for us
    const here = QueueCore.#known.get(Shared.find(data, QUEUE));
    if (here !== undefined) {
      return here.retain();
    }
    const core = new QueueCore(Shared.take(data, QUEUE));
    core.#become(data);
    return core;
  }

  #become(handle: SharedHandle): void {
    this.#handle = handle;
    QueueCore.#known.set(this.#shared.address, this);
  }

  share(): QueueHandle {
    if (this.#handle === undefined) {
      this.#become(this.#shared.publish());
      // They are the holders' now, not this thread's.
      disownDoorbell(this.#payload, BELL);
      for (const ring of this.rings.look()) ring?.disownRoom();
    }
    return this.#handle as unknown as QueueHandle;
  }

  get closed(): boolean {
    return this.left || Atomics.load(this.#payload, CLOSED) !== 0;
  }

  assertHere(): void {
    if (this.left) throw this.closedError();
  }

  closedError(): ClosedError {
    return new ClosedError("this WakeQueue was closed, or this thread has disposed it");
  }

  /** False: there is no room now. Throws `ClosedError`. */
  put(entry: Entry, size: number): boolean {
    if (this.closed) throw this.#endOfSending();
    if (this.rings.used + size > this.capacity) return false;
    const ring = this.rings.own();
    if (!ring?.put(entry, Atomics.add(this.#payload, ORDER, 1) + 1)) throw this.#endOfSending();
    this.#wakeReceiver();
    return true;
  }

  #endOfSending(): ClosedError {
    this.#letGoIfOver();
    return this.closedError();
  }

  #wakeReceiver(): void {
    const sleep = Atomics.load(this.#payload, SLEEP);
    if (sleep === 0) return;
    // First ring, then say so: should this thread end in between, the next sender rings again. And only of this sleep:
    // the receiver may be in the next one by now, for which nobody has rung.
    ringDoorbell(this.#payload, BELL);
    Atomics.compareExchange(this.#payload, SLEEP, sleep, 0);
  }

  /** What a sender listens to for room. Throws `SystemError` (`EMFILE`), `ClosedError`. */
  roomFd(): number {
    const ring = this.rings.own();
    if (ring === null) throw this.#endOfSending();
    if (ring.roomFd === -1) {
      ring.openRoom();
      if (this.#handle !== undefined) ring.disownRoom();
    }
    return ring.roomFd;
  }

  /** This sender is about to sleep until there is room for so many bytes: whoever makes room rings. Then look once more. */
  waitForRoom(bytes: number): void {
    this.roomFd(); // there has to be one
    const ring = this.rings.own()!;
    ring.drainRoom();
    ring.needed = bytes;
    Atomics.store(this.#payload, SENDERS_WAIT, 1);
  }

  /** The wait is over, whatever came of it. */
  waitNoMore(): void {
    this.rings.own()!.needed = 0;
  }

  #wakeSenders(): void {
    if (Atomics.load(this.#payload, SENDERS_WAIT) === 0) return;
    Atomics.store(this.#payload, SENDERS_WAIT, 0); // before the look: who comes to wait after it says so again
    const room = this.capacity - this.rings.used;
    for (const ring of this.rings.look()) {
      const needed = ring?.needed ?? 0;
      if (needed === 0) continue;
      if (needed <= room) ring!.ringRoom();
      else Atomics.store(this.#payload, SENDERS_WAIT, 1);
    }
  }

  /** This thread is the one that receives, from the first time on until it lets go. Throws `BusyError`, `ClosedError`. */
  receive(): void {
    this.assertHere();
    if (this.#receives) return;
    const receiver = Atomics.compareExchange(this.#payload, RECEIVER, 0, me);
    if (receiver !== 0 && receiver !== me) {
      throw new BusyError(
        "receive",
        `thread ${receiver - 1} receives from this WakeQueue, and one thread can; it makes room for another when it disposes its copy`,
      );
    }
    this.#receives = true;
    this.rings.begin();
  }

  get hasValue(): boolean {
    return this.rings.next() !== null;
  }

  /** Whether a take would give a value, or the queue's end. */
  get readable(): boolean {
    return this.hasValue || this.closed;
  }

  /** The next value, if its place is not behind `limit`; null if there is none now. Throws `ClosedError` at the end. */
  take(limit: number | null = null): Taken | null {
    let ring = this.rings.next();
    if (ring === null && Atomics.load(this.#payload, CLOSED) !== 0) {
      this.rings.seal();
      ring = this.rings.next();
      if (ring === null) {
        this.leave();
        throw this.closedError();
      }
    }
    if (ring === null || (limit !== null && ((ring.orderAt(ring.head) - limit) | 0) > 0)) return null;
    try {
      taken.value = ring.take();
    } finally {
      this.#wakeSenders();
    }
    return taken;
  }

  /** The place that was given out last: what is behind it was sent later. */
  get lastPlace(): number {
    return Atomics.load(this.#payload, ORDER);
  }

  /** What the receiver listens to. */
  get fd(): number {
    return doorbellFd(this.#payload, BELL);
  }

  /** A `Poller` of this thread does so as well, and takes the ring from the promises that wait. */
  drain(): void {
    drainDoorbell(this.#payload, BELL);
    this.receiving?.lookAgain();
  }

  /** Says that this thread is about to sleep on `fd`: from now on whoever sends rings. Then look once more. */
  aboutToSleep(): void {
    const sleep = Atomics.add(this.#payload, SLEEPS, 1) + 1;
    Atomics.store(this.#payload, SLEEP, sleep === 0 ? 1 : sleep);
  }

  /** For all threads: nothing comes in any more. What is in will be received. */
  close(): void {
    if (this.left) return;
    Atomics.store(this.#payload, CLOSED, 1);
    ringDoorbell(this.#payload, BELL);
    for (const ring of this.rings.look()) if (ring !== null && ring.needed !== 0) ring.ringRoom();
    this.#letGoIfOver();
  }

  /** Of a closed queue, this thread needs its hold only for as long as there is something that it could receive. */
  #letGoIfOver(): void {
    if (this.left) return;
    const receiver = Atomics.load(this.#payload, RECEIVER);
    if (receiver === 0 || receiver === me) {
      this.rings.seal();
      if (this.rings.used > 0) return;
    }
    this.leave();
  }

  whenLeaving(leaver: Leaver): void {
    this.#leavers ??= new Set();
    this.#leavers.add(leaver);
  }

  notWhenLeaving(leaver: Leaver): void {
    this.#leavers?.delete(leaver);
  }

  /** One object more of this thread stands for the queue. */
  retain(): this {
    this.#references++;
    return this;
  }

  /** One less; true for the last one, if nobody had closed the queue. */
  release(): boolean {
    if (--this.#references > 0 || this.left) return false;
    const { closed } = this;
    this.leave();
    return !closed;
  }

  /** This thread lets go; the last one ends the queue. */
  leave(): void {
    if (this.left) return;
    this.left = true;
    // Out of every selector first: once the hold is gone, the numbers may be strangers'.
    for (const leaver of this.#leavers ?? []) leaver();
    this.#leavers = undefined;
    Atomics.compareExchange(this.#payload, RECEIVER, me, 0);
    QueueCore.#known.delete(this.#shared.address);
    this.#shared.release();
  }
}

/** The value that was taken last. A record, as any value may be sent, null too; one, as it is read at once. */
export interface Taken {
  value: unknown;
}
const taken: Taken = { value: undefined };
