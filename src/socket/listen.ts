/** From the options of `listen` to a listening descriptor. */
import { constants } from "../../ffi/platform/index.ts";
import { getaddrinfo } from "../../ffi/resolve.ts";
import type { InetAddress } from "../../ffi/sockaddr.ts";
import * as sys from "../../ffi/socket.ts";
import { SystemError } from "../errors.ts";
import { checkBoolean, checkCount, checkHostname, checkKeys, checkPort, checkText, hasPath } from "../options.ts";
import { closeOwned, own } from "../shared/ledger.ts";
import { bindPath } from "./bind-path.ts";
import { removeFile } from "./listening-fd.ts";
import { literalAddress } from "./lookup.ts";
import { TcpListener } from "./tcp-listener.ts";
import { UnixListener } from "./unix-listener.ts";

const {
  AF_INET,
  AF_INET6,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_NODELAY,
} = constants;

export interface InetListenOptions {
  /** Default `"::"`, where that works: all addresses, IPv4 too. Else `"0.0.0.0"`. A name is looked up first. */
  hostname?: string | undefined;
  /** Default 0: any free one; `listener.address.port` tells. */
  port?: number | undefined;
  /** Connections that the kernel queues for `accept`; default 511, and Linux allows no more than net.core.somaxconn. */
  backlog?: number | undefined;
  /** Let other listeners of this user have the same port, in this process or another; the kernel spreads clients. Default false. */
  reusePort?: boolean | undefined;
  /** With `"::"`: do not take IPv4 clients. Default false. */
  ipv6Only?: boolean | undefined;
  path?: undefined;
}

export interface UnixListenOptions {
  /**
   * The path of the socket file, which `close` removes. A file that a crashed server left is taken over; a path where
   * somebody listens, or that is no socket, is `EADDRINUSE`. A first character of NUL: an abstract name, without a file
   * (Linux).
   */
  path: string;
  /** Connections that the kernel queues for `accept`; default 511. */
  backlog?: number | undefined;
  hostname?: undefined;
  port?: undefined;
  reusePort?: undefined;
  ipv6Only?: undefined;
}

/** What `listen` takes. */
export type ListenOptions = InetListenOptions | UnixListenOptions;

const inetKeys = ["hostname", "port", "reusePort", "ipv6Only"] as const;
const unixKeys = ["path", "backlog"] as const;

/**
 * Listens for TCP connections, or at a path for those of this machine. Throws `SystemError` (`EADDRINUSE`, `EACCES`),
 * `TypeError`, `RangeError`.
 *
 * ```ts
 * using listener = listen({ port: 8080 });
 * for (;;) serve(listener.acceptSync({ cancel }));
 * ```
 */
export function listen(options?: InetListenOptions): TcpListener;
export function listen(options: UnixListenOptions): UnixListener;
export function listen(options: ListenOptions): TcpListener | UnixListener;
export function listen(options: ListenOptions = {}): TcpListener | UnixListener {
  const unix = hasPath(options, inetKeys);
  if (unix) checkKeys("listen", options, unixKeys, [], inetKeys);
  else checkKeys("listen", options, [...inetKeys, "backlog"], ["path"]);
  const { backlog = 511 } = options;
  checkCount(backlog, "backlog", 0, 0x7fff_ffff);
  return unix ? listenAt(options.path, backlog) : listenInet(options as InetListenOptions, backlog);
}

function listenAt(path: string, backlog: number): UnixListener {
  checkText(path, "path");
  const { fd, file } = bindPath(path);
  try {
    listenOrName(fd, backlog, { address: path });
    return UnixListener.adopt(fd, file);
  } catch (error) {
    if (file !== undefined) removeFile(file);
    closeOwned(fd);
    throw error;
  }
}

/** listen(2) too finds an address in use, if somebody was faster, and does not know which one it is. */
function listenOrName(fd: number, backlog: number, address: { address: string; port?: number }): void {
  try {
    sys.listen(fd, backlog);
  } catch (error) {
    throw error instanceof SystemError ? new SystemError("listen", -error.errno, address) : error;
  }
}

function listenInet({ hostname, port = 0, reusePort, ipv6Only }: InetListenOptions, backlog: number): TcpListener {
  if (hostname !== undefined) checkHostname(hostname, "hostname");
  checkPort(port, "port");
  checkBoolean(reusePort, "reusePort");
  checkBoolean(ipv6Only, "ipv6Only");
  if (hostname !== undefined) return listenOn(toAddress(hostname, port), backlog, reusePort, ipv6Only);
  try {
    return listenOn({ address: "::", port, family: "IPv6" }, backlog, reusePort, ipv6Only);
  } catch (error) {
    const without = error instanceof SystemError && (error.errno === -EAFNOSUPPORT || error.errno === -EADDRNOTAVAIL);
    if (!without || ipv6Only === true) throw error;
    return listenOn({ address: "0.0.0.0", port, family: "IPv4" }, backlog, reusePort, undefined);
  }
}

function toAddress(hostname: string, port: number): InetAddress {
  return literalAddress(hostname, port) ?? { ...getaddrinfo(hostname)[0]!, port };
}

function listenOn(
  address: InetAddress,
  backlog: number,
  reusePort: boolean | undefined,
  ipv6Only: boolean | undefined,
): TcpListener {
  const fd = own(sys.socket(address.family === "IPv4" ? AF_INET : AF_INET6, SOCK_STREAM));
  try {
    // On the old listener and the new one, or connections in TIME_WAIT keep the port.
    sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (reusePort) sys.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (address.family === "IPv6") sys.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, ipv6Only ? 1 : 0);
    sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1); // accepted sockets inherit it: no call for each
    sys.bind(fd, address);
    listenOrName(fd, backlog, address);
    return TcpListener.adopt(fd);
  } catch (error) {
    closeOwned(fd);
    throw error;
  }
}
