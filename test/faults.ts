/** Lies about the kernel, told through the `libc` object of ffi/libc.ts and taken back after each test. */
import { afterEach } from "bun:test";
import { libc, setErrno } from "../ffi/libc.ts";

type Libc = typeof libc;
export type Replace = <K extends keyof Libc>(name: K, replacement: (original: Libc[K]) => Libc[K]) => void;

/** Call it once at the top of a file; its result replaces a call of libc until the test is over. */
export function faults(): Replace {
  const honest = { ...libc };
  afterEach(() => {
    Object.assign(libc, honest);
  });
  return (name, replacement) => {
    libc[name] = replacement(libc[name]);
  };
}

/** For a replaced call: fail with this error number. */
export function failWith(errno: number): -1 {
  setErrno(errno);
  return -1;
}

/** Calls that enter no kernel (the clock is in the vDSO), which a check of arguments may make. */
const harmless = new Set<string>(["inet_pton", "inet_ntop", "clock_gettime", "malloc", "free", "memcpy", "dlsym"]);

/** The system calls that `body` makes through libc, by name. */
export function systemCalls(body: () => void): string[] {
  const honest = { ...libc };
  const made: string[] = [];
  const counted: Record<string, unknown> = {};
  for (const [name, call] of Object.entries(honest)) {
    if (harmless.has(name)) continue;
    counted[name] = (...args: never[]) => {
      made.push(name);
      return (call as (...args: never[]) => number)(...args);
    };
  }
  Object.assign(libc, counted);
  try {
    body();
  } finally {
    Object.assign(libc, honest);
  }
  return made;
}
