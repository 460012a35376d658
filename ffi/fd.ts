/** What is true of every descriptor: how it is checked, closed (once), and made non-blocking and close-on-exec. */
import { errno, libc } from "./libc.ts";
import { constants } from "./platform/index.ts";
import { lastError, SystemError } from "./system-error.ts";

/** Throws `TypeError` for what the FFI would silently turn into fd 0. */
export function checkFd(fd: number): void {
  if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fff_ffff) {
    throw new TypeError(`a file descriptor is an integer of 0 or more, not ${String(fd)}`);
  }
}

/**
 * Closes a descriptor; close(2). Never retried: on Linux the number is free even after EINTR, and a second close could
 * hit a stranger's. Throws `TypeError` for what is no descriptor, and `SystemError`: `EBADF` if it is not open.
 */
export function close(fd: number): void {
  checkFd(fd);
  if (libc.close(fd) === -1 && errno() !== constants.EINTR) throw lastError("close");
}

/**
 * The commands whose argument is an int (0 unless given), and what they return: `F_GETFL`, `F_SETFD`,
 * `F_DUPFD_CLOEXEC`. Throws `TypeError` for what is no descriptor, and `SystemError`. fcntl(2).
 */
export function fcntl(fd: number, command: number, argument = 0): number {
  checkFd(fd);
  const result = libc.fcntl(fd, command, argument);
  if (result === -1) throw lastError("fcntl");
  return result;
}

/**
 * Makes a new descriptor non-blocking and close-on-exec, where the call that makes it cannot. Throws `SystemError`, and
 * has closed it then. fcntl(2).
 */
export function adopt(fd: number): number {
  const { F_GETFL, F_SETFL, F_SETFD, FD_CLOEXEC, O_NONBLOCK } = constants;
  const flags = libc.fcntl(fd, F_GETFL, 0);
  if (
    flags === -1 ||
    libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK) === -1 ||
    libc.fcntl(fd, F_SETFD, FD_CLOEXEC) === -1
  ) {
    const error = new SystemError("fcntl", errno());
    libc.close(fd);
    throw error;
  }
  return fd;
}

/** The descriptor that a call has made. Throws what it failed with, in the statement after the call. */
export function opened(fd: number, syscall: string): number {
  if (fd === -1) throw lastError(syscall);
  return fd;
}

/** One descriptor, and when it is closed. */
export class Descriptor implements Disposable {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The file descriptor; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Closes it; the second call does nothing. Throws `SystemError`: `EBADF` if somebody else has closed it. close(2).
   */
  close(): void {
    if (this.#fd === -1) return;
    const fd = this.#fd;
    this.#fd = -1;
    close(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
