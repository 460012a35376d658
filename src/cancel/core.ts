/**
 * A source as this thread knows it: the state that threads share, the doorbell, and who here leans on it. Every
 * `CancelSource` object of one thread that stands for the same source shares one core.
 */
import { monotonic } from "../../ffi/clock.ts";
import { CancelledError, TimeoutError } from "../errors.ts";
import { Bell, openBell, ringBell } from "../shared/doorbell.ts";
import { Shared } from "../shared/holds.ts";
import { BELL, type Ending, SourceState } from "../shared/state.ts";
import { countDoorbell, type DoorbellWatcher, type Follower, follow } from "./follower.ts";
import { type CancelHandle, kind, type SourceHandle } from "./handle.ts";
import { describeReason, Reasons } from "./reasons.ts";

/** The cores of this thread that are shared, by address. */
const known = new Map<number, CancelCore>();

export class CancelCore {
  /** All ancestors and this source, each once, nobody before its parents. */
  readonly line: readonly CancelCore[];
  readonly #parents: readonly CancelCore[];
  readonly #state: SourceState;
  readonly #deadline: number;
  /** Whether anything in the line has a timeout, so that everybody else is spared the clock. */
  readonly #timed: boolean;
  #shared: Shared | null = null;
  #handle: SourceHandle | undefined;
  /** What waiters of this thread watch; null before the source was shared, as no other thread can ring then. */
  bell: Bell | null = null;
  #watchers: Set<DoorbellWatcher> | undefined;
  follower: Follower | null = null;
  #observers: Set<() => void> | undefined;
  /** For the core that stands for an AbortSignal: called when nobody here leans on it any more. */
  onLetGo: (() => void) | null = null;
  /** The objects and child cores of this thread that lean on this one. */
  #references = 1;
  #reasons: Reasons | undefined;

  private constructor(parents: readonly CancelCore[], state: SourceState) {
    this.#parents = parents;
    this.#state = state;
    this.#deadline = state.deadline;
    this.line = parents.length === 0 ? [this] : [...new Set([...parents.flatMap((parent) => parent.line), this])];
    this.#timed = this.line.some((core) => core.#deadline !== Number.POSITIVE_INFINITY);
  }

  /** A new source. `deadline`: a `monotonic()` time. */
  static create(parents: readonly CancelCore[] = [], deadline: number = Number.POSITIVE_INFINITY): CancelCore {
    const core = new CancelCore(parents, SourceState.create(parents.length, deadline));
    for (const [index, parent] of parents.entries()) core.#state.noteFirst(index, parent.retain().#state);
    return core;
  }

  /** The source behind a handle. Throws `TypeError` for what is no handle, `ClosedError` if its last holder has let go. */
  static from(handle: CancelHandle): CancelCore {
    const data = handle as unknown as SourceHandle; // a brand for the user, data for us
    const here = known.get(Shared.find(data, kind));
    if (here !== undefined) return here.retain();
    if (!Array.isArray(data.parents)) throw new TypeError("not the handle of a CancelSource");
    const shared = Shared.take(data, kind);
    const parents: CancelCore[] = [];
    try {
      for (const parent of data.parents) parents.push(CancelCore.from(parent as unknown as CancelHandle));
    } catch (error) {
      shared.release();
      for (const parent of parents) parent.release();
      throw error;
    }
    const core = new CancelCore(parents, SourceState.attach(shared.payload));
    core.#become(shared, data);
    return core;
  }

