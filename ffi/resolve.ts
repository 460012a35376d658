/**
 * Names to addresses, by libc: /etc/hosts, DNS and whatever else nsswitch.conf(5) says.
 *
 * `getaddrinfo` cannot be interrupted. glibc's `getaddrinfo_a` runs it in a thread of its own and, when done, calls a
 * function with a value (SIGEV_THREAD, sigevent(3)). Ours is libc's own `close`, and the value is the write end of a
 * pipe: the read end then says EOF, which a wait can watch next to a doorbell, and no JS runs in a foreign thread.
 */
import { close } from "./fd.ts";
import { errno, libc } from "./libc.ts";
import { copyFrom, cString, readInt32, readPointer, scratch, scratchWords, textAt, writeUint64 } from "./memory.ts";
import { Pipe } from "./pipe.ts";
import { constants, structs } from "./platform/index.ts";
import { type InetAddress, Sockaddr } from "./sockaddr.ts";
import { SystemError } from "./system-error.ts";

const {
  AF_INET,
  AF_INET6,
  AI_ADDRCONFIG,
  EAI_AGAIN,
  EAI_CANCELED,
  EAI_FAIL,
  EAI_INPROGRESS,
  EAI_MEMORY,
  EAI_NODATA,
  EAI_NONAME,
  EAI_SYSTEM,
  ENOSYS,
  GAI_NOWAIT,
  SIGEV_THREAD,
  SOCK_STREAM,
} = constants;
const { addrinfo, gaicb, sigevent } = structs;
const sockaddr = new Sockaddr();
const result = scratchWords(2);
const end = scratch(1);

const failures = new Map([
  [EAI_AGAIN, "EAI_AGAIN: the name server did not answer; try again"],
  [EAI_FAIL, "EAI_FAIL: the name server failed"],
  [EAI_MEMORY, "EAI_MEMORY: out of memory"],
  [EAI_NODATA, "EAI_NODATA: the name exists and has no address of this family"],
  [EAI_NONAME, "EAI_NONAME: no such name; check its spelling"],
]);

function lookupError(status: number, hostname: string): SystemError {
  const hint = failures.get(status) ?? `getaddrinfo said ${status}: ${textAt(libc.gai_strerror(status))}`;
  return new SystemError("getaddrinfo", -status, { code: "ENOTFOUND", address: hostname, hint });
}

/** struct addrinfo for "stream sockets of this family, of families that this machine has". */
function hints(family: 0 | 4 | 6): Uint8Array<ArrayBuffer> {
  const bytes = scratch(addrinfo.size);
  const words = new Int32Array(bytes.buffer);
  words[addrinfo.fields.ai_flags[0] / 4] = family === 0 ? AI_ADDRCONFIG : 0;
  words[addrinfo.fields.ai_family[0] / 4] = family === 0 ? 0 : family === 4 ? AF_INET : AF_INET6;
  words[addrinfo.fields.ai_socktype[0] / 4] = SOCK_STREAM;
  return bytes;
}

/** The addresses of a list of struct addrinfo, in libc's order (RFC 6724), without repeats. Frees the list. */
function takeList(list: number): InetAddress[] {
  const found: InetAddress[] = [];
  for (let entry = list; entry !== 0; entry = readPointer(entry + addrinfo.fields.ai_next[0])) {
    const family = readInt32(entry + addrinfo.fields.ai_family[0]);
    if (family !== AF_INET && family !== AF_INET6) continue;
    const length = readInt32(entry + addrinfo.fields.ai_addrlen[0]);
    sockaddr.bytes.set(copyFrom(readPointer(entry + addrinfo.fields.ai_addr[0]), length));
    const address = sockaddr.decodeInet();
    if (!found.some((other) => other.address === address.address)) found.push(address);
  }
  libc.freeaddrinfo(list);
  return found;
}

/**
 * The addresses of a name, in libc's order (RFC 6724) and each once, with port 0; a lookup that blocks this thread and
 * cannot be stopped. `family` 0, unless given, is both, as far as this machine has them. Throws `TypeError` for a name
 * with a NUL in it, and `SystemError`: `ENOTFOUND`, or what a system call failed with. getaddrinfo(3).
 */
export function getaddrinfo(hostname: string, family: 0 | 4 | 6 = 0): InetAddress[] {
  result.fill(0);
  const status = libc.getaddrinfo(cString(hostname), null, hints(family), result);
  // errno is only worth something in the thread of the call: not after getaddrinfo_a.
  if (status === EAI_SYSTEM) throw new SystemError("getaddrinfo", errno(), { address: hostname });
  if (status !== 0) throw lookupError(status, hostname);
  return takeList((result[1]! >>> 0) * 0x1_0000_0000 + (result[0]! >>> 0));
}

