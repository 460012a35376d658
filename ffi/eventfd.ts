import { Descriptor, opened } from "./fd.ts";
import { libc } from "./libc.ts";
import { scratch } from "./memory.ts";
import { constants } from "./platform/index.ts";
import { again } from "./system-error.ts";

const { EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE } = constants;
const one = new BigUint64Array(scratch(8).buffer).fill(1n);
const count = new BigUint64Array(scratch(8).buffer);
/** eventfd(2): the largest value is 2^64 - 2. */
const LARGEST = 0xffff_ffff_ffff_fffen;

function add(fd: number, value: BigUint64Array): boolean {
  do {
    if (libc.write(fd, value, 8) === 8) return true;
  } while (again("write"));
  return false;
}

/**
 * Adds 1 to the eventfd `fd`, without an allocation; false if it has no room for it. Throws `SystemError`: `EBADF`.
 * eventfd(2).
 */
export function ring(fd: number): boolean {
  return add(fd, one);
}

/** Takes the count of the eventfd `fd`, if there is one. eventfd(2). */
export function drain(fd: number): void {
  libc.read(fd, count, 8);
}

/**
 * A counter in the kernel that is readable while it is not 0; eventfd(2). Linux, and FreeBSD since 13. Non-blocking and
 * close-on-exec.
 *
 * ```ts
 * using doorbell = new EventFd();
 * doorbell.write(2);
 * doorbell.read(); // 2n, and null from then on
 * ```
 */
export class EventFd extends Descriptor {
  /**
   * `initial` (0 unless given) is what it counts from, 0 to 2^32 - 1; with `semaphore`, each read takes 1 instead of
   * all. Throws `RangeError` for what is no such number, and `SystemError`: `EMFILE` if no descriptor is free, `ENOSYS`
   * where the platform has no eventfd, `EPERM` in some sandboxes.
   */
  constructor(initial = 0, { semaphore = false }: { semaphore?: boolean | undefined } = {}) {
    if (!Number.isInteger(initial) || initial < 0 || initial > 0xffff_ffff) {
      throw new RangeError(`initial is an integer from 0 to 2^32 - 1, not ${initial}`);
    }
    super(opened(libc.eventfd(initial, EFD_CLOEXEC | EFD_NONBLOCK | (semaphore ? EFD_SEMAPHORE : 0)), "eventfd"));
  }

  /**
   * Adds `n` (1 unless given; 0 to 2^64 - 2). False, and nothing is added, if the counter has no room for it (EAGAIN).
   * Throws `RangeError` for what is no such number, and `SystemError`: `EBADF` once it is closed.
   */
  write(n: number | bigint = 1): boolean {
    const value = BigInt(n); // of a fraction or a NaN: RangeError, the platform's own
    if (value < 0n || value > LARGEST) throw new RangeError(`an eventfd adds 0 to 2^64 - 2, not ${n}`);
    count[0] = value;
    return add(this.fd, count);
  }

  /** Takes the count (or 1, of a semaphore); null if it is 0. Throws `SystemError`: `EBADF` once it is closed. */
  read(): bigint | null {
    do {
      if (libc.read(this.fd, count, 8) === 8) return count[0]!;
    } while (again("read"));
    return null;
  }
}
