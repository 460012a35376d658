/**
 * The promise side's wait, one a JavaScript thread: a selector in which each socket is registered once, Bun's own loop
 * to watch it, and the deadlines. Nothing here blocks.
 *
 * It sleeps only after it has looked a little longer: while a connection is busy, its next event is microseconds away,
 * and a look costs less than arming the loop and being woken by it.
 */
import { isMainThread } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";
import { SystemError } from "../errors.ts";
import { Alarm } from "./alarm.ts";
import { DeadlineHeap, type Timed } from "./deadline-heap.ts";
import { type Blind, LookUps } from "./look-ups.ts";
import { type Loop, openLoop } from "./loop.ts";
import { READABLE, type Selector, WRITABLE } from "./readiness.ts";
import { type Ready, type Registration, Registrations } from "./registrations.ts";
import { isFallback, openSelector } from "./selector.ts";
import { Spin } from "./spin.ts";

/** Looks in a row that come straight from the microtask queue; then Bun's loop has its turn. */
const CHAIN = 16;
/** With so many events at once a turn of Bun's loop costs next to nothing. */
const MANY_EVENTS = 64;

export class Reactor {
  #selector: Selector = openSelector();
  readonly #registrations = new Registrations();
  readonly #deadlines = new DeadlineHeap();
  readonly #alarm: Alarm;
  #loop: Loop | null = null;
  #loopIsOpening = false;
  /** It could not be opened a moment ago: not again before the next look. */
  #loopHasToWait = false;
  /** Whether a turn is coming anyway. */
  #scheduled = false;
  #chained = 0;
  /** Each once, or whoever puts off its work and is told by the kernel as well would get more and more turns. */
  #deferred = new Map<Ready, number>();
  readonly #lookUps: LookUps;
  readonly #spin = new Spin();
  /** Who is interested in events at all, and for whom the process has to stay. */
  #waiting = 0;
  #alive = 0;
  /** Turns so far. */
  turn = 0;

  constructor() {
    this.#alarm = new Alarm(this, () => this.#runDue());
    this.#lookUps = new LookUps(
      () => {
        this.#loopHasToWait = false;
        this.#recover();
      },
      () => {
        this.#askDoorbells();
        this.#schedule();
      },
    );
    // A Worker that ends by itself takes nothing along but its memory; one that is terminated has releaseOnExit.
    if (!isMainThread) process.once("exit", () => this.#close());
  }

  /** Level-triggered selectors report what is awaited again and again, so the interest has to follow who waits. */
  get edgeTriggered(): boolean {
    return this.#selector.edgeTriggered;
  }

