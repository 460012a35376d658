import { monotonic } from "../../ffi/clock.ts";
import { constants } from "../../ffi/platform/index.ts";
import { PollSet } from "../../ffi/poll.ts";
import { READABLE, type Selector, WRITABLE } from "./readiness.ts";

const { POLLIN, POLLOUT } = constants;
/** How often a wait looks up while a doorbell is muted. */
const SLICE = 10;

/**
 * poll(2): level-triggered, needs no descriptor of its own, and costs O(n) a wait, where n is one socket and its
 * doorbells, or what a thread has pending.
 */
export class PollSelector implements Selector {
  readonly edgeTriggered = false;
  version = 0;
  readonly #set = new PollSet();
  /** By descriptor: its place in the set. */
  readonly #places = new Map<number, number>();
  readonly #tags: number[] = [];
  readonly #doorbells = new Set<number>();
  /** What the last wait found, by its own: places change while it is told. */
  readonly #readyTags: number[] = [];
  readonly #readiness: number[] = [];
  #muted = 0;

  add(fd: number, interest: number, tag: number = fd): void {
    // HUP and ERR cannot be masked, only the descriptor can: poll ignores a negative one.
    this.#push(fd, interest === 0 ? ~fd : fd, toEvents(interest), tag);
  }

  modify(fd: number, interest: number, tag: number = fd): void {
    const place = this.#placeOf(fd);
    this.#set.set(place, interest === 0 ? ~fd : fd, toEvents(interest));
    this.#tags[place] = tag;
    this.version++;
  }

  addDoorbell(fd: number, tag: number = fd): void {
    this.#doorbells.add(fd);
    this.#push(fd, fd, POLLIN, tag);
  }

  #push(fd: number, entry: number, events: number, tag: number): void {
    this.#places.set(fd, this.#set.length);
    this.#tags.push(tag);
    this.#set.push(entry, events);
    this.version++;
  }

  delete(fd: number): void {
    const place = this.#placeOf(fd);
    if (this.#doorbells.delete(fd) && this.#set.fdAt(place) < 0) this.#muted--;
    this.#places.delete(fd);
    const last = this.#set.length - 1;
    if (place !== last) {
      this.#places.set(this.#fdAt(last), place);
      this.#tags[place] = this.#tags[last]!;
    }
    this.#tags.pop();
    this.#set.remove(place);
    this.version++;
  }

  wait(deadline: number, interruptible: boolean): number {
    // A bell that rang in an earlier round stays readable, as nobody drains it. It is muted then, and the state behind
    // it is looked at every few milliseconds instead.
    const until = this.#muted === 0 ? deadline : Math.min(deadline, monotonic() + SLICE);
    this.#readyTags.length = this.#readiness.length = 0;
    const count = this.#set.waitUntil(until, interruptible);
    for (let i = 0; this.#readyTags.length < count && i < this.#set.length; i++) {
      const revents = this.#set.reventsAt(i);
      if (revents === 0) continue;
      this.#readyTags.push(this.#tags[i]!);
      this.#readiness.push(toReadiness(revents));
      const fd = this.#set.fdAt(i);
      if (!this.#doorbells.has(fd)) continue;
      this.#set.set(i, ~fd, POLLIN); // poll ignores what is negative
      this.#muted++;
      this.version++;
    }
    return this.#readyTags.length;
  }

  tagAt(index: number): number {
    return this.#readyTags[index]!;
  }

  readinessAt(index: number): number {
    return this.#readiness[index]!;
  }

  copyTo(words: Int32Array): number {
    return this.#set.copyTo(words);
  }

  close(): void {
    this.#set.clear();
    this.#places.clear();
    this.#tags.length = 0;
    this.#doorbells.clear();
    this.#muted = 0;
  }

  /** The descriptor at a place, masked or not. */
  #fdAt(place: number): number {
    const fd = this.#set.fdAt(place);
    return fd < 0 ? ~fd : fd;
  }

  #placeOf(fd: number): number {
    const place = this.#places.get(fd);
    if (place === undefined) throw new Error(`fd ${fd} is not in this selector`);
    return place;
  }
}

function toEvents(interest: number): number {
  return (interest & READABLE ? POLLIN : 0) | (interest & WRITABLE ? POLLOUT : 0);
}

function toReadiness(revents: number): number {
  // Anything else is a failure or a hang-up, for everybody who waits.
  if (revents !== POLLIN && revents !== POLLOUT) return READABLE | WRITABLE;
  return revents === POLLIN ? READABLE : WRITABLE;
}
