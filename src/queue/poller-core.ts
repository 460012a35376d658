/** A poller as this thread knows it: its set, if it waits here, and what it shares with those who notify. */
import { threadId } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";
import type { CancelCore } from "../cancel/core.ts";
import { ClosedError } from "../errors.ts";
import {
  claimDoorbell,
  closeDoorbell,
  disownDoorbell,
  doorbellFd,
  drainDoorbell,
  openDoorbell,
  ringDoorbell,
} from "../shared/drained-doorbell.ts";
import { defineKind, Shared, type SharedHandle } from "../shared/holds.ts";
import type { BlockingTarget } from "../wait/attempt.ts";
import { Park } from "../wait/park.ts";
import { READABLE } from "../wait/readiness.ts";
import { openReadySet } from "./open-ready-set.ts";
import { type Pollable, type PollEvent, toEvent } from "./poll-event.ts";
import type { QueueCore } from "./queue-core.ts";
import { DOORBELL, ENDED, INVALID, type ReadySet } from "./ready-set.ts";

declare const handleOf: unique symbol;

/** A poller on its way to another thread: post it, and call `Poller.from` there. It holds nothing by itself. */
export interface PollerHandle {
  readonly [handleOf]: "Poller";
}

// In words.
/** The thread that waits, plus one; 0: it has closed its poller, or has ended. */
const OWNER = 0;
const BELL = 1;
const WORDS = 3;
const me = threadId + 1;
const BELL_TOKEN = 1;

const kind = defineKind({
  number: 5,
  name: "Poller",
  claim: (payload) => claimDoorbell(payload, BELL),
  end: (payload) => closeDoorbell(payload, BELL),
  mend: ({ payload }, thread) => {
    Atomics.compareExchange(payload, OWNER, thread + 1, 0);
    ringDoorbell(payload, BELL);
  },
});

/** What stands in the set for a source. */
export interface Member {
  readonly source: Pollable;
  readonly fd: number;
  readonly token: number;
  interest: number;
  readonly queue: QueueCore | null;
  /** Undoes that it leaves the set by itself. */
  readonly forget: () => void;
}

export class PollerCore implements BlockingTarget {
  static readonly #known = new Map<number, PollerCore>();
  readonly ownSource: CancelCore | null = null;
  wakeAt = Number.POSITIVE_INFINITY;
  readonly deaf = false;
  readonly park: Park;
  readonly members = new Map<Pollable, Member>();
  readonly #shared: Shared;
  readonly #set: ReadySet | null;
  readonly #byToken = new Map<number, Member>();
  readonly #byFd = new Map<number, Member>();
  readonly #queues: Member[] = [];
  /** Whose turn it is to be looked at first, so that those in front do not keep out those behind. */
  #nextQueue = 0;
  #tokens = BELL_TOKEN;
  #queuesFirst = false;
  #slept = false;
  #handle: SharedHandle | undefined;
  #references = 1;
  closed = false;

  private constructor(shared: Shared, set: ReadySet | null) {
    this.#shared = shared;
    this.#set = set;
    this.park = set === null ? new Park() : Park.around(set);
  }

  /** Throws `SystemError` (`EMFILE`). */
  static create(): PollerCore {
    const set = openReadySet();
    const shared = Shared.create(kind, WORDS);
    const { payload } = shared;
    try {
      openDoorbell(payload, BELL);
      set.change(doorbellFd(payload, BELL), BELL_TOKEN, 0, READABLE);
    } catch (error) {
      set.close();
      shared.release();
      throw error;
    }
    payload[OWNER] = me;
    return new PollerCore(shared, set);
  }

  /** Throws `TypeError` for what is no handle, `ClosedError` if every thread has let go. */
  static from(handle: PollerHandle): PollerCore {
    const data = handle as unknown as SharedHandle; // a brand for the user, data for us
    const here = PollerCore.#known.get(Shared.find(data, kind));
    if (here !== undefined) {
      here.#references++;
      return here;
    }
    const core = new PollerCore(Shared.take(data, kind), null);
    core.#become(data);
    return core;
  }

