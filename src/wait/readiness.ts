/** Readiness of many descriptors at once, as everybody here sees it. Two implementations; selector.ts chooses. */

/** What is awaited of a descriptor, and what it is ready for, as bits. */
export const READABLE = 1;
export const WRITABLE = 2;

export interface Selector {
  /** False: the selector reports what is awaited whenever it is ready, so the interest has to follow each wait. */
  readonly edgeTriggered: boolean;
  /**
   * Registers a socket. `interest` is READABLE, WRITABLE, both, or 0 for neither; `tag` (`fd` unless given) comes back
   * with what happens to it. Throws `SystemError`.
   */
  add(fd: number, interest: number, tag?: number): void;
  modify(fd: number, interest: number, tag?: number): void;
  /** Registers a doorbell that nobody drains. */
  addDoorbell(fd: number, tag?: number): void;
  delete(fd: number): void;
  /**
   * Sleeps until something is ready or the `monotonic()` time `deadline` has passed (-Infinity: only looks); then how
   * many things are ready, which `tagAt` and `readinessAt` tell.
   */
  wait(deadline: number, interruptible: boolean): number;
  tagAt(index: number): number;
  /** READABLE and WRITABLE; a failure and a hang-up count as both. */
  readinessAt(index: number): number;
  /** Grows when what another thread would have to wait for in this one's stead has changed. */
  readonly version: number;
  /** Writes that as an array of `struct pollfd`, and returns its length. Throws `RangeError` if it does not fit. */
  copyTo(words: Int32Array): number;
  close(): void;
}
