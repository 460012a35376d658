/** What happens around the calls into the kernel, seen and held up through the members of `libc`. */
import { errno, libc, setErrno } from "../ffi/libc.ts";

type Call = (...parameters: never[]) => number;
const calls = libc as unknown as Record<string, Call>;
/** All that this library ever sleeps in. */
const waits = ["epoll_wait", "epoll_pwait2", "poll", "ppoll"] as const;

function replace(name: string, by: (real: Call) => Call): () => void {
  const real = calls[name]!;
  calls[name] = by(real);
  return () => {
    calls[name] = real;
  };
}

/** Undoes a hook; for `using`. */
export type Hook = Disposable;
const undo = (all: (() => void)[]): Hook => ({ [Symbol.dispose]: () => all.forEach((one) => void one()) });

/** What runs ahead of a call, with its parameters, and behind it, with its result. */
type Before = (...parameters: unknown[]) => void;
type After = (result: number) => void;

/** `before` and `after` around every call of these. errno is the call's in the end. */
export function around(names: readonly string[], before: Before, after: After): Hook {
  return undo(
    names.map((name) =>
      replace(name, (real) => (...parameters) => {
        before(...parameters);
        const result = real(...parameters);
        const error = errno();
        after(result);
        setErrno(error);
        return result;
      }),
    ),
  );
}

/** `around` whatever sleeps in the kernel. */
export function aroundWaits(before: Before, after: After): Hook {
  return around(waits, before, after);
}

/** Functions of libc that do not enter the kernel, or only look at the clock. */
const harmless = new Set(["clock_gettime", "dlsym", "free", "inet_ntop", "inet_pton", "malloc", "memcpy"]);

const inKernel = Object.keys(calls).filter((name) => !harmless.has(name));

/** `before` ahead of every call into the kernel, with its name and its parameters. */
export function aroundEveryCall(before: (name: string, parameters: unknown[]) => void): Hook {
  return undo(
    inKernel.map((name) =>
      replace(name, (real) => (...parameters) => {
        before(name, parameters);
        return real(...parameters);
      }),
    ),
  );
}

/** Whether a call may sleep: it waits, and not for no time at all. */
export function maySleep(name: string, parameters: unknown[]): boolean {
  if (!(waits as readonly string[]).includes(name)) return false;
  const timeout = parameters[name.startsWith("epoll") ? 3 : 2];
  return (
    timeout === null || (typeof timeout === "number" ? timeout !== 0 : (timeout as Int32Array).some((n) => n !== 0))
  );
}

/** What `run` returns, and the names of the calls into the kernel that it made. */
export function callsDuring<T>(run: () => T): { made: string[]; result: T } {
  const made: string[] = [];
  using _hook = aroundEveryCall((name) => made.push(name));
  return { result: run(), made };
}
