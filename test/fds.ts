/** Bare descriptors, for the tests of the binding: closed after the test, waited for, looked at from outside. */
import { closeSync, openSync, readFileSync } from "node:fs";
import {
  AF_INET,
  AF_INET6,
  accept4,
  bind,
  close,
  connect,
  F_DUPFD_CLOEXEC,
  fcntl,
  getsockname,
  type InetAddress,
  listen,
  monotonic,
  POLLIN,
  PollSet,
  SOCK_STREAM,
  socket,
} from "../ffi/index.ts";
import { eventsNow } from "../ffi/poll.ts";
import { changes as changesOf } from "./leaks.ts";
import type { Keep } from "./setup.ts";
import { fdTable } from "./thread.ts";

export type Own = (fd: number | null) => number;

/** Call it once at the top of a file; what is given to its result is a descriptor, and closed after the test. */
export function owner(keep: Keep): Own {
  return (fd) => {
    if (fd === null) throw new Error("expected a descriptor, and there was none");
    keep({ [Symbol.dispose]: () => close(fd) });
    return fd;
  };
}

/** Blocks until `fd` has one of these events, and returns those that it has; throws after `limit` milliseconds. */
export function waitFor(fd: number, events: number, limit = 10_000): number {
  const set = new PollSet();
  set.push(fd, events);
  if (set.waitUntil(monotonic() + limit, false) === 0) {
    throw new Error(`waited ${limit} ms for events ${events} of fd ${fd}`);
  }
  return set.reventsAt(0);
}

/** Whether `fd` has one of these events now. */
export function has(fd: number, events: number): boolean {
  return eventsNow(fd, events) !== 0;
}

/** A listening TCP socket on a free port of the loopback interface. */
export function listening(own: Own, family: "IPv4" | "IPv6" = "IPv4"): { fd: number; address: InetAddress } {
  const fd = own(socket(family === "IPv4" ? AF_INET : AF_INET6, SOCK_STREAM));
  bind(fd, { address: family === "IPv4" ? "127.0.0.1" : "::1", port: 0, family });
  listen(fd, 16);
  return { fd, address: getsockname(fd) as InetAddress };
}

/** Both ends of a TCP connection. */
export function connected(own: Own, family: "IPv4" | "IPv6" = "IPv4"): { client: number; server: number } {
  const listener = listening(own, family);
  const client = own(socket(family === "IPv4" ? AF_INET : AF_INET6, SOCK_STREAM));
  connect(client, listener.address);
  waitFor(listener.fd, POLLIN);
  return { client, server: own(accept4(listener.fd)) };
}

export function isOpen(fd: number): boolean {
  return `${fd}` in fdTable();
}

/**
 * Gives the number `fd`, which was closed, to /dev/null; a second close would hit it. Not to a standard stream: those are
 * sockets, where Bun runs the tests, and a write that goes astray would succeed.
 */
export function takeNumber(fd: number): void {
  const file = openSync("/dev/null", "r");
  if (file === fd) return;
  const taken = fcntl(file, F_DUPFD_CLOEXEC, fd);
  closeSync(file);
  if (taken === fd) return;
  closeSync(taken);
  throw new Error(`expected the number ${fd} to be free`);
}

/** `takeNumber`, until the end of the test. */
export function reuse(own: Own, fd: number): void {
  takeNumber(fd);
  own(fd);
}

/** The flags that every descriptor of this library is born with, as the kernel tells them in /proc. */
export function flagsOf(fd: number): { nonBlocking: boolean; closeOnExec: boolean } {
  const flags = Number.parseInt(/^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))![1]!, 8);
  return { nonBlocking: (flags & 0o4000) !== 0, closeOnExec: (flags & 0o2000000) !== 0 };
}

/**
 * The descriptor table, less its Unix sockets: Bun closes the standard streams of programs that an earlier test ran
 * from a thread of its own, some time after they have ended.
 */
export function descriptors(): Record<string, string> {
  const rows = readFileSync("/proc/net/unix", "latin1").split("\n");
  const unix = new Set(rows.map((row) => `socket:[${row.trim().split(/\s+/)[6]}]`));
  return Object.fromEntries(Object.entries(fdTable()).filter(([, what]) => !unix.has(what)));
}

/** What was opened and what was closed since `before`: both empty if all is as it was. */
export function changes(before: Record<string, string>): Record<"opened" | "closed", Record<string, string>> {
  return changesOf(before, descriptors());
}