  #become(handle: SharedHandle): void {
    this.#handle = handle;
    PollerCore.#known.set(this.#shared.address, this);
  }

  share(): PollerHandle {
    if (this.#handle === undefined) {
      this.#become(this.#shared.publish());
      disownDoorbell(this.#shared.payload, BELL); // it is the holders' now, not this thread's
    }
    return this.#handle as unknown as PollerHandle;
  }

  closedError(): ClosedError | null {
    return this.closed ? new ClosedError("this Poller was closed") : null;
  }

  /** The set. Throws `ClosedError`, `TypeError` in a thread that can only notify. */
  get set(): ReadySet {
    if (this.closed) throw this.closedError();
    if (this.#set === null) {
      throw new TypeError("a Poller from a handle can notify; its set, and wait, are of the thread that made it");
    }
    return this.#set;
  }

  isBusy(): boolean {
    return false;
  }

  notify(): void {
    if (this.closed) throw this.closedError();
    if (Atomics.load(this.#shared.payload, OWNER) === 0) {
      throw new ClosedError("the thread of this Poller has closed it, or has ended");
    }
    ringDoorbell(this.#shared.payload, BELL);
  }

  add(source: Pollable, fd: number, interest: number, queue: QueueCore | null, forget: () => void): void {
    const { set } = this;
    const other = this.#byFd.get(fd);
    // A bare number that was closed without a word, and given out again: what it stood for is gone.
    if (typeof other?.source === "number") this.remove(other);
    else if (other !== undefined) throw new TypeError(`fd ${fd} is in the Poller already, as another object's`);
    const member: Member = { source, fd, token: ++this.#tokens, interest, queue, forget };
    set.change(fd, member.token, 0, interest);
    this.members.set(source, member);
    this.#byToken.set(member.token, member);
    this.#byFd.set(fd, member);
    if (queue !== null) this.#queues.push(member);
  }

  change(member: Member, interest: number): void {
    this.set.change(member.fd, member.token, member.interest, interest);
    member.interest = interest;
  }

  remove(member: Member): void {
    if (this.members.get(member.source) !== member) return;
    member.forget();
    this.members.delete(member.source);
    this.#byToken.delete(member.token);
    if (this.#byFd.get(member.fd) === member) this.#byFd.delete(member.fd);
    if (member.queue !== null) this.#queues.splice(this.#queues.indexOf(member), 1);
    this.#set?.change(member.fd, member.token, member.interest, 0);
  }

  /**
   * What is ready: no event if it was notified or its time is up; undefined if a doorbell has rung; null if this thread
   * may sleep. A queue's descriptor only wakes: what counts is whether there is a value.
   */
  look(maxEvents: number): PollEvent[] | null | undefined {
    const { set } = this;
    const events: PollEvent[] = [];
    let notified = false;
    let rung = false;
    let stale = false;
    // In turns, when not all have room; but what a sleep has found is not thrown away.
    this.#queuesFirst = !this.#queuesFirst && !this.#slept;
    this.#slept = false;
    if (this.#queuesFirst) this.#lookAtQueues(events, maxEvents);
    const room = maxEvents - events.length;
    const count = room > 0 ? set.look(room) : 0; // no more than can be told: who is passed over has had its turn
    const invalid: Member[] = [];
    for (let i = 0; i < count; i++) {
      const token = set.tokenAt(i);
      const member = this.#byToken.get(token);
      if (token === BELL_TOKEN) {
        notified = true;
      } else if (token === DOORBELL) {
        rung = true;
      } else if (member === undefined) {
        stale = true;
      } else if (member.queue !== null) {
        member.queue.drain();
      } else if (events.length < maxEvents) {
        const ready = set.readyAt(i);
        events.push(toEvent(member, ready));
        if (ready & INVALID) invalid.push(member);
      }
    }
    for (const member of invalid) this.remove(member); // it would be ready for ever
    if (stale) set.rebuild([...this.members.values(), this.#bell]);
    if (notified) drainDoorbell(this.#shared.payload, BELL); // nothing throws from here on
    if (!this.#queuesFirst) this.#lookAtQueues(events, maxEvents);
    if (events.length > 0 || notified || this.#isPast()) return events;
    // Edge-triggered, it has told this look, and would not end the sleep: the cancel came after the check at entry.
    if (rung) return undefined;
    return this.#aboutToSleep(events, maxEvents) ? events : null;
  }

  get #bell(): { fd: number; token: number; interest: number } {
    return { fd: doorbellFd(this.#shared.payload, BELL), token: BELL_TOKEN, interest: READABLE };
  }

  #isPast(): boolean {
    return this.wakeAt !== Number.POSITIVE_INFINITY && monotonic() >= this.wakeAt;
  }

  #lookAtQueues(events: PollEvent[], maxEvents: number): void {
    const { length } = this.#queues;
    const first = this.#nextQueue;
    for (let n = 0; n < length && events.length < maxEvents; n++) {
      const index = (first + n) % length;
      const member = this.#queues[index]!;
      if (member.interest === 0 || !member.queue!.readable) continue;
      events.push(toEvent(member, READABLE | (member.queue!.closed ? ENDED : 0)));
      this.#nextQueue = index + 1;
    }
  }

  /** Before this thread sleeps: from now on who sends rings. Then a last look; true if it found something. */
  #aboutToSleep(events: PollEvent[], maxEvents: number): boolean {
    for (const { queue, interest } of this.#queues) if (interest !== 0) queue!.aboutToSleep();
    this.#lookAtQueues(events, maxEvents);
    this.#slept = events.length === 0;
    return !this.#slept;
  }

  /** One object more or less of this thread that stands for it; the last one lets go. */
  release(): boolean {
    if (--this.#references > 0) return false;
    this.closed = true;
    for (const member of [...this.members.values()]) this.remove(member);
    this.park.close();
    if (this.#set !== null) Atomics.store(this.#shared.payload, OWNER, 0);
    PollerCore.#known.delete(this.#shared.address);
    this.#shared.release();
    return true;
  }
}
