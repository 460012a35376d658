import { libc } from "./libc.ts";
import { scratchWords } from "./memory.ts";
import { constants } from "./platform/index.ts";

const timespec = scratchWords(4);

/**
 * CLOCK_MONOTONIC in milliseconds with a fraction: the one clock that all threads of a process share
 * (`performance.now()` starts anew in each Worker, and drifts 12 µs in 3 s from this one). It throws nothing, and
 * allocates nothing. clock_gettime(2).
 */
export function monotonic(): number {
  libc.clock_gettime(constants.CLOCK_MONOTONIC, timespec);
  // tv_sec's low word is enough for 68 years of uptime.
  return timespec[0]! * 1000 + timespec[2]! / 1e6;
}

/** Writes milliseconds (0 to 2^31 seconds) as a struct timespec to the words from `index` on; rounded up. */
export function writeTimespec(words: Int32Array, index: number, milliseconds: number): void {
  let seconds = Math.floor(milliseconds / 1000);
  let nanoseconds = Math.ceil((milliseconds - seconds * 1000) * 1e6);
  if (nanoseconds >= 1e9) {
    seconds++;
    nanoseconds = 0;
  }
  words[index] = seconds;
  words[index + 1] = 0;
  words[index + 2] = nanoseconds;
  words[index + 3] = 0;
}

/** Milliseconds (0 to 2^31 seconds) as a struct timespec. Shared scratch: hand it to the next call, keep nothing. */
export function toTimespec(milliseconds: number): Int32Array {
  writeTimespec(timespec, 0, milliseconds);
  return timespec;
}
