/**
 * A promise operation that waits: what can end it, and that it ends exactly once. Whatever it is registered with, it
 * leaves when it ends, however it does.
 */
import type { CancelCore } from "../cancel/core.ts";
import { TimeoutError } from "../errors.ts";
import type { Timed } from "./deadline-heap.ts";
import { cancelledBy, type Entry, expireSources, nextDeadline } from "./entry.ts";
import { reactor } from "./reactor.ts";
import { watchOf } from "./source-watch.ts";

const NEVER = Number.POSITIVE_INFINITY;

type Settle = (value: unknown) => void;
const nobody: Settle = () => {};
let resolveNext = nobody;
let rejectNext = nobody;
/** One executor for all promises: a closure for each would be garbage for each. */
function capture(resolve: Settle, reject: Settle): void {
  resolveNext = resolve;
  rejectNext = reject;
}

export abstract class Operation<R> implements Timed {
  readonly promise: Promise<R>;
  readonly name: string;
  #entry: Entry;
  readonly #resolve: Settle;
  readonly #reject: Settle;
  /** A step is under way: whatever comes meanwhile is seen after it, as a system call that succeeded wins. */
  protected stepping = false;
  settled = false;
  #keepsAlive: boolean;
  dueAt = NEVER;
  place = -1;

  constructor(name: string, entry: Entry, keepsAlive: boolean) {
    this.promise = new Promise<R>(capture as never);
    this.#resolve = resolveNext;
    this.#reject = rejectNext;
    this.name = name;
    this.#entry = entry;
    this.#keepsAlive = keepsAlive;
    reactor().enter(keepsAlive);
    this.#join(entry.source);
    this.#join(entry.own);
    entry.signal?.join(this);
  }

  /** Retained: a source that is dropped, or disposed, while something waits on it can still be cancelled elsewhere. */
  #join(source: CancelCore | null): void {
    if (source !== null) watchOf(source.retain()).join(this);
  }

  #leave(source: CancelCore | null): void {
    if (source === null) return;
    watchOf(source).leave(this);
    source.release();
  }

  /** Does what of its work can be done now. */
  protected abstract look(): void;

  /** It is over: leaves whatever it stands in beyond what is known here. */
  protected abstract leave(): void;

  /** The deadline of the object that it works on, and of the next try that is not for the kernel to tell. */
  protected abstract get targetDeadline(): number;
  protected abstract get wakeAt(): number;

  /** Puts into an error what got done before it. */
  protected abstract describe(error: unknown): void;

  /** The object has got a source of its own while it waits. */
  joinOwn(own: CancelCore): void {
    this.#entry = { ...this.#entry, own, ownRound: own.round };
    this.#join(own);
  }

  /** True if it is over: its signal or a source has ended it or, unless `now` is 0, a deadline that has passed by then. */
  protected isOver(now: number): boolean {
    const entry = this.#entry;
    if (entry.signal?.aborted) {
      this.#abort(entry.signal.reason);
      return true;
    }
    if (now !== 0) expireSources(entry, now);
    const error = cancelledBy(entry, this.name);
    if (error !== null) this.fail(error);
    else if (now !== 0 && Math.min(entry.until, this.targetDeadline) <= now) this.fail(new TimeoutError(this.name));
    return this.settled;
  }

  /** Whether the process stays for it. */
  setKeepsAlive(on: boolean): void {
    if (on === this.#keepsAlive) return;
    this.#keepsAlive = on;
    if (on) reactor().hold();
    else reactor().letGo();
  }

  /** Ends it if its signal or a source has ended it. */
  check(): void {
    if (!this.stepping && !this.settled) this.isOver(0);
  }

  /** When the next look is due that no event announces. */
  reschedule(): void {
    if (this.settled) return;
    reactor().setDeadline(this, Math.min(nextDeadline(this.#entry), this.targetDeadline, this.wakeAt));
  }

  /** First the system call, and only if that would block, the deadline. */
  due(now: number): void {
    this.look();
    if (!this.settled && !this.isOver(now)) this.reschedule();
  }

  succeed(value: R): void {
    if (this.#end()) this.#resolve(value);
  }

  fail(error: unknown): void {
    if (!this.#end()) return;
    this.describe(error);
    this.#reject(error);
  }

  /** Rejects with what is not ours to change. */
  #abort(reason: unknown): void {
    if (this.#end()) this.#reject(reason);
  }

  #end(): boolean {
    if (this.settled) return false;
    this.settled = true;
    reactor().setDeadline(this, NEVER);
    this.#leave(this.#entry.source);
    this.#leave(this.#entry.own);
    this.#entry.signal?.leave(this);
    this.leave();
    reactor().leave(this.#keepsAlive);
    return true;
  }
}
