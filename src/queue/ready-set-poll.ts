import { monotonic } from "../../ffi/clock.ts";
import { fcntl } from "../../ffi/fd.ts";
import { constants } from "../../ffi/platform/index.ts";
import { PollSet } from "../../ffi/poll.ts";
import { DOORBELL, type ReadySet, toEvents, toReady } from "./ready-set.ts";

const { F_GETFD, POLLIN } = constants;
/** How often a wait looks up while a doorbell is muted, in milliseconds. */
const SLICE = 10;

/** poll(2): level-triggered by nature, O(n) a wait, and no descriptor of its own. */
export class PollReadySet implements ReadySet {
  readonly edgeTriggered = false;
  readonly #set = new PollSet();
  /** By index in the set. */
  readonly #tokens: number[] = [];
  #maxEvents = 1;
  /** Where the next look begins, so that those in front do not keep out those behind. */
  #first = 0;
  /** What was found: token and bits, in turns. */
  #found: number[] = [];
  #fresh = false;
  #muted = 0;

  begin(maxEvents: number): void {
    this.#maxEvents = maxEvents;
    this.#fresh = false;
  }

  /** For what a `Park` may have of its own; a `Poller`'s has nothing. */
  add(fd: number, interest: number): void {
    this.#push(fd, toEvents(interest), DOORBELL);
  }

  modify(fd: number, interest: number): void {
    this.#set.set(this.#indexOf(fd, DOORBELL), fd, toEvents(interest));
  }

  addDoorbell(fd: number): void {
    this.#push(fd, POLLIN, DOORBELL);
  }

  #push(fd: number, events: number, token: number): void {
    this.#set.push(fd, events);
    this.#tokens.push(token);
  }

  delete(fd: number): void {
    this.#remove(this.#indexOf(fd, DOORBELL));
  }

  #remove(index: number): void {
    if (this.#set.fdAt(index) < 0) this.#muted--;
    this.#set.remove(index);
    const last = this.#tokens.pop()!;
    if (index < this.#tokens.length) this.#tokens[index] = last;
  }

  change(fd: number, token: number, from: number, to: number): void {
    // HUP and ERR cannot be masked: of what nothing is awaited must not be in the set.
    if (from === to) return;
    if (from === 0) {
      fcntl(fd, F_GETFD); // that it is no descriptor is said now, as epoll_ctl does, and not by an event
      this.#push(fd, toEvents(to), token);
    } else if (to !== 0) this.#set.set(this.#indexOf(fd, token), fd, toEvents(to));
    else this.#remove(this.#indexOf(fd, token));
  }

  wait(deadline: number, interruptible: boolean): number {
    // A doorbell is never drained: one that rang in an earlier round is muted, and the state behind it is looked at
    // every few milliseconds instead.
    const until = this.#muted === 0 ? deadline : Math.min(deadline, monotonic() + SLICE);
    this.#fresh = false;
    const ready = this.#set.waitUntil(until, interruptible);
    this.#collect(ready, this.#maxEvents);
    this.#fresh = true;
    return ready;
  }

  look(maxEvents: number): number {
    if (!this.#fresh) this.#collect(this.#set.waitUntil(Number.NEGATIVE_INFINITY, false), maxEvents);
    this.#fresh = false;
    return this.#found.length / 2;
  }

  /** Takes the results out of the set at once: doorbells come and go there before anybody looks. */
  #collect(ready: number, maxEvents: number): void {
    this.#found.length = 0;
    const count = this.#set.length;
    for (let n = 0, left = ready; n < count && left > 0; n++) {
      const index = (this.#first + n) % count;
      const events = this.#set.reventsAt(index);
      if (events === 0) continue;
      left--;
      const token = this.#tokens[index]!;
      if (token === DOORBELL) {
        this.#set.set(index, ~this.#set.fdAt(index), POLLIN); // poll ignores what is negative
        this.#muted++;
      } else if (this.#found.length < maxEvents * 2) {
        this.#found.push(token, toReady(events));
        if (this.#found.length === maxEvents * 2) this.#first = index + 1;
      }
    }
  }

  tokenAt(index: number): number {
    return this.#found[index * 2]!;
  }

  readyAt(index: number): number {
    return this.#found[index * 2 + 1]!;
  }

  /** Nothing comes of what is not in the set. */
  rebuild(): void {}

  close(): void {
    this.#set.clear();
    this.#tokens.length = 0;
    this.#muted = 0;
  }

  #indexOf(fd: number, token: number): number {
    for (let i = 0; i < this.#tokens.length; i++) {
      if (this.#tokens[i] !== token) continue;
      if (token !== DOORBELL || this.#set.fdAt(i) === fd || this.#set.fdAt(i) === ~fd) return i;
    }
    throw new Error(`fd ${fd} is not in this set`);
  }
}
