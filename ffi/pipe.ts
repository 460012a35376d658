import { adopt, Descriptor } from "./fd.ts";
import { errno, libc } from "./libc.ts";
import { checkBytes, scratch, scratchWords } from "./memory.ts";
import { constants } from "./platform/index.ts";
import { again, lastError } from "./system-error.ts";

const { ENOSYS, O_CLOEXEC, O_NONBLOCK } = constants;
const ends = scratchWords(2);
const oneByte = scratch(1);
const drained = scratch(4096);

/** Puts a byte into the pipe behind `writeFd`; false if it is full. No allocation. */
export function poke(writeFd: number): boolean {
  for (;;) {
    if (libc.write(writeFd, oneByte, 1) === 1) return true;
    if (!again("write")) return false;
  }
}

/** Takes all that is in the pipe behind `readFd`. */
export function drainPipe(readFd: number): void {
  while (libc.read(readFd, drained, 4096) === 4096);
}

/** Opens a pipe and writes its two descriptors to `ends`. */
function openPipe(): void {
  if (libc.pipe2(ends, O_CLOEXEC | O_NONBLOCK) === 0) return;
  if (errno() !== ENOSYS) throw lastError("pipe2");
  if (libc.pipe(ends) === -1) throw lastError("pipe");
  for (const index of [0, 1]) {
    try {
      adopt(ends[index]!);
    } catch (error) {
      libc.close(ends[1 - index]!);
      throw error;
    }
  }
}

/**
 * A pipe; pipe(7). Both ends are non-blocking and close-on-exec (set at birth where pipe2 exists). No flag keeps a
 * write to a pipe that nobody reads from raising SIGPIPE; Bun ignores that signal, so it is `EPIPE`.
 */
export class Pipe implements Disposable {
  readonly #readEnd: Descriptor;
  readonly #writeEnd: Descriptor;

  /** Throws `SystemError`: `EMFILE` if fewer than two descriptors are free. pipe2(2), or pipe(2) and fcntl(2). */
  constructor() {
    openPipe();
    this.#readEnd = new Descriptor(ends[0]!);
    this.#writeEnd = new Descriptor(ends[1]!);
  }

  /** The descriptor to read from; -1 once closed. */
  get readFd(): number {
    return this.#readEnd.fd;
  }

  /** The descriptor to write to; -1 once closed. */
  get writeFd(): number {
    return this.#writeEnd.fd;
  }

  /**
   * The number of bytes that went in, which may be fewer than there are; null if the pipe is full. Throws `TypeError`
   * for what is no `Uint8Array` or was detached, and `SystemError`: `EPIPE` if every read end is closed, `EBADF` if
   * this end is. write(2).
   */
  write(bytes: Uint8Array): number | null {
    checkBytes(bytes);
    do {
      const count = libc.write(this.#writeEnd.fd, bytes, bytes.byteLength);
      if (count !== -1) return count;
    } while (again("write"));
    return null;
  }

  /**
   * The number of bytes that came out; 0 at the end (every write end is closed), null if there is nothing now. Throws
   * `TypeError` for what is no `Uint8Array` or was detached, and `SystemError`: `EBADF` if this end is closed. read(2).
   */
  read(into: Uint8Array): number | null {
    checkBytes(into);
    do {
      const count = libc.read(this.#readEnd.fd, into, into.byteLength);
      if (count !== -1) return count;
    } while (again("read"));
    return null;
  }

  /** Closes the read end; the second call does nothing. Throws `SystemError`. close(2). */
  closeRead(): void {
    this.#readEnd.close();
  }

  /** Closes the write end: readers find the end. The second call does nothing. Throws `SystemError`. close(2). */
  closeWrite(): void {
    this.#writeEnd.close();
  }

  /** Closes both ends; the second call does nothing. Throws `SystemError`. close(2). */
  close(): void {
    this.closeRead();
    this.closeWrite();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
