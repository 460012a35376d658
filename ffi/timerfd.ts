import { writeTimespec } from "./clock.ts";
import { Descriptor, opened } from "./fd.ts";
import { libc } from "./libc.ts";
import { scratch, scratchWords } from "./memory.ts";
import { constants } from "./platform/index.ts";
import { again, lastError } from "./system-error.ts";

const { CLOCK_MONOTONIC, TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME } = constants;
/** struct itimerspec: the interval, then the value, each a struct timespec. */
const setting = scratchWords(8);
const VALUE = 4;
const expirations = scratch(8);

/**
 * A timer on CLOCK_MONOTONIC that is readable once it has gone off; timerfd_create(2). Linux, and FreeBSD since 14.
 * Non-blocking and close-on-exec.
 */
export class TimerFd extends Descriptor {
  /** Throws `SystemError`: `EMFILE` if no descriptor is free, `ENOSYS` where the platform has no timerfd. */
  constructor() {
    super(opened(libc.timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create"));
  }

  /**
   * Goes off at the `monotonic()` time `at` (milliseconds), to the nanosecond and never before; a time that has passed:
   * at once; Infinity: never. Takes the place of the time that was set before. Throws `RangeError` for NaN, and
   * `SystemError`: `EBADF` once it is closed. timerfd_settime(2).
   */
  set(at: number): void {
    if (Number.isNaN(at)) throw new RangeError("at is a monotonic() time, or Infinity for never, not NaN");
    setting.fill(0);
    // A zero it_value would disarm the timer, so the past becomes the first nanosecond of the clock.
    if (at !== Number.POSITIVE_INFINITY) {
      writeTimespec(setting, VALUE, Math.min(Math.max(at, 1e-6), 0x7fff_ffff * 1000));
    }
    if (libc.timerfd_settime(this.fd, TFD_TIMER_ABSTIME, setting, null) === -1) throw lastError("timerfd_settime");
  }

  /**
   * True if it has gone off since the last look; it is not readable any more then. Throws `SystemError`: `EBADF` once
   * it is closed.
   */
  read(): boolean {
    do {
      if (libc.read(this.fd, expirations, 8) === 8) return true;
    } while (again("read"));
    return false;
  }
}
