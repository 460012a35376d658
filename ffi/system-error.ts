/** What the kernel said, in Node.js's shape. */
import { constants as nodeConstants } from "node:os";
import { errno } from "./libc.ts";
import { constants } from "./platform/index.ts";

const { EAGAIN, EINTR } = constants;

const names = new Map(Object.entries(nodeConstants.errno).map(([name, number]) => [number, name]));
// Node.js lists both names of one number (EWOULDBLOCK, ENOTSUP); these are the ones that its errors carry.
for (const name of ["EAGAIN", "EOPNOTSUPP"] as const) names.set(nodeConstants.errno[name], name);
// And it leaves out some that sockets fail with.
for (const [name, number] of Object.entries(constants)) {
  if (/^E(?!POLL|AI_|FD_|V)[A-Z0-9]+$/.test(name) && !Number.isNaN(number) && !names.has(number))
    names.set(number, name);
}

/** The C name of an error number (`errnoName(111)` is `"ECONNREFUSED"` on Linux); without one, `"E9999"`. errno(3). */
export function errnoName(number: number): string {
  return names.get(number) ?? `E${number}`;
}

/** What to do about it, where there is something that the user can do. */
const advice: Readonly<Record<string, string>> = {
  EACCES: "not permitted; ports below 1024 and foreign socket files need privileges",
  EADDRINUSE: "the address is taken; stop the other program, choose another, or (of a port) set reusePort in both",
  EADDRNOTAVAIL: "this machine has no such address, or no free local port is left",
  EAFNOSUPPORT: "this machine has no such address family; pass an address of another family",
  EBADF: "the file descriptor was closed behind the library's back",
  ECONNREFUSED: "nothing listens there; start the server or check the address and port",
  ECONNRESET: "the peer dropped the connection; connect again",
  EHOSTUNREACH: "no route to the host; check the address and the network",
  EINTR: "a signal arrived and nothing was done; call again",
  EINVAL: "the kernel rejects these arguments for this file descriptor",
  EMFILE: "this process has too many files open; close some or raise `ulimit -n`",
  ENETUNREACH: "no route to that network; check the address and the network",
  ENFILE: "this machine has too many files open; close some or raise fs.file-max",
  ENOENT: "no such path; (to connect) start the server, or (to listen) create the folder of the socket file",
  ENOSYS: "this kernel or C library lacks the call",
  ENOTCONN: "the socket is not connected (any more)",
  ENOTSOCK: "the file descriptor is not a socket",
  EPIPE: "the peer or this side has ended the connection; nothing more can be written",
  ETIMEDOUT: "the peer stopped answering; connect again",
};

/** What an error says besides the call and its number. */
export interface SystemErrorDetails {
  /** The address, host name or path that the call was about. */
  readonly address?: string | undefined;
  /** Its port. */
  readonly port?: number | undefined;
  /** Overrides the advice at the end of the message. */
  readonly hint?: string | undefined;
  /** The name, where it is not an errno (`ENOTFOUND`, of a lookup). */
  readonly code?: string | undefined;
}

/**
 * The kernel refused a call. `errno` is the negative error number, `code` its C name, `syscall` the call.
 *
 * ```ts
 * try {
 *   connectSync({ hostname: "127.0.0.1", port: 1 });
 * } catch (error) {
 *   if (error instanceof SystemError && error.code === "ECONNREFUSED") console.log("no server there");
 * }
 * ```
 */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** The negative error number, as Node.js has it. */
  readonly errno: number;
  /** Its C name. */
  readonly code: string;
  /** The call that failed. */
  readonly syscall: string;
  /** The address, host name or path that the call was about. */
  declare readonly address?: string;
  /** Its port. */
  declare readonly port?: number;
  /** Of a failed write: the bytes that went out before. */
  declare bytesWritten?: number;
  /** Of a connect to a name with several addresses: what each address said, in the order tried. */
  declare errors?: readonly Error[];

  /** `number` is the error number, positive as errno has it. */
  constructor(syscall: string, number: number, details: SystemErrorDetails = {}) {
    const code = details.code ?? errnoName(number);
    const hint = details.hint ?? advice[code];
    let where = details.address === undefined ? "" : ` ${details.address}`;
    if (details.port !== undefined)
      where += details.address?.includes(":") ? ` port ${details.port}` : `:${details.port}`;
    super(`${syscall} ${code}${where}${hint === undefined ? "" : `: ${hint}`}`);
    this.errno = -number;
    this.code = code;
    this.syscall = syscall;
    if (details.address !== undefined) this.address = details.address;
    if (details.port !== undefined) this.port = details.port;
  }
}

/** The error of the call in the statement before. */
export function lastError(syscall: string, details?: SystemErrorDetails): SystemError {
  return new SystemError(syscall, errno(), details);
}

/**
 * What the -1 of the call in the statement before means. True: a signal interrupted it, call it again; false: it would
 * block. Throws what else it failed with.
 */
export function again(syscall: string): boolean {
  const error = errno();
  if (error === EAGAIN) return false;
  if (error !== EINTR) throw new SystemError(syscall, error);
  return true;
}
