/** Waits with a deadline, once for epoll and poll: never early, EINTR invisible, whatever the kernel's unit. */
import { monotonic, toTimespec } from "./clock.ts";
import { errno } from "./libc.ts";
import { constants } from "./platform/index.ts";
import { lastError } from "./system-error.ts";

const { EINTR, ENOSYS, EPERM } = constants;
/** The longest wait of one call: a C int of milliseconds. A longer one is waited for in turns. */
const LONGEST = 0x7fff_ffff;

/** The two calls into the kernel that a wait is made of: the number of ready descriptors, or -1 with errno. */
interface Waiter {
  /** Waits whole milliseconds; 0: just looks; -1: for ever. */
  waitMilliseconds(timeout: number): number;
  /** Waits for a struct timespec. Not every kernel has it. */
  waitTimespec(timeout: Int32Array): number;
}

/** The syscalls whose finer brother this kernel lacks: each is tried once a thread. */
const coarse = new Set<string>();

/**
 * Waits for `left` milliseconds (Infinity: for ever; 0 or less: just looks): the whole ones first, and what is left
 * below one by the fine call. So it may be over early, and the caller looks at the clock and waits for the rest.
 */
function waitOnce(waiter: Waiter, left: number, syscall: string): number {
  if (left <= 0) return waiter.waitMilliseconds(0);
  if (left === Number.POSITIVE_INFINITY) return waiter.waitMilliseconds(-1);
  if (left >= 1) return waiter.waitMilliseconds(Math.min(Math.floor(left), LONGEST));
  if (!coarse.has(syscall)) {
    const count = waiter.waitTimespec(toTimespec(left));
    // A container's seccomp filter that is older than the call answers EPERM, which neither call has of its own.
    if (count !== -1 || (errno() !== ENOSYS && errno() !== EPERM)) return count;
    coarse.add(syscall);
  }
  return waiter.waitMilliseconds(1); // late rather than early
}

/**
 * Waits until something is ready (its count) or the `monotonic()` time `deadline` has passed (0). -Infinity looks
 * once; Infinity waits for ever. A signal ends it with `EINTR` only if `interruptible`; else it goes on with what is
 * left. Throws `RangeError` for NaN, and `SystemError`. epoll_wait(2), poll(2).
 */
export function waitUntil(
  waiter: Waiter,
  deadline: number,
  interruptible: boolean,
  syscall: "epoll_wait" | "poll",
): number {
  if (Number.isNaN(deadline))
    throw new RangeError("the deadline is a monotonic() time, or Infinity for never, not NaN");
  const finite = deadline !== Number.POSITIVE_INFINITY && deadline !== Number.NEGATIVE_INFINITY;
  let left = finite ? deadline - monotonic() : deadline;
  for (;;) {
    const count = waitOnce(waiter, left, syscall);
    if (count > 0) return count;
    if (count === 0) {
      if (left <= 0) return 0;
    } else if (errno() !== EINTR || interruptible) {
      throw lastError(syscall);
    }
    if (finite) {
      left = deadline - monotonic();
      if (left <= 0 && count === 0) return 0;
    }
  }
}
