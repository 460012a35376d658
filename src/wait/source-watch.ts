/**
 * A source and what waits on it on the promise side of this thread. A cancel of this thread comes as a call; one of
 * another thread comes by the doorbell, which stands in the reactor once a source, however many operations wait.
 *
 * Children look at their ancestors' words, so a watch that has something waiting is told of every ring of its line.
 */
import type { CancelCore } from "../cancel/core.ts";
import { type Follower, setFollow } from "../cancel/follower.ts";
import { SystemError } from "../errors.ts";
import type { Timed } from "./deadline-heap.ts";
import type { Blind } from "./look-ups.ts";
import { reactor } from "./reactor.ts";
import { READABLE } from "./readiness.ts";
import type { Ready, Registration } from "./registrations.ts";

const NEVER = Number.POSITIVE_INFINITY;

interface Waiting {
  /** Ends if a cancel has ended it. */
  check(): void;
}

/** The AbortSignal of one round. */
interface RoundSignal {
  readonly round: number;
  readonly controller: AbortController;
}

export class SourceWatch implements Ready, Blind, Timed, Follower {
  readonly #core: CancelCore;
  readonly #waiting = new Set<Waiting>();
  /** The watches that have this source in their line and something waiting. */
  readonly #dependents = new Set<SourceWatch>();
  #doorbell: Registration | null = null;
  #signal: RoundSignal | null = null;
  /**
   * The objects that handed it out: none of them is to be collected before the signal has aborted, unless it is disposed.
   * Whatever can still end the source leads here: what is shared, a parent, a deadline.
   */
  readonly #holders = new Set<object>();
  /** The signal is out, and has not aborted. */
  #signalRuns = false;
  dueAt = NEVER;
  place = -1;

  constructor(core: CancelCore) {
    this.#core = core;
    core.follower = this;
  }

  join(operation: Waiting): void {
    const idle = this.#isIdle;
    this.#waiting.add(operation);
    if (idle) this.#follow();
  }

  leave(operation: Waiting): void {
    this.#waiting.delete(operation);
    if (this.#isIdle) this.#unfollow();
  }

  get #isIdle(): boolean {
    return this.#waiting.size === 0 && !this.#signalRuns;
  }

  /** The signal of the present round: the same one each time. `holder` is kept from being collected until it aborts. */
  signal(holder: object): AbortSignal {
    while (this.#signal?.round !== this.#core.round) {
      if (this.#signalRuns)
        this.#endSignal(); // runs code of users, which may ask for the next one itself
      else this.#openSignal(this.#core.round);
    }
    if (this.#signalRuns) this.#holders.add(holder); // each of them: the others may be disposed first
    return this.#signal!.controller.signal;
  }

  unhold(holder: object): void {
    this.#holders.delete(holder);
  }

  #openSignal(round: number): void {
    const controller = new AbortController();
    const idle = this.#isIdle;
    this.#signal = { round, controller };
    if (this.#core.now(round) !== null) {
      controller.abort(this.#core.reason(round));
      return;
    }
    this.#signalRuns = true;
    reactor().enter(false);
    reactor().setDeadline(this, this.#core.deadline);
    if (idle) this.#follow();
    this.#checkSignal(); // a pipe that was only just put up may have missed the ring
  }

  /** Aborts the signal if its round is over. Runs the listeners of users. */
  #checkSignal(): void {
    if (this.#signalRuns && this.#core.ending(this.#signal!.round) !== null) this.#endSignal();
  }

  #endSignal(): void {
    const { round, controller } = this.#signal!;
    this.#retireSignal();
    controller.abort(this.#core.reason(round));
  }

  #retireSignal(): void {
    if (!this.#signalRuns) return;
    this.#signalRuns = false;
    this.#holders.clear();
    reactor().setDeadline(this, NEVER);
    reactor().leave(false);
    if (this.#isIdle) this.#unfollow();
  }

  #follow(): void {
    for (const core of this.#core.line) {
      const watch = watchOf(core);
      watch.#dependents.add(this);
      watch.#listen();
    }
  }

  #unfollow(): void {
    for (const core of this.#core.line) {
      const watch = watchOf(core);
      watch.#dependents.delete(this);
      // An eventfd stays where it is for the next operation; a pipe serves one wait.
      if (watch.#dependents.size === 0) watch.#stopListening(false);
    }
  }

  /** Puts the doorbell up, if there is one. A ring before that is missed if it is a pipe: look at the words once more. */
  #listen(): void {
    const { bell } = this.#core;
    if (bell === null || this.#doorbell !== null) return;
    let fd = -1;
    try {
      fd = bell.enter();
      if (fd !== -1) this.#doorbell = reactor().register(fd, this, READABLE, true);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (fd !== -1) bell.leave();
    }
    reactor().setBlind(this, this.#doorbell === null);
  }

  #stopListening(forGood: boolean): void {
    const { bell } = this.#core;
    reactor().setBlind(this, false);
    if (this.#doorbell === null || !(forGood || bell!.perWait)) return;
    reactor().unregister(this.#doorbell);
    this.#doorbell = null;
    bell!.leave();
  }

  /** Ends what is over in the line, operations first: what listens to a signal is code of users, which may do anything. */
  #rung(): void {
    for (const dependent of this.#dependents) dependent.#checkOperations();
    for (const dependent of [...this.#dependents]) dependent.#checkSignal();
  }

  #checkOperations(): void {
    for (const operation of this.#waiting) operation.check();
  }

  /** The doorbell. */
  ready(): void {
    if (this.#core.bell!.perWait) this.#stopListening(true);
    this.#rung();
    if (this.#doorbell === null) this.#listenAgain();
  }

  lookUp(): void {
    this.#rung();
    this.#listenAgain();
  }

  #listenAgain(): void {
    if (this.#dependents.size === 0) return;
    this.#listen();
    this.#rung();
  }

  due(now: number): void {
    this.#core.expire(now);
    this.#checkSignal();
    if (this.#signalRuns) reactor().setDeadline(this, this.#core.deadline);
  }

  ended(): void {
    this.#rung();
  }

  shared(): void {
    if (this.#dependents.size > 0) this.#listen();
  }

  letGo(): void {
    this.#retireSignal();
    this.#stopListening(true);
  }
}

setFollow((core) => new SourceWatch(core));

/** The watch of a source; every follower is one. */
export function watchOf(core: CancelCore): SourceWatch {
  return (core.follower as SourceWatch | null) ?? new SourceWatch(core);
}
