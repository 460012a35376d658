/**
 * The blocking wait of one socket (of several, while a connect tries more addresses than one): this thread sleeps in the kernel on the socket and on the doorbells of whatever
 * can cancel the operation. Nothing else may ever block: a Worker that blocks in `read` or `accept` cannot be
 * terminated (measured), one in epoll_wait or poll ends within 5 ms.
 */

import { monotonic } from "../../ffi/clock.ts";
import type { CancelCore } from "../cancel/core.ts";
import { type DoorbellWatcher, doorbellCount } from "../cancel/follower.ts";
import { SystemError } from "../errors.ts";
import type { Selector } from "./readiness.ts";
import { isFallback, openSelector } from "./selector.ts";

/** Milliseconds between two looks of a wait that is blind to a doorbell. */
const LOOK_UP = 10;

/** What a park needs of a selector. */
export type ParkSelector = Pick<
  Selector,
  "edgeTriggered" | "add" | "modify" | "addDoorbell" | "delete" | "wait" | "close"
>;

export class Park implements DoorbellWatcher {
  readonly #fds: number[];
  /** How many of them, from the front, stand in the selector. */
  #registered = 0;
  #selector: ParkSelector | null = null;
  /** What they are registered for. */
  #interest = 0;
  /** The sources whose doorbells stand in the selector, and the descriptor of each. */
  readonly #watched = new Map<CancelCore, number>();
  // What `#watched` was made from, so that a wait like the last one compares three values and goes to sleep.
  #first: CancelCore | null = null;
  #second: CancelCore | null = null;
  #doorbells = -1;
  /** A doorbell that could not be put up: look up every few milliseconds instead. */
  #blind = false;

  constructor(...fds: number[]) {
    this.#fds = fds;
  }

  /** One that sleeps in a selector of the caller's, and only puts the doorbells there. */
  static around(selector: ParkSelector): Park {
    const park = new Park();
    park.#selector = selector;
    return park;
  }

  /** One more to wait for. */
  add(fd: number): void {
    this.#fds.push(fd);
  }

  /** One less; before it is closed. */
  delete(fd: number): void {
    const index = this.#fds.indexOf(fd);
    if (index === -1) return;
    this.#fds.splice(index, 1);
    if (index >= this.#registered) return;
    this.#registered--;
    this.#selector?.delete(fd);
  }

  /**
   * Gets ready to sleep until a socket may be ready for `interest` or a doorbell of the two lines rings. True: a
   * doorbell is new, and the caller has to look at the states once more, as it may have missed the ring.
   */
  arm(interest: number, first: CancelCore | null, second: CancelCore | null): boolean {
    const selector = this.#open(interest);
    if (first === this.#first && second === this.#second && doorbellCount() === this.#doorbells) return false;
    this.#watchLines(selector, first, second);
    return true;
  }

  /** Sleeps until then, or until `deadline` passes; and now and then for no reason. */
  sleep(deadline: number, interruptible: boolean): void {
    try {
      this.#selector!.wait(this.#blind ? Math.min(deadline, monotonic() + LOOK_UP) : deadline, interruptible);
    } finally {
      this.disarm();
    }
  }

  /** Doorbells that serve one wait go when it is over. */
  disarm(): void {
    this.#blind = false;
    for (const core of this.#watched.keys()) if (core.bell?.perWait) this.#unwatch(core);
  }

  #open(interest: number): ParkSelector {
    if (this.#selector === null || isFallback(this.#selector)) {
      // Perhaps a descriptor is free by now. If not, the stand-in stays: it knows which doorbells have rung already.
      const selector = openSelector();
      if (this.#selector === null || !isFallback(selector)) {
        this.close();
        this.#selector = selector;
      }
    }
    const selector = this.#selector!;
    if (this.#registered === 0) {
      this.#interest = interest;
    } else if (
      selector.edgeTriggered && interest !== 0 ? (this.#interest & interest) !== interest : this.#interest !== interest
    ) {
      // An edge that nobody waits for is one wake-up too many at most, so an interest only grows, until nothing is to
      // wake this thread at all; a level has to be exact.
      this.#interest = selector.edgeTriggered && interest !== 0 ? this.#interest | interest : interest;
      for (let i = 0; i < this.#registered; i++) selector.modify(this.#fds[i]!, this.#interest);
    }
    while (this.#registered < this.#fds.length) {
      selector.add(this.#fds[this.#registered]!, this.#interest);
      this.#registered++;
    }
    return selector;
  }

  #watchLines(selector: ParkSelector, first: CancelCore | null, second: CancelCore | null): void {
    for (const core of this.#watched.keys()) {
      if (!first?.line.includes(core) && !second?.line.includes(core)) this.#unwatch(core);
    }
    for (const line of [first?.line, second?.line]) {
      for (const core of line ?? []) {
        if (core.bell === null || this.#watched.has(core)) continue;
        let fd = -1;
        try {
          fd = core.bell.enter();
          if (fd !== -1) selector.addDoorbell(fd);
        } catch (error) {
          // No descriptor, or (ENOSPC, ENOMEM) no place in the set: the next wait tries again.
          if (!(error instanceof SystemError)) throw error;
          if (fd !== -1) core.bell.leave();
          fd = -1;
        }
        if (fd === -1) {
          this.#blind = true;
          continue;
        }
        this.#watched.set(core, fd);
        core.watch(this);
      }
    }
    this.#first = first;
    this.#second = second;
    // A doorbell that serves one wait, or was not to be had, is looked for again before the next.
    const again = this.#blind || this.#watched.keys().some((core) => core.bell?.perWait);
    this.#doorbells = again ? -1 : doorbellCount();
  }

  #unwatch(core: CancelCore): void {
    core.unwatch(this);
    this.forget(core);
  }

  /** The doorbell of `core` is about to go. */
  forget(core: CancelCore): void {
    const fd = this.#watched.get(core);
    if (fd === undefined) return;
    this.#watched.delete(core);
    this.#selector?.delete(fd);
    core.bell?.leave();
    this.#doorbells = -1;
  }

  /** Before the sockets' own descriptors are closed. A later wait starts anew. */
  close(): void {
    for (const core of this.#watched.keys()) this.#unwatch(core);
    this.#registered = 0;
    this.#selector?.close();
    this.#selector = null;
  }
}
