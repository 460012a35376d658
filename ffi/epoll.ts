import { monotonic } from "./clock.ts";
import { checkFd, Descriptor, opened } from "./fd.ts";
import { libc } from "./libc.ts";
import { scratchWords, writeUint64 } from "./memory.ts";
import { constants, structs } from "./platform/index.ts";
import { lastError } from "./system-error.ts";
import { waitUntil } from "./wait.ts";

const { EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD } = constants;

// In 32-bit words: 3 an event on x86-64, where the struct is packed, 4 elsewhere.
const stride = (structs.epoll_event?.size ?? 0) / 4;
const dataWord = (structs.epoll_event?.fields.data[0] ?? 0) / 4;
const oneEvent = scratchWords(4);

/** One event of `Epoll.wait`. */
export interface EpollEvent {
  /** What is ready: `EPOLLIN | EPOLLHUP`, … */
  events: number;
  /** The `data` of its registration. */
  data: number;
}

/**
 * A set of file descriptors and what is awaited of each; epoll(7). Linux only. Its own `fd` can be watched, too: it is
 * readable when the set has events. `close` closes the set, not what is in it.
 *
 * ```ts
 * using epoll = new Epoll();
 * epoll.add(fd, EPOLLIN | EPOLLET);
 * for (const { events, data } of epoll.wait(64, 1000)) console.log(`fd ${data} is ready: ${events}`);
 * ```
 */
export class Epoll extends Descriptor {
  #events = scratchWords(8 * stride);
  #maxEvents = 8;

  /**
   * An empty set, close-on-exec. Throws `SystemError`: `EMFILE` if no descriptor is free, `ENOSYS` where the kernel is
   * not Linux. epoll_create1(2).
   */
  constructor() {
    super(opened(libc.epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
  }

  /**
   * Registers `fd` for `events` (`EPOLLIN | EPOLLET`, …). `data` (0 to 2^53 - 1; `fd` unless given) comes back with its
   * events. Throws `TypeError` or `RangeError` for what is no descriptor or no such number, and `SystemError`: `EEXIST`
   * if it is there already, `EPERM` if it cannot be awaited (a regular file). epoll_ctl(2).
   */
  add(fd: number, events: number, data: number = fd): void {
    this.#control(EPOLL_CTL_ADD, fd, events, data);
  }

  /**
   * Changes what is awaited of `fd`, and re-arms an edge-triggered registration. Throws as `add` does, and `ENOENT` if
   * it is not there. epoll_ctl(2).
   */
  modify(fd: number, events: number, data: number = fd): void {
    this.#control(EPOLL_CTL_MOD, fd, events, data);
  }

  /**
   * Takes `fd` out. Do so before closing it: while a duplicate lives, a closed descriptor cannot be removed. Throws
   * `TypeError`, and `SystemError`: `ENOENT` if it is not there. epoll_ctl(2).
   */
  delete(fd: number): void {
    this.#control(EPOLL_CTL_DEL, fd, 0, 0);
  }

  #control(operation: number, fd: number, events: number, data: number): void {
    checkFd(fd);
    if (!Number.isSafeInteger(data) || data < 0)
      throw new RangeError(`data is an integer from 0 to 2^53 - 1, not ${data}`);
    oneEvent[0] = events;
    writeUint64(oneEvent, dataWord, data);
    if (libc.epoll_ctl(this.fd, operation, fd, oneEvent) === -1) throw lastError("epoll_ctl");
  }

  /**
   * Sleeps until something is ready, `timeout` milliseconds at most (a fraction is honoured; -1, or none: for ever; 0:
   * not at all) and returns what is, `maxEvents` (1 or more) at most; an empty array on timeout. A signal does not end
   * it. Throws `RangeError` for what is no such number, and `SystemError`: `EBADF` once it is closed. epoll_wait(2).
   */
  wait(maxEvents: number, timeout = -1): EpollEvent[] {
    if (!Number.isInteger(maxEvents) || maxEvents < 1) throw new RangeError(`maxEvents is 1 or more, not ${maxEvents}`);
    if (Number.isNaN(timeout)) throw new RangeError("timeout is milliseconds, or -1 for ever, not NaN");
    const deadline =
      timeout < 0 ? Number.POSITIVE_INFINITY : timeout === 0 ? Number.NEGATIVE_INFINITY : monotonic() + timeout;
    const ready: EpollEvent[] = [];
    const count = this.waitUntil(deadline, false, maxEvents);
    for (let i = 0; i < count; i++) ready.push({ events: this.eventsAt(i), data: this.dataAt(i) });
    return ready;
  }

  /**
   * `wait` without an allocation: the number of ready descriptors (8 at most unless `maxEvents` is given), which
   * `eventsAt` and `dataAt` then tell; 0 once the deadline has passed. That is a `monotonic()` time (Infinity: never;
   * -Infinity: look and return). A signal ends it with `EINTR` only if `interruptible`; else it goes on with what is
   * left. Throws `RangeError` if the deadline is NaN, and `SystemError`. epoll_wait(2).
   */
  waitUntil(deadline: number, interruptible: boolean, maxEvents = 8): number {
    this.#maxEvents = maxEvents;
    if (this.#events.length < maxEvents * stride) this.#events = scratchWords(maxEvents * stride);
    return waitUntil(this, deadline, interruptible, "epoll_wait");
  }

  /** @internal */
  waitMilliseconds(timeout: number): number {
    return libc.epoll_wait(this.fd, this.#events, this.#maxEvents, timeout);
  }

  /** @internal Linux 5.11. */
  waitTimespec(timeout: Int32Array): number {
    return libc.epoll_pwait2(this.fd, this.#events, this.#maxEvents, timeout, null);
  }

  /** The events (`EPOLLIN | EPOLLHUP`, …) of the `index`th descriptor, from 0 on, that the last `waitUntil` found. */
  eventsAt(index: number): number {
    return this.#events[index * stride]!;
  }

  /** The `data` of the `index`th descriptor, from 0 on, that the last `waitUntil` found. */
  dataAt(index: number): number {
    const word = index * stride + dataWord;
    return this.#events[word + 1]! * 0x1_0000_0000 + (this.#events[word]! >>> 0);
  }
}
