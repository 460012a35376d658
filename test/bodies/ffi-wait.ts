/** Waits of the binding in a thread of their own, which others wake, interrupt, or lie to about the kernel. */
import { EPOLLIN, Epoll, monotonic, POLLIN, PollSet, type SystemError } from "../../ffi/index.ts";
import { errno, libc, setErrno } from "../../ffi/libc.ts";
import { constants } from "../../ffi/platform/index.ts";
import { aroundWaits } from "../hooks.ts";
import type { Context } from "../thread.ts";

export type Way = "Epoll" | "PollSet";

export interface WaitJob {
  way: Way;
  fd: number;
  /** Milliseconds, as `Epoll.wait` has them. */
  timeout: number;
  interruptible?: boolean;
}

export interface WaitResult {
  /** How many descriptors were ready; of a wait that failed, its error's code. */
  outcome: number | string;
  elapsed: number;
  /** How often a signal woke it in the kernel. */
  interrupted: number;
}

function waitOnce({ way, fd, timeout, interruptible = false }: WaitJob): number {
  const deadline = timeout < 0 ? Number.POSITIVE_INFINITY : monotonic() + timeout;
  if (way === "PollSet") {
    const set = new PollSet();
    set.push(fd, POLLIN);
    return set.waitUntil(deadline, interruptible);
  }
  using epoll = new Epoll();
  epoll.add(fd, EPOLLIN);
  return interruptible ? epoll.waitUntil(deadline, true) : epoll.wait(8, timeout).length;
}

export function wait({ say, aboutToBlock }: Context, job: WaitJob): void {
  let interrupted = 0;
  using _counter = aroundWaits(
    () => {},
    (result) => {
      if (result === -1 && errno() === constants.EINTR) interrupted++;
    },
  );
  const begin = monotonic();
  aboutToBlock();
  let outcome: number | string;
  try {
    outcome = waitOnce(job);
  } catch (error) {
    outcome = (error as SystemError).code;
  }
  say({ outcome, elapsed: monotonic() - begin, interrupted } satisfies WaitResult);
}

/** Waits on a kernel that only counts in milliseconds; says how long each took, how often the fine calls were tried. */
export function waitWithoutFineCalls(
  { say }: Context,
  { way, fd, timeouts, errno }: { way: Way; fd: number; timeouts: number[]; errno: number },
): void {
  let tried = 0;
  const missing = () => {
    tried++;
    setErrno(errno);
    return -1;
  };
  Object.assign(libc, { epoll_pwait2: missing, ppoll: missing }); // this thread's own, and it ends here
  const elapsed = timeouts.map((timeout) => {
    const begin = monotonic();
    waitOnce({ way, fd, timeout });
    return monotonic() - begin;
  });
  say({ tried, elapsed });
}

export function clock({ say }: Context): void {
  say(monotonic());
}
