import { libc } from "./libc.ts";
import { scratch } from "./memory.ts";
import { waitUntil } from "./wait.ts";

/**
 * An array of `struct pollfd`, and the wait over it; poll(2). It has the same layout everywhere: int, short, short. It
 * holds no descriptor of its own, so there is nothing to close.
 *
 * ```ts
 * const set = new PollSet();
 * set.push(fd, POLLIN);
 * if (set.waitUntil(monotonic() + 1000, false) > 0) console.log(`it is ready: ${set.reventsAt(0)}`);
 * ```
 */
export class PollSet {
  #words = new Int32Array(scratch(8 * 8).buffer);
  #shorts = new Int16Array(this.#words.buffer);
  #length = 0;

  /** The number of entries. */
  get length(): number {
    return this.#length;
  }

  /**
   * Puts `fd` at the end, to be awaited for `events` (`POLLIN | POLLOUT`, …). The kernel ignores an entry whose fd is
   * negative. Throws `TypeError` for an fd that is no integer.
   */
  push(fd: number, events: number): void {
    this.#grow();
    this.set(this.#length, fd, events);
    this.#length++;
  }

  /** Replaces the entry at `index`, from 0 on. Throws `TypeError` for an fd that is no integer. */
  set(index: number, fd: number, events: number): void {
    if (fd !== (fd | 0)) throw new TypeError(`a file descriptor is an integer, not ${String(fd)}`);
    this.#words[index * 2] = fd;
    this.#shorts[index * 4 + 2] = events;
    this.#shorts[index * 4 + 3] = 0;
  }

  /** The descriptor of the entry at `index`, from 0 on. */
  fdAt(index: number): number {
    return this.#words[index * 2]!;
  }

  /** What the last wait found at `index` (`POLLIN | POLLHUP`, …); 0: nothing; `POLLNVAL`: it is not open. */
  reventsAt(index: number): number {
    return this.#shorts[index * 4 + 3]!;
  }

  /** Takes the entry at `index` out; the last one takes its place. */
  remove(index: number): void {
    this.#length--;
    this.#words[index * 2] = this.#words[this.#length * 2]!;
    this.#words[index * 2 + 1] = this.#words[this.#length * 2 + 1]!;
  }

  /** Takes all entries out. */
  clear(): void {
    this.#length = 0;
  }

  /**
   * Copies the entries that the kernel would not ignore, two words each, for a wait elsewhere; returns how many. Throws
   * `RangeError` if they do not fit.
   */
  copyTo(words: Int32Array): number {
    let count = 0;
    for (let i = 0; i < this.#length; i++) {
      if (this.#words[i * 2]! < 0) continue;
      if (count * 2 >= words.length)
        throw new RangeError(`more than ${words.length / 2} descriptors are awaited at once`);
      words[count * 2] = this.#words[i * 2]!;
      words[count * 2 + 1] = this.#shorts[i * 4 + 2]!;
      count++;
    }
    return count;
  }

  #grow(): void {
    if (this.#length * 2 < this.#words.length) return;
    const larger = new Int32Array(scratch(this.#words.byteLength * 2).buffer);
    larger.set(this.#words);
    this.#words = larger;
    this.#shorts = new Int16Array(larger.buffer);
  }

  /**
   * Waits until an entry has `revents`, and returns how many have; 0 once the deadline has passed, a `monotonic()` time
   * (Infinity: never; -Infinity: look and return). A signal ends it with `EINTR` only if `interruptible`; else it goes
   * on with what is left. Throws `RangeError` if the deadline is NaN, and `SystemError`. No allocation. poll(2).
   */
  waitUntil(deadline: number, interruptible: boolean): number {
    return waitUntil(this, deadline, interruptible, "poll");
  }

  /** @internal */
  waitMilliseconds(timeout: number): number {
    return libc.poll(this.#words, this.#length, timeout);
  }

  /** @internal macOS has none. */
  waitTimespec(timeout: Int32Array): number {
    return libc.ppoll(this.#words, this.#length, timeout, null);
  }
}

const one = new PollSet();

/** @internal What `fd` has of `events` now, without a wait; POLLHUP, POLLERR and POLLNVAL come unasked. 0: nothing. */
export function eventsNow(fd: number, events: number): number {
  one.clear();
  one.push(fd, events);
  return one.waitUntil(Number.NEGATIVE_INFINITY, false) === 0 ? 0 : one.reventsAt(0);
}
