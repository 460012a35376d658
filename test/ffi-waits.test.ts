import { dlopen } from "bun:ffi";
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { ring } from "../ffi/eventfd.ts";
import {
  EBADF,
  EINTR,
  ENOSYS,
  EPERM,
  EPOLLIN,
  Epoll,
  EventFd,
  monotonic,
  POLLIN,
  PollSet,
  TimerFd,
} from "../ffi/index.ts";
import { platform } from "../ffi/platform/index.ts";
import type { WaitJob, WaitResult, Way } from "./bodies/ffi-wait.ts";
import { failWith, faults } from "./faults.ts";
import { flagsOf, has, isOpen, owner, reuse } from "./fds.ts";
import { keeper } from "./setup.ts";
import { Thread, thrown } from "./thread.ts";

setDefaultTimeout(60_000);
const keep = keeper();
const own = owner(keep);
const replace = faults();
const ways = ["Epoll", "PollSet"] as const;
const { POSITIVE_INFINITY: never, NEGATIVE_INFINITY: past, NaN: notANumber } = Number;

/** One `Epoll` and one `PollSet` that watch `fd`, each with the same way to wait. */
function waiters(fd: number): Record<Way, (deadline: number) => number> {
  const epoll = keep(new Epoll());
  epoll.add(fd, EPOLLIN);
  const set = new PollSet();
  set.push(fd, POLLIN);
  return {
    Epoll: (deadline) => epoll.waitUntil(deadline, false),
    PollSet: (deadline) => set.waitUntil(deadline, false),
  };
}

const quiet = () => keep(new EventFd()).fd;

for (const timeout of [0.1, 0.9, 1, 1.5, 5.3]) {
  test(`a wait of ${timeout} ms is never early`, () => {
    const fd = quiet();
    const epoll = keep(new Epoll());
    epoll.add(fd, EPOLLIN);
    const { Epoll: byEpoll, PollSet: byPoll } = waiters(fd);
    const timer = keep(new TimerFd());
    const waits = {
      "Epoll.wait": () => epoll.wait(1, timeout),
      "Epoll.waitUntil": () => byEpoll(monotonic() + timeout),
      "PollSet.waitUntil": () => byPoll(monotonic() + timeout),
      TimerFd: () => {
        timer.set(monotonic() + timeout);
        waiters(timer.fd).PollSet(never);
        expect(timer.read()).toBe(true);
      },
    };
    for (const [name, wait] of Object.entries(waits)) {
      for (let i = 0; i < 20; i++) {
        const begin = monotonic();
        wait();
        const elapsed = monotonic() - begin;
        expect({ name, early: elapsed < timeout, elapsed }).toEqual({ name, early: false, elapsed });
      }
    }
  });
}

