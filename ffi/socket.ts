/**
 * The socket calls, section 2 of the manual. Every descriptor is born non-blocking and close-on-exec, and every send
 * carries MSG_NOSIGNAL (every platform here has it, macOS too, so none needs SO_NOSIGPIPE). A call that would block
 * (EAGAIN) returns null, EINTR is retried, and the rest throws `SystemError`; what is no file descriptor, an integer of
 * 0 or more, is a `TypeError` of each. Addresses are `InetAddress` or `UnixAddress`.
 */
import { adopt, checkFd, opened } from "./fd.ts";
import { errno, libc } from "./libc.ts";
import { addressOf, checkBytes, scratch, scratchWords, writeUint64 } from "./memory.ts";
import { constants, structs } from "./platform/index.ts";
import { type InetAddress, Sockaddr, type UnixAddress } from "./sockaddr.ts";
import { again, lastError, SystemError } from "./system-error.ts";

const { EAGAIN, EALREADY, EINPROGRESS, EINTR, EISCONN, ENOSYS, ENOTCONN } = constants;
const { MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_NONBLOCK } = constants;
const bornReady = !Number.isNaN(SOCK_NONBLOCK);
const address = new Sockaddr();
const option = scratchWords(2);
const optionLength = scratchWords(1);
/** UIO_MAXIOV on every platform here; a sendmsg of more fails with EMSGSIZE. */
const IOV_MAX = 1024;
const message = scratch(structs.msghdr.size);
const messageWords = new Int32Array(message.buffer);
let vector: Int32Array<ArrayBuffer> | undefined;

/**
 * A new socket, non-blocking and close-on-exec: `socket(AF_INET, SOCK_STREAM)`. `protocol` is 0, the type's own, unless
 * given. Throws `SystemError`: `EMFILE` if no descriptor is free, `EAFNOSUPPORT`. socket(2).
 */
export function socket(domain: number, type: number, protocol = 0): number {
  const flags = bornReady ? SOCK_NONBLOCK | SOCK_CLOEXEC : 0;
  const fd = opened(libc.socket(domain, type | flags, protocol), "socket");
  return bornReady ? fd : adopt(fd);
}

function details(of: InetAddress | UnixAddress): { address: string; port?: number } {
  return "path" in of ? { address: of.path } : { address: of.address, port: of.port };
}

/**
 * Gives the socket its own address; port 0 is any free one. Throws what `Sockaddr.encode` throws, and `SystemError`:
 * `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`. bind(2).
 */
export function bind(fd: number, to: InetAddress | UnixAddress): void {
  checkFd(fd);
  address.encode(to);
  if (libc.bind(fd, address.bytes, address.length) === -1) throw lastError("bind", details(to));
}

/**
 * Lets clients connect; the kernel queues `backlog` of them (on Linux, net.core.somaxconn at most). Throws
 * `SystemError`: `EADDRINUSE`. listen(2).
 */
export function listen(fd: number, backlog: number): void {
  checkFd(fd);
  if (libc.listen(fd, backlog) === -1) throw lastError("listen");
}

/**
 * Takes a connection: its descriptor, or null if none waits. `peer`, if given, is filled with the client's address:
 * of a client that reset at once, getpeername no longer knows it. Throws `SystemError`: `EMFILE`, `ENFILE`, or what the
 * connection failed with (`ECONNABORTED`). accept4(2); accept(2) and fcntl(2) where there is none.
 */
export function accept4(fd: number, peer: Sockaddr = address): number | null {
  checkFd(fd);
  do {
    let accepted = libc.accept4(fd, peer.clear().bytes, peer.lengthCell, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted !== -1) return accepted;
    if (errno() === ENOSYS) {
      accepted = libc.accept(fd, peer.clear().bytes, peer.lengthCell);
      if (accepted !== -1) return adopt(accepted);
    }
  } while (again("accept"));
  return null;
}

/**
 * Begins to connect. True: connected already. False: in progress; wait until the socket is writable, then ask
 * `getsockopt(fd, SOL_SOCKET, SO_ERROR)`. Null, of a Unix socket: the server's backlog is full. Throws what
 * `Sockaddr.encode` throws, and `SystemError`: `ECONNREFUSED`, `ENETUNREACH`, `ENOENT`. connect(2).
 */
export function connect(fd: number, to: InetAddress | UnixAddress): boolean | null {
  checkFd(fd);
  address.encode(to);
  if (libc.connect(fd, address.bytes, address.length) === 0) return true;
  const error = errno();
  // After EINTR the handshake goes on in the kernel; a second connect would only say EALREADY (connect(2)).
  if (error === EINPROGRESS || error === EALREADY || error === EINTR) return false;
  if (error === EISCONN) return true;
  if (error === EAGAIN && "path" in to) return null;
  throw new SystemError("connect", error, details(to));
}

/**
 * The number of bytes read into `into`; 0: the peer has ended (or `into` is empty); null: nothing now. `flags`
 * (`MSG_PEEK`, …) are 0 unless given. Throws `TypeError` for what is no `Uint8Array` or was detached, and
 * `SystemError`: `ECONNRESET`, `ENOTCONN`. recv(2).
 */