/** Requests whose owner lost interest: libc still writes to them, so they are freed once it has finished. */
const abandoned: number[] = [];

function free(block: number): void {
  const list = readPointer(block + gaicb!.fields.ar_result[0]);
  if (list !== 0) libc.freeaddrinfo(list);
  libc.free(block);
}

function sweepAbandoned(): void {
  for (let i = abandoned.length - 1; i >= 0; i--) {
    if (libc.gai_error(abandoned[i]!) === EAI_INPROGRESS) continue;
    free(abandoned[i]!);
    abandoned.splice(i, 1);
  }
}

/** A lookup under way in a thread of libc; getaddrinfo_a(3). */
export class Lookup {
  /** Readable (at its end) once the lookup is done. */
  readonly fd: number;
  readonly #hostname: string;
  readonly #writeFd: number;
  /** The request, malloc'ed: a thread of libc writes to it, perhaps after this thread and its JS memory are gone. */
  #block: number;

  private constructor(hostname: string, pipe: Pipe, block: number) {
    this.#hostname = hostname;
    this.fd = pipe.readFd;
    this.#writeFd = pipe.writeFd;
    this.#block = block;
  }

  /**
   * Begins a lookup, with the arguments of `getaddrinfo`; null where libc has no getaddrinfo_a (musl, macOS). Throws as
   * `getaddrinfo` does, and `EMFILE` if fewer than two descriptors are free.
   */
  static start(hostname: string, family: 0 | 4 | 6 = 0): Lookup | null {
    if (gaicb === undefined || sigevent === undefined) return null;
    sweepAbandoned();
    const name = cString(hostname);
    const pipe = new Pipe();
    // One block: the request, the list of one request, the hints, the notification, the name.
    const listAt = gaicb.size;
    const hintsAt = listAt + 8;
    const notifyAt = hintsAt + addrinfo.size;
    const nameAt = notifyAt + sigevent.size;
    const image = scratch(Math.ceil((nameAt + name.length) / 8) * 8);
    const words = new Int32Array(image.buffer);
    const block = libc.malloc(image.length);
    if (block === null || block === 0) {
      pipe.close();
      throw lookupError(EAI_MEMORY, hostname);
    }
    writeUint64(words, gaicb.fields.ar_name[0] / 4, block + nameAt);
    writeUint64(words, gaicb.fields.ar_request[0] / 4, block + hintsAt);
    writeUint64(words, listAt / 4, block);
    image.set(hints(family), hintsAt);
    words[(notifyAt + sigevent.fields.sigev_value[0]) / 4] = pipe.writeFd;
    words[(notifyAt + sigevent.fields.sigev_notify[0]) / 4] = SIGEV_THREAD;
    writeUint64(words, (notifyAt + sigevent.fields.sigev_notify_function[0]) / 4, libc.dlsym(null, cString("close")));
    image.set(name, nameAt);
    libc.memcpy(block, image, image.length);
    const status = libc.getaddrinfo_a(GAI_NOWAIT, block + listAt, 1, block + notifyAt);
    if (status !== 0) {
      const missing = status === -1 && errno() === ENOSYS;
      pipe.close();
      libc.free(block);
      if (missing) return null;
      throw lookupError(status, hostname);
    }
    return new Lookup(hostname, pipe, block); // the write end is libc's now: only its thread closes it
  }

  /** True once `fd` is at its end. */
  get done(): boolean {
    return libc.read(this.fd, end, 1) === 0;
  }

  /**
   * Once it is done: the addresses. Releases everything. Throws `SystemError`, code `ENOTFOUND`, and `Error` if the
   * lookup is over. gai_error(3).
   */
  finish(): InetAddress[] {
    const block = this.#take();
    const status = libc.gai_error(block);
    const list = readPointer(block + gaicb!.fields.ar_result[0]);
    libc.free(block);
    if (status !== 0) throw lookupError(status, this.#hostname);
    return takeList(list);
  }

  /**
   * Nobody waits for it any more. If libc has not begun, it never will; else it runs to its end there (libc has twenty
   * threads for it), and its memory is freed at a later lookup. Throws `Error` if the lookup is over. gai_cancel(3).
   */
  abandon(): void {
    const block = this.#take();
    if (libc.gai_cancel(block) !== EAI_CANCELED) {
      abandoned.push(block);
      return;
    }
    close(this.#writeFd); // a cancelled request notifies nobody
    free(block);
  }

  #take(): number {
    if (this.#block === 0) throw new Error("this lookup is over: finish() or abandon() was called");
    close(this.fd);
    const block = this.#block;
    this.#block = 0;
    return block;
  }
}
