/** One timer for all deadlines of a thread: a timerfd in the selector where there is one, else a checked `setTimeout`. */
import { monotonic } from "../../ffi/clock.ts";
import { TimerFd } from "../../ffi/timerfd.ts";
import { usePoll } from "../backend.ts";
import { SystemError } from "../errors.ts";
import { closeOwned, own } from "../shared/ledger.ts";
import { LONGEST_TIMER } from "../when.ts";
import type { Reactor } from "./reactor.ts";
import { READABLE } from "./readiness.ts";
import type { Ready, Registration } from "./registrations.ts";

const NEVER = Number.POSITIVE_INFINITY;

export class Alarm implements Ready {
  readonly #reactor: Reactor;
  readonly #ring: () => void;
  #timer: TimerFd | null = null;
  #registration: Registration | null = null;
  #timeout: ReturnType<typeof setTimeout> | undefined;
  /** When it goes off. */
  #at = NEVER;

  constructor(reactor: Reactor, ring: () => void) {
    this.#reactor = reactor;
    this.#ring = ring;
  }

  /**
   * Goes off at the `monotonic()` time `at`, or earlier: one that is set for an earlier time is left alone, as a look too
   * many costs less than a system call for each deadline that moves.
   */
  setAtLatest(at: number): void {
    if (at >= this.#at) return;
    this.#at = at;
    if (this.#timer === null && !usePoll) this.#open();
    if (this.#timer !== null) {
      this.#timer.set(at);
      return;
    }
    clearTimeout(this.#timeout);
    // Never early: it is asked again then. It keeps no process alive: whoever waits does.
    this.#timeout = setTimeout(() => this.#go(), Math.min(Math.max(at - monotonic(), 0) + 1, LONGEST_TIMER)).unref();
  }

  #open(): void {
    try {
      this.#timer = new TimerFd();
      own(this.#timer.fd);
      this.#registration = this.#reactor.register(this.#timer.fd, this, READABLE);
    } catch (error) {
      this.close();
      if (!(error instanceof SystemError)) throw error; // no descriptor is free: this time it is a timeout
    }
  }

  ready(): void {
    if (this.#timer!.read()) this.#go();
  }

  #go(): void {
    this.#at = NEVER;
    this.#ring();
  }

  close(): void {
    if (this.#timer === null) return;
    if (this.#registration !== null) this.#reactor.unregister(this.#registration);
    this.#registration = null;
    closeOwned(this.#timer.fd);
    this.#timer = null;
  }
}
