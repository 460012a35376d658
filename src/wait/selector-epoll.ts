import { Epoll } from "../../ffi/epoll.ts";
import { constants } from "../../ffi/platform/index.ts";
import { ledger, own } from "../shared/ledger.ts";
import { READABLE, type Selector, WRITABLE } from "./readiness.ts";

const { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, POLLIN } = constants;
/** What wakes readers and writers; a failure and a hang-up wake both (netpoll_epoll.go of Go has the same rule). */
const WAKES_READERS = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
const WAKES_WRITERS = EPOLLOUT | EPOLLHUP | EPOLLERR;
/** Events that one look takes: as many as a busy server has ready at once, in 6 KiB. */
const MAX_EVENTS = 512;

/**
 * epoll(7), edge-triggered: a registration is made once and never re-armed, a rung doorbell keeps nothing ready, and
 * HUP and ERR, which cannot be masked, do not make it spin. The price is the rule that every wait follows an EAGAIN.
 */
export class EpollSelector implements Selector {
  readonly edgeTriggered = true;
  readonly version = 0;
  readonly #epoll = new Epoll();

  constructor() {
    own(this.#epoll.fd);
  }

  /** An epoll descriptor can be watched itself: it is readable when it has events. */
  get fd(): number {
    return this.#epoll.fd;
  }

  add(fd: number, interest: number, tag: number = fd): void {
    this.#epoll.add(fd, toEvents(interest), tag);
  }

  modify(fd: number, interest: number, tag: number = fd): void {
    this.#epoll.modify(fd, toEvents(interest), tag);
  }

  addDoorbell(fd: number, tag: number = fd): void {
    this.#epoll.add(fd, EPOLLIN | EPOLLET, tag);
  }

  delete(fd: number): void {
    this.#epoll.delete(fd);
  }

  wait(deadline: number, interruptible: boolean): number {
    // A look takes all that is there; a sleep needs the news that there is something.
    return this.#epoll.waitUntil(deadline, interruptible, deadline === Number.NEGATIVE_INFINITY ? MAX_EVENTS : 8);
  }

  tagAt(index: number): number {
    return this.#epoll.dataAt(index);
  }

  readinessAt(index: number): number {
    const events = this.#epoll.eventsAt(index);
    return (events & WAKES_READERS ? READABLE : 0) | (events & WAKES_WRITERS ? WRITABLE : 0);
  }

  copyTo(words: Int32Array): number {
    words[0] = this.#epoll.fd;
    words[1] = POLLIN;
    return 1;
  }

  close(): void {
    ledger().disown(this.#epoll.fd);
    this.#epoll.close();
  }
}

function toEvents(interest: number): number {
  return EPOLLET | (interest & READABLE ? EPOLLIN | EPOLLRDHUP : 0) | (interest & WRITABLE ? EPOLLOUT : 0);
}