  /** Makes the source reachable from other threads: its memory, and the doorbells of its whole line. Throws `SystemError`. */
  share(): CancelHandle {
    if (this.#handle === undefined) {
      const { round } = this;
      const text = this.#reasons?.has(round) ? describeReason(this.#reasons.get(round)) : undefined;
      // That was code of users (toString), which may have shared it.
      if (this.#handle !== undefined) return this.#handle as unknown as CancelHandle;
      const parents = this.#parents.map((parent) => parent.share() as unknown as SourceHandle);
      const bell = openBell();
      try {
        const shared = Shared.create(kind, this.#state.size + bell.words);
        this.#state.moveTo(shared.payload);
        shared.payload[BELL] = bell.word;
        if (this.#state.marked(round)) this.#state.publishReason(round, text);
        this.#become(shared, { ...shared.publish(), parents });
      } catch (error) {
        bell.close();
        throw error;
      }
      bell.share();
    }
    return this.#handle as unknown as CancelHandle;
  }

  #become(shared: Shared, handle: SourceHandle): void {
    this.#shared = shared;
    this.#handle = handle;
    this.bell = new Bell(shared);
    known.set(shared.address, this);
    countDoorbell();
    this.follower?.shared();
  }

  /** `observer` is called when this thread cancels the source itself (not an ancestor). */
  observe(observer: () => void): void {
    this.#observers ??= new Set();
    this.#observers.add(observer);
  }

  unobserve(observer: () => void): void {
    this.#observers?.delete(observer);
  }

  signal(holder: object): AbortSignal {
    return follow(this).signal(holder);
  }

  watch(watcher: DoorbellWatcher): void {
    this.#watchers ??= new Set();
    this.#watchers.add(watcher);
  }

  unwatch(watcher: DoorbellWatcher): void {
    this.#watchers?.delete(watcher);
  }

  get round(): number {
    return this.#state.round;
  }

  /**
   * How `round` of this source ended; null: it goes on. Words only, no clock. Ancestors come before their descendants: a
   * reset opens the next round only after it has noted its parents anew, so whoever misses the one sees the other.
   */
  ending(round: number): Ending {
    const inherited = this.line.length === 1 ? null : this.#inherited();
    return this.#state.ending(round) ?? inherited;
  }

  #inherited(): Ending {
    for (const core of this.line) {
      for (let i = 0; i < core.#parents.length; i++) {
        const ending = core.#state.inherited(i, core.#parents[i]!.#state);
        if (ending !== null) return ending;
      }
    }
    return null;
  }

  /** `ending` of a round, the present one unless given, once timeouts that have passed are marked. */
  now(round: number = this.round): Ending {
    if (this.#timed) this.expire(monotonic());
    return this.ending(round);
  }

  /** When the line's next timeout ends it; Infinity: none does. */
  get deadline(): number {
    let next = Number.POSITIVE_INFINITY;
    if (this.#timed) {
      for (const core of this.line) if (core.#deadline < next && core.#state.timeoutRuns) next = core.#deadline;
    }
    return next;
  }

  /** Marks what in the line has timed out by `now`. No bell: every waiter has the same deadline in its own wait. */
  expire(now: number): void {
    for (const core of this.line) if (core.#deadline <= now) core.#state.expire();
  }

  /** True for the call that ended the round. */
  cancel(reason?: unknown): boolean {
    if (this.now() !== null) return false;
    // Before the mark, as it is code of users (toString), which may do anything: dispose this source, or cancel it.
    const text = describeReason(reason);
    if (this.#references <= 0 || this.now() !== null) return false;
    const round = this.#state.mark();
    if (round === -1) return false;
    this.#remember(round, reason, text);
    if (this.#shared !== null) ringBell(this.#shared); // after the mark: a waiter that wakes finds the word
    for (const observer of this.#observers ?? []) observer();
    this.follower?.ended(); // last: it may run code of users
    return true;
  }

  /** Opens the next round if this one is over. What noted the old one stays cancelled. */
  reset(): void {
    if (this.#timed) this.expire(monotonic());
    for (;;) {
      const round = this.#state.round;
      const ending = this.ending(round);
      if (ending === null) {
        if (this.#state.lift(round)) return;
        continue;
      }
      // Once over, a round stays over: whatever other threads do, the steps below are right for as long as it lasts.
      if (!this.#state.marked(round)) this.#remember(round, this.reason(round));
      let noted = true;
      for (let i = 0; i < this.#parents.length; i++) {
        noted = this.#state.noteFor(round, i, this.#parents[i]!.#state) && noted;
      }
      // If another thread was at it too, its notes may be older than this call: look once more.
      if (!this.#state.next(round, ending) || !noted) continue;
      this.follower?.ended();
      return;
    }
  }

  /** Ends up in every thread: here as it is, elsewhere as text. */
  #remember(round: number, reason: unknown, text = describeReason(reason)): void {
    this.#keep(round, reason);
    this.#state.publishReason(round, text);
  }

  #keep(round: number, reason: unknown): void {
    this.#reasons ??= new Reasons();
    this.#reasons.keep(round, reason);
  }

  /**
   * Why `round` is over: the object given in this thread, the string form of one given in another; a `TimeoutError` if
   * it timed out. Its own reason if it was cancelled itself, and else that of the ancestor that was.
   */
  reason(round: number): unknown {
    if (this.#reasons?.has(round)) return this.#reasons.get(round);
    const ending = this.ending(round);
    if (ending === null) return undefined;
    const reason = ending === "timed out" ? new TimeoutError("the source") : this.#findReason(round);
    this.#keep(round, reason);
    return reason;
  }

  #findReason(round: number): unknown {
    if (this.#state.ending(round) !== null) return this.#state.readReason(round);
    for (const core of this.line) {
      if (core !== this && core.#state.marked(core.round)) return core.reason(core.round);
    }
    for (const core of this.line) {
      for (const [index, parent] of core.#parents.entries()) {
        if (core.#state.inherited(index, parent.#state) !== null) return parent.reason(core.#state.noted(index));
      }
    }
    return undefined;
  }

  /** The error of an operation that noted `round`, or null if it may go on. */
  error(round: number, operation: string): CancelledError | TimeoutError | null {
    const ending = this.ending(round);
    if (ending === null) return null;
    return ending === "timed out" ? new TimeoutError(operation) : new CancelledError(operation, this.reason(round));
  }

  /** A hold for whoever comes with the ticket of a detached socket. */
  holdFor(ticket: number): void {
    this.#shared?.holdFor(ticket);
  }

  releaseFor(ticket: number): void {
    this.#shared?.releaseFor(ticket);
  }

  /** Whether other threads can reach it: then there are a doorbell, and memory to give back. */
  get isShared(): boolean {
    return this.#handle !== undefined;
  }

  /** Whether something other than a call of `cancel` can end it: a timeout in the line, or an AbortSignal. */
  get endsByItself(): boolean {
    return this.#timed || this.line.some((core) => core.onLetGo !== null);
  }

  retain(): this {
    this.#references++;
    return this;
  }

  /**
   * This thread needs it once less; true if it needed a doorbell, and needs it no more. The last thread to let go closes
   * it.
   */
  release(): boolean {
    if (--this.#references > 0) return false;
    this.onLetGo?.();
    this.follower?.letGo();
    if (this.#shared !== null) {
      // Out of every selector first: once the hold is gone, the number may be a stranger's, and the memory too.
      for (const watcher of this.#watchers ?? []) watcher.forget(this);
      known.delete(this.#shared.address);
      this.reason(this.round); // remembered, as the text of another thread goes with the memory
      this.#state.leave();
      this.bell = null;
      this.#shared.release();
    }
    for (const parent of this.#parents) parent.release();
    return this.#handle !== undefined;
  }
}