export function recv(fd: number, into: Uint8Array, flags = 0): number | null {
  checkFd(fd);
  checkBytes(into);
  if (into.byteLength === 0) return 0;
  do {
    const count = libc.recv(fd, into, into.byteLength, flags);
    if (count !== -1) return count;
  } while (again("recv"));
  return null;
}

/**
 * The number of bytes that the kernel took, which may be fewer than there are; null: it has no room. `flags`
 * are 0 unless given. Throws `TypeError` for what is no `Uint8Array` or was detached, and `SystemError`: `EPIPE`,
 * `ECONNRESET`, `ENOTCONN`. send(2).
 */
export function send(fd: number, bytes: Uint8Array, flags = 0): number | null {
  checkFd(fd);
  checkBytes(bytes);
  do {
    const count = libc.send(fd, bytes, bytes.byteLength, flags | MSG_NOSIGNAL);
    if (count !== -1) return count;
  } while (again("send"));
  return null;
}

/**
 * Sends the chunks from `from` (0 unless given) on with one call, 1024 of them at most, less the first `skip` bytes (0
 * unless given) of the first; the number of bytes that went out, or null. Throws as `send` does, and `RangeError` if
 * `from` or `skip` is no integer of 0 or more. sendmsg(2).
 */
export function sendmsg(fd: number, chunks: readonly Uint8Array[], from = 0, skip = 0, flags = 0): number | null {
  checkFd(fd);
  if (!Number.isInteger(from) || from < 0) throw new RangeError(`from is the index of a chunk, not ${from}`);
  if (!Number.isInteger(skip) || skip < 0) throw new RangeError(`skip is a number of bytes, not ${skip}`);
  vector ??= scratchWords(IOV_MAX * 4);
  let count = 0;
  for (let i = from; i < chunks.length && count < IOV_MAX; i++) {
    const chunk = chunks[i]!;
    checkBytes(chunk);
    const offset = i === from ? skip : 0;
    if (chunk.byteLength <= offset) continue;
    writeUint64(vector, count * 4, addressOf(chunk) + offset);
    writeUint64(vector, count * 4 + 2, chunk.byteLength - offset);
    count++;
  }
  message.fill(0);
  writeUint64(messageWords, structs.msghdr.fields.msg_iov[0] / 4, addressOf(vector));
  messageWords[structs.msghdr.fields.msg_iovlen[0] / 4] = count;
  do {
    const sent = libc.sendmsg(fd, message, flags | MSG_NOSIGNAL);
    if (sent !== -1) return sent;
  } while (again("sendmsg"));
  return null;
}

/**
 * Ends one direction or both: `SHUT_RD`, `SHUT_WR`, `SHUT_RDWR`. Throws `SystemError`: `ENOTCONN`. shutdown(2).
 */
export function shutdown(fd: number, how: number): void {
  checkFd(fd);
  if (libc.shutdown(fd, how) === -1) throw lastError("shutdown");
}

/**
 * An option that is an int (nearly all are): `getsockopt(fd, SOL_SOCKET, SO_ERROR)`, which is cleared by reading it.
 * Throws `SystemError`: `ENOPROTOOPT` if the socket has no such option. getsockopt(2); socket(7), tcp(7), ipv6(7).
 */
export function getsockopt(fd: number, level: number, name: number): number {
  checkFd(fd);
  optionLength[0] = 4;
  option[0] = 0;
  if (libc.getsockopt(fd, level, name, option, optionLength) === -1) throw lastError("getsockopt");
  return option[0]!;
}

/**
 * Sets an option: an int, or the bytes of a struct (`SO_LINGER`). Throws `RangeError` for a number that is no integer,
 * `TypeError` for what is no `Uint8Array` or was detached, and `SystemError`: `ENOPROTOOPT`, `EINVAL`. setsockopt(2).
 */
export function setsockopt(fd: number, level: number, name: number, value: number | Uint8Array): void {
  checkFd(fd);
  let result: number;
  if (typeof value === "number") {
    if (!Number.isInteger(value)) throw new RangeError(`an option is an integer, not ${value}`);
    option[0] = value;
    result = libc.setsockopt(fd, level, name, option, 4);
  } else {
    checkBytes(value);
    result = libc.setsockopt(fd, level, name, value, value.byteLength);
  }
  if (result === -1) throw lastError("setsockopt");
}

/** The socket's own address. Throws `TypeError` of another family, and `SystemError`. getsockname(2). */
export function getsockname(fd: number): InetAddress | UnixAddress {
  checkFd(fd);
  address.clear();
  if (libc.getsockname(fd, address.bytes, address.lengthCell) === -1) throw lastError("getsockname");
  return address.decode();
}

/**
 * The peer's address; null if the socket is not connected (ENOTCONN). Throws `TypeError` of another family, and
 * `SystemError`. getpeername(2).
 */
export function getpeername(fd: number): InetAddress | UnixAddress | null {
  checkFd(fd);
  address.clear();
  if (libc.getpeername(fd, address.bytes, address.lengthCell) === 0) return address.decode();
  if (errno() === ENOTCONN) return null;
  throw lastError("getpeername");
}
