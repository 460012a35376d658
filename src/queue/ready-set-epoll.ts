import { Epoll } from "../../ffi/epoll.ts";
import { constants } from "../../ffi/platform/index.ts";
import { SystemError } from "../errors.ts";
import { ledger, own } from "../shared/ledger.ts";
import { DOORBELL, type ReadySet, toEvents, toReady } from "./ready-set.ts";

const { EPOLLET, EPOLLIN } = constants;

/** epoll(7), level-triggered for sources; a doorbell is never drained, and so is edge-triggered. */
export class EpollReadySet implements ReadySet {
  readonly edgeTriggered = true;
  #epoll = open();
  readonly #doorbells = new Set<number>();
  /** By token: what is awaited of plain files and the like, which epoll refuses: they are always ready, as poll(2) has it. */
  readonly #always = new Map<number, number>();
  /** Those of them that the last look has told, behind what epoll found. */
  #told: number[] = [];
  #filesFirst = false;
  #maxEvents = 1;
  #count = 0;
  /** What the last wait found and nobody has looked at; -1: nothing. */
  #found = -1;

  begin(maxEvents: number): void {
    this.#maxEvents = maxEvents;
    this.#found = -1;
  }

  /** For what a `Park` may have of its own; a `Poller`'s has nothing. */
  add(fd: number, interest: number): void {
    this.#epoll.add(fd, EPOLLET | toEvents(interest), DOORBELL);
  }

  modify(fd: number, interest: number): void {
    this.#epoll.modify(fd, EPOLLET | toEvents(interest), DOORBELL);
  }

  addDoorbell(fd: number): void {
    this.#epoll.add(fd, EPOLLIN | EPOLLET, DOORBELL);
    this.#doorbells.add(fd);
  }

  delete(fd: number): void {
    this.#doorbells.delete(fd);
    this.#epoll.delete(fd);
  }

  change(fd: number, token: number, from: number, to: number): void {
    if (from === to) return;
    if (this.#always.delete(token)) {
      if (to !== 0) this.#always.set(token, to);
    } else if (from === 0) {
      this.#insert(fd, token, to);
    } else if (to !== 0) {
      this.#epoll.modify(fd, toEvents(to), token);
    } else {
      this.#remove(fd);
    }
  }

  #insert(fd: number, token: number, interest: number): void {
    try {
      this.#epoll.add(fd, toEvents(interest), token);
    } catch (error) {
      if (!(error instanceof SystemError) || error.code !== "EPERM") throw error;
      this.#always.set(token, interest);
    }
  }

  #remove(fd: number): void {
    if (this.#doorbells.has(fd)) return; // a bare number that was closed before, and is a doorbell's by now
    try {
      this.#epoll.delete(fd);
    } catch (error) {
      // A bare number that was closed before: the kernel has it no more, or has it under no number (see `rebuild`).
      if (!(error instanceof SystemError) || (error.code !== "EBADF" && error.code !== "ENOENT")) throw error;
    }
  }

  wait(deadline: number, interruptible: boolean): number {
    this.#found = -1;
    const until = this.#always.size === 0 ? deadline : Number.NEGATIVE_INFINITY; // something is ready
    this.#found = this.#epoll.waitUntil(until, interruptible, this.#maxEvents);
    return this.#found;
  }

  look(maxEvents: number): number {
    const found = this.#found;
    this.#found = -1;
    // In turns, when not all have room.
    this.#filesFirst = !this.#filesFirst && this.#always.size > 0;
    const room = this.#filesFirst ? maxEvents - this.#always.size : maxEvents;
    if (found !== -1) this.#count = found;
    else this.#count = room > 0 ? this.#epoll.waitUntil(Number.NEGATIVE_INFINITY, false, room) : 0;
    if (this.#always.size === 0) return this.#count;
    this.#told = [...this.#always.keys()].slice(0, Math.max(0, maxEvents - this.#count));
    for (const token of this.#told) {
      const interest = this.#always.get(token)!;
      this.#always.delete(token);
      this.#always.set(token, interest); // the next look begins with the others
    }
    return this.#count + this.#told.length;
  }

  tokenAt(index: number): number {
    return index < this.#count ? this.#epoll.dataAt(index) : this.#told[index - this.#count]!;
  }

  readyAt(index: number): number {
    return index < this.#count
      ? toReady(this.#epoll.eventsAt(index))
      : this.#always.get(this.#told[index - this.#count]!)!;
  }

  /**
   * A descriptor that was closed while a duplicate of it lives stays in the kernel's set and cannot be taken out, as
   * its number is gone; epoll(7), question 6.
   */
  rebuild(members: Iterable<{ readonly fd: number; readonly token: number; readonly interest: number }>): void {
    const old = this.#epoll;
    this.#epoll = open();
    shut(old);
    for (const fd of this.#doorbells) this.#epoll.add(fd, EPOLLIN | EPOLLET, DOORBELL);
    for (const { fd, token, interest } of members) {
      try {
        if (interest !== 0 && !this.#always.has(token)) this.#insert(fd, token, interest);
      } catch (error) {
        if (!(error instanceof SystemError) || error.code !== "EBADF") throw error; // closed by its owner: gone from here
      }
    }
  }

  close(): void {
    shut(this.#epoll);
    this.#doorbells.clear();
    this.#always.clear();
  }
}

function open(): Epoll {
  const epoll = new Epoll();
  own(epoll.fd);
  return epoll;
}

function shut(epoll: Epoll): void {
  ledger().disown(epoll.fd);
  epoll.close();
}