for (const way of ways) {
  test(`${way}: a deadline that has passed looks once and does not sleep`, () => {
    const bell = keep(new EventFd());
    const wait = waiters(bell.fd)[way];
    const slept: number[] = [];
    replace("epoll_wait", (call) => (fd, events, count, timeout) => {
      slept.push(timeout);
      return call(fd, events, count, timeout);
    });
    replace("poll", (call) => (fds, count, timeout) => {
      slept.push(timeout);
      return call(fds, count, timeout);
    });
    expect([wait(past), wait(0), wait(-5), wait(monotonic() - 1)]).toEqual([0, 0, 0, 0]);
    bell.write();
    expect([wait(past), wait(monotonic() - 1)]).toEqual([1, 1]);
    expect(slept).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test(`${way}: what is ready ends a wait that has no end`, async () => {
    for (const timeout of [-1, -0.5, past, never, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, 1e300]) {
      const bell = keep(new EventFd());
      const thread = await Thread.start("ffi-wait", "wait", { way, fd: bell.fd, timeout } satisfies WaitJob);
      await thread.blocked();
      ring(bell.fd);
      expect(await thread.next<WaitResult>()).toMatchObject({ outcome: 1 });
      await thread.join();
    }
  });

  test(`${way}: a wait longer than the kernel can count is waited for in turns`, () => {
    const bell = keep(new EventFd());
    const wait = waiters(bell.fd)[way];
    const turns: number[] = [];
    const turn = (timeout: number) => {
      turns.push(timeout);
      if (turns.length === 3) bell.write();
      return turns.length < 3;
    };
    // The first two turns of 25 days each are over at once.
    replace("epoll_wait", (call) => (fd, events, count, timeout) => (turn(timeout) ? 0 : call(fd, events, count, 0)));
    replace("poll", (call) => (fds, count, timeout) => (turn(timeout) ? 0 : call(fds, count, 0)));
    expect(wait(monotonic() + 1e12)).toBe(1);
    expect(turns).toEqual([2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1]);
  });

  test(`${way}: after EINTR the wait goes on with what is left`, () => {
    const wait = waiters(quiet())[way];
    const deadline = monotonic() + 60;
    const asked: number[] = [];
    const left: number[] = [];
    const interrupt = (timeout: number) => {
      asked.push(timeout);
      const end = monotonic() + 3;
      while (monotonic() < end);
      left.push(Math.max(deadline - monotonic(), 0));
      return failWith(EINTR);
    };
    replace("epoll_wait", (call) => (fd, events, count, timeout) => {
      return asked.length < 5 ? interrupt(timeout) : call(fd, events, count, timeout);
    });
    replace("poll", (call) => (fds, count, timeout) => {
      return asked.length < 5 ? interrupt(timeout) : call(fds, count, timeout);
    });
    expect(wait(deadline)).toBe(0);
    expect(monotonic()).toBeGreaterThanOrEqual(deadline);
    expect(asked.length).toBeGreaterThan(0);
    for (let i = 1; i < asked.length; i++) expect(asked[i]!).toBeLessThanOrEqual(left[i - 1]!);
  });

  for (const [name, errno] of Object.entries({ ENOSYS, EPERM })) {
    const what = `a kernel that says ${name} to the fine calls makes a wait late, never early, and is asked for them once`;
    test(`${way}: ${what}`, async () => {
      const timeouts = [0.1, 0.9, 1, 1.5, 5.3, 0.3, 2.01];
      const thread = await Thread.start("ffi-wait", "waitWithoutFineCalls", { way, fd: quiet(), timeouts, errno });
      const { tried, elapsed } = await thread.next<{ tried: number; elapsed: number[] }>();
      await thread.join();
      expect(elapsed.filter((time, i) => time < timeouts[i]!)).toEqual([]);
      expect(tried).toBe(1);
    });
  }

  test(`${way}: what else the fine call fails with is the wait's own error`, () => {
    const wait = waiters(quiet())[way];
    for (const name of ["epoll_pwait2", "ppoll"] as const) replace(name, () => () => failWith(EBADF));
    // A thread that is held up looks once, and then the deadline has passed.
    const error = thrown(() => {
      for (let time = 0; time < 1000; time++) wait(monotonic() + 0.9);
    });
    expect(error).toMatchObject({ name: "SystemError", code: "EBADF" });
  });

  test(`${way}: a deadline that is no number is a RangeError, not a wait without sleep or end`, () => {
    const wait = waiters(quiet())[way];
    let calls = 0;
    const bounded = () => {
      if (++calls > 100) throw new Error("it spins");
      return 0;
    };
    for (const name of ["epoll_wait", "epoll_pwait2", "poll", "ppoll"] as const) replace(name, () => bounded);
    expect(() => wait(notANumber)).toThrow(RangeError);
  });
}

test("Epoll.wait takes no timeout that is no number", () => {
  const epoll = keep(new Epoll());
  expect(() => epoll.wait(1, notANumber)).toThrow(RangeError);
});

// Handled for the whole file: the process would die of a signal that comes once nobody handles it any more.
const handler = () => {};
beforeAll(() => void process.on("SIGUSR2", handler));
afterAll(() => void process.off("SIGUSR2", handler));

const { syscall } = dlopen(platform.libc, {
  syscall: { args: ["i64", "i64", "i64", "i64"], returns: "i64" },
}).symbols;
const SYS_tgkill = process.arch === "arm64" ? 131 : 234;
const SIGUSR2 = 12;

/** Sends signals to this very thread, one every few milliseconds, until it has said something: that. */
async function interruptedAllTheTime(thread: Thread): Promise<WaitResult> {
  let said = false;
  const result = thread.next<WaitResult>().finally(() => {
    said = true;
  });
  while (!said) {
    syscall(SYS_tgkill, process.pid, Number(thread.tid), SIGUSR2);
    await Bun.sleep(5);
  }
  return result;
}

for (const way of ways) {
  test(`${way}: real signals neither end a wait early nor begin it anew`, async () => {
    const thread = await Thread.start("ffi-wait", "wait", { way, fd: quiet(), timeout: 300 } satisfies WaitJob);
    await thread.blocked();
    const { outcome, elapsed, interrupted } = await interruptedAllTheTime(thread); // begun anew, it would never end
    await thread.join();
    expect(outcome).toBe(0);
    expect(interrupted).toBeGreaterThan(1);
    expect(elapsed).toBeGreaterThanOrEqual(300);
  });

  test(`${way}: a signal ends an interruptible wait with EINTR`, async () => {
    const job: WaitJob = { way, fd: quiet(), timeout: -1, interruptible: true };
    const thread = await Thread.start("ffi-wait", "wait", job);
    await thread.blocked();
    expect(await interruptedAllTheTime(thread)).toMatchObject({ outcome: "EINTR", interrupted: 1 });
    await thread.join();
  });
}

test("a timer goes off at its time, once, and a later one or none takes its place", () => {
  const timer = keep(new TimerFd());
  expect(timer.read()).toBe(false);
  const deadline = monotonic() + 2;
  timer.set(deadline);
  expect(waiters(timer.fd).Epoll(never)).toBe(1);
  expect(monotonic()).toBeGreaterThanOrEqual(deadline);
  expect([timer.read(), timer.read()]).toEqual([true, false]);

  timer.set(monotonic() + 1);
  timer.set(monotonic() + 1e9);
  expect(waiters(timer.fd).PollSet(monotonic() + 3)).toBe(0);
  timer.set(monotonic() + 1);
  timer.set(never);
  expect(waiters(timer.fd).PollSet(monotonic() + 3)).toBe(0);
  expect(timer.read()).toBe(false);
});

test("a timer set to the past is ready at once; to a far future, not", () => {
  const timer = keep(new TimerFd());
  for (const time of [past, -1, 0, 1e-9, monotonic() - 1]) {
    timer.set(time);
    expect(waiters(timer.fd).PollSet(monotonic() + 10_000)).toBe(1);
    expect(timer.read()).toBe(true);
  }
  for (const time of [2 ** 31 * 1000, 2 ** 53, 1e300, Number.MAX_VALUE, never]) {
    timer.set(time);
    expect(has(timer.fd, POLLIN)).toBe(false);
  }
});

test("a timer set to no number is a RangeError, not a timer that never goes off", () => {
  const timer = keep(new TimerFd());
  expect(() => timer.set(notANumber)).toThrow(RangeError);
});

test("a time just below a full second is rounded up into it", () => {
  const timer = keep(new TimerFd());
  let seconds = 0;
  let nanoseconds = 0;
  replace("timerfd_settime", () => (_fd, _flags, setting) => {
    [seconds, nanoseconds] = [(setting as Int32Array)[4]!, (setting as Int32Array)[6]!];
    return 0;
  });
  timer.set(1999.999_999_9);
  expect([seconds, nanoseconds]).toEqual([2, 0]);
  timer.set(1500.000_000_1);
  expect([seconds, nanoseconds]).toEqual([1, 500_000_001]);
});

test("a timer is non-blocking and close-on-exec; closing it twice is once, and what follows fails", () => {
  const timer = new TimerFd();
  expect(flagsOf(timer.fd)).toEqual({ nonBlocking: true, closeOnExec: true });
  const { fd } = timer;
  timer.close();
  expect(timer.fd).toBe(-1);
  reuse(own, fd);
  timer.close();
  expect(isOpen(fd)).toBe(true);
  expect(thrown(() => timer.set(1))).toMatchObject({ code: "EBADF", syscall: "timerfd_settime" });
  expect(thrown(() => timer.read())).toMatchObject({ code: "EBADF", syscall: "read" });
});

test("all threads share one clock", async () => {
  const before = monotonic();
  const thread = await Thread.start("ffi-wait", "clock");
  const between = await thread.next<number>();
  await thread.join();
  expect(between).toBeGreaterThanOrEqual(before);
  expect(between).toBeLessThanOrEqual(monotonic());
});