  /** Puts `fd` into the selector. Throws `SystemError`. */
  register(fd: number, owner: Ready, interest: number, isDoorbell = false): Registration {
    const registration = this.#registrations.add(fd, owner, interest, isDoorbell);
    try {
      add(this.#selector, registration, interest);
    } catch (error) {
      this.#registrations.remove(registration);
      throw error;
    }
    this.#tellOfChange();
    return registration;
  }

  modify(registration: Registration, interest: number): void {
    if (registration.interest === interest) return;
    registration.interest = interest;
    this.#selector.modify(registration.fd, interest, registration.tag);
    this.#tellOfChange();
  }

  /** An epoll set is watched itself; of any other set the loop has a copy, and has to be given a new one. */
  #tellOfChange(): void {
    if (!this.edgeTriggered && this.#waiting > 0) this.#schedule();
  }

  /** Takes it out, so that its descriptor can be closed. What has happened to it and is not told yet never will be. */
  unregister(registration: Registration): void {
    if (!this.#registrations.remove(registration)) return;
    this.#selector.delete(registration.fd);
    this.#loop?.settle();
    if (this.#waiting > 0) this.#schedule(); // what settled has to be armed again
  }

  /** Tells `owner` in the next turn, after what the kernel has to say. */
  defer(owner: Ready, readiness: number): void {
    this.#deferred.set(owner, readiness | (this.#deferred.get(owner) ?? 0));
    this.#schedule();
  }

  /** From now on `one` looks up from time to time, or no more. */
  setBlind(one: Blind, blind: boolean): void {
    this.#lookUps.setBlind(one, blind);
  }

  /** `member` is told once `dueAt`, a `monotonic()` time, has come; Infinity: not any more. */
  setDeadline(member: Timed, dueAt: number): void {
    if (dueAt === member.dueAt && (member.place !== -1 || dueAt === Number.POSITIVE_INFINITY)) return;
    this.#deadlines.set(member, dueAt);
    this.#alarm.setAtLatest(this.#deadlines.earliest);
  }

  /** One more waits for events; with `alive`, the process stays for it. */
  enter(alive: boolean): void {
    this.#waiting++;
    if (alive) this.hold();
    this.#schedule();
  }

  leave(alive: boolean): void {
    this.#waiting--;
    if (alive) this.letGo();
  }

  /** The process stays until `letGo`. */
  hold(): void {
    if (this.#alive++ === 0) {
      this.#loop?.keepAlive(true);
      this.#lookUps.keepAlive(true);
    }
    this.#schedule();
  }

  letGo(): void {
    if (--this.#alive > 0) return;
    this.#loop?.keepAlive(false);
    this.#lookUps.keepAlive(false);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(turnOfTheThread);
  }

  /** Looks what is ready, tells whom it concerns, and sees to it that there is another turn. */
  run(): void {
    this.#scheduled = false;
    this.turn++;
    const count = this.#look();
    if (this.#deferred.size > 0) {
      const deferred = this.#deferred;
      this.#deferred = new Map();
      for (const [owner, readiness] of deferred) owner.ready(readiness);
    }
    this.#next(count);
  }

  #look(): number {
    const selector = this.#selector;
    let count = 0;
    try {
      count = selector.wait(Number.NEGATIVE_INFINITY, false);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#lookUps.soon(error); // ENOMEM of poll(2): nothing was told, and the next look tells it
    }
    for (let i = 0; i < count; i++) {
      const registration = this.#registrations.at(selector.tagAt(i));
      // Unregistered meanwhile, also by an owner earlier in this batch; its descriptor's number may be a stranger's.
      if (registration === undefined) continue;
      registration.owner.ready(selector.readinessAt(i));
    }
    return count;
  }

  #next(count: number): void {
    if (this.#scheduled) return;
    if (this.#waiting === 0 && this.#alive === 0) return;
    const now = monotonic();
    if (count > 0) this.#spin.found(now);
    if (this.#alive > 0 && this.#spin.goesOn(now)) {
      this.#lookOn(count);
    } else {
      this.#chained = 0;
      this.#arm(now);
    }
  }

  #lookOn(count: number): void {
    this.#scheduled = true;
    if (count > 0 && count < MANY_EVENTS && ++this.#chained < CHAIN) {
      queueMicrotask(turnOfTheThread);
    } else {
      this.#chained = 0;
      setImmediate(turnOfTheThread);
    }
  }

  #arm(now: number): void {
    if (isFallback(this.#selector)) {
      this.#lookUps.soon();
      return;
    }
    if (this.#loop === null) {
      this.#openLoop();
      return;
    }
    try {
      this.#loop.arm();
      this.#spin.armed(now);
    } catch (error) {
      this.#lookUps.soon(error);
    }
  }

  /** The trial of the loop takes a turn of its own; until then this one looks on. */
  #openLoop(): void {
    if (this.#loopHasToWait) return;
    this.#schedule();
    if (this.#loopIsOpening) return;
    this.#loopIsOpening = true;
    openLoop(this.#selector, () => this.#woken())
      .then((loop) => {
        this.#loop = loop;
        loop.keepAlive(this.#alive > 0);
      })
      .catch((error: unknown) => {
        this.#loopHasToWait = true;
        this.#lookUps.soon(error);
      })
      .finally(() => {
        this.#loopIsOpening = false;
      });
  }

  #woken(): void {
    if (!this.#scheduled) this.run();
  }

  #runDue(): void {
    for (let first = this.#deadlines.first; first !== undefined; first = this.#deadlines.first) {
      const now = monotonic();
      if (first.dueAt > now) break;
      const { dueAt } = first;
      first.due(now);
      // Whoever goes on has set its time anew: else it would come up again at once.
      if (first.place !== -1 && first.dueAt === dueAt) this.#deadlines.delete(first);
    }
    this.#alarm.setAtLatest(this.#deadlines.earliest);
  }

  /** A stand-in tells of an eventfd that has been rung once and never again, as nobody drains it: who has one looks up. */
  #askDoorbells(): void {
    if (!isFallback(this.#selector)) return;
    for (const one of this.#registrations.all())
      if (one.isDoorbell && this.#registrations.at(one.tag) === one) one.owner.ready(READABLE);
  }

  /** The selector that stood in for an epoll set gives way to one as soon as a descriptor is free. */
  #recover(): void {
    if (!isFallback(this.#selector)) return;
    const all = this.#registrations.all();
    let selector: Selector | null = null;
    try {
      selector = openSelector();
      if (isFallback(selector)) return;
      // Edges: what nobody awaits does no harm.
      for (const one of all) add(selector, one, READABLE | WRITABLE);
    } catch (error) {
      // ENOSPC, ENOMEM: all of them or none, and the stand-in goes on until the next look.
      selector?.close();
      if (!(error instanceof SystemError)) throw error;
      return;
    }
    this.#selector.close();
    this.#selector = selector;
    for (const one of all) if (!one.isDoorbell) one.interest = READABLE | WRITABLE;
  }

  #close(): void {
    this.#loop?.close();
    this.#alarm.close();
    this.#selector.close();
  }
}

function add(selector: Selector, { fd, tag, isDoorbell }: Registration, interest: number): void {
  if (isDoorbell) selector.addDoorbell(fd, tag);
  else selector.add(fd, interest, tag);
}

let current: Reactor | null = null;

/** This thread's. */
export function reactor(): Reactor {
  current ??= new Reactor();
  return current;
}

/** For the timers: a closure a turn would be garbage a turn. */
function turnOfTheThread(): void {
  current!.run();
}
