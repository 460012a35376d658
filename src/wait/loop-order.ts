/** What a thread and the helper that polls in its stead share: see loop-worker.ts and loop-helper.ts. */

/** Words: the last order, the order that the helper follows, and how many entries an order has. */
export const ORDER = 0;
export const FOLLOWED = 1;
export const COUNT = 2;
/** The entries, as an array of `struct pollfd`: two words each. */
export const SET = 4;
/** As many as fs.nr_open, the kernel's default limit of descriptors; untouched pages cost nothing. */
export const CAPACITY = 1 << 20;

/** Of the word FOLLOWED: the helper is not up yet, and has not looked at any order; and, it is gone for good. */
export const NOT_UP = -1;
export const ENDED = -2;

export interface HelperJob {
  readonly words: Int32Array;
  /** The read end of a pipe: a byte says that there is a new order, its end that there will be none. */
  readonly bell: number;
}
