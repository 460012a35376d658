/** Lies about the kernel, told through the `libc` object of ffi/libc.ts and taken back after each test. */
import { afterEach } from "bun:test";
import { libc, setErrno } from "../ffi/libc.ts";
import { callsDuring } from "./hooks.ts";

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

/** The system calls that `body` makes through libc, by name. */
export function systemCalls(body: () => void): string[] {
  return callsDuring(body).made;
}
