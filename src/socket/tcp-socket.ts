import { constants } from "../../ffi/platform/index.ts";
import type { InetAddress } from "../../ffi/sockaddr.ts";
import { getpeername, getsockname, setsockopt } from "../../ffi/socket.ts";
import { ClosedError } from "../errors.ts";
import { checkBoolean, checkCount, checkKeys } from "../options.ts";
import { printAddress, printAs } from "../print.ts";
import { closeWhenDropped } from "../shared/dropped.ts";
import { TcpCore } from "./core.ts";
import { adoptDetached, type SocketHandle } from "./socket-handle.ts";
import { StreamSocket } from "./stream-socket.ts";

const { IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPALIVE, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY } =
  constants;
/** How errors and handles name it. */
export const KIND = "TcpSocket";
/** macOS calls the idle time TCP_KEEPALIVE. */
const keepIdle = Number.isNaN(TCP_KEEPIDLE) ? TCP_KEEPALIVE : TCP_KEEPIDLE;

/** Probing a silent peer: on or off, or the kernel's figures, in seconds; tcp(7). What is left out stays the system's. */
export type KeepAlive =
  | boolean
  | { idle?: number | undefined; interval?: number | undefined; count?: number | undefined };

/** A connected TCP socket. `connectSync` and `TcpListener.acceptSync` make them. */
export class TcpSocket extends StreamSocket {
  readonly #core: TcpCore;

  private constructor(core: TcpCore) {
    super(core);
    this.#core = core;
  }

  static {
    printAs(TcpSocket, (socket) => ({
      fd: socket.fd,
      localAddress: printAddress(socket, socket.#core.localAddress, getsockname),
      remoteAddress: printAddress(socket, socket.#core.remoteAddress, getpeername),
      closed: socket.closed,
    }));
  }

  /** @internal */
  static adopt(core: TcpCore): TcpSocket {
    const socket = new TcpSocket(core);
    closeWhenDropped(socket, core);
    return socket;
  }

  /** The socket that another thread has detached. Throws `ClosedError` if it was taken already, `TypeError` for what is no handle. */
  static from(handle: SocketHandle): TcpSocket {
    return TcpSocket.adopt(adoptDetached(handle, KIND, (fd) => new TcpCore(fd, KIND)));
  }

  /** Throws `ClosedError` if it is first asked for after `close`. */
  get localAddress(): InetAddress {
    if (this.#core.localAddress === undefined) {
      this.#core.assertOpen();
      this.#core.localAddress = getsockname(this.#core.fd) as InetAddress;
    }
    return this.#core.localAddress;
  }

  /** The peer's address. */
  get remoteAddress(): InetAddress {
    if (this.#core.remoteAddress === undefined) {
      this.#core.assertOpen();
      const address = getpeername(this.#core.fd);
      if (address === null) throw new ClosedError("the peer has reset the connection, and its address went with it");
      this.#core.remoteAddress = address as InetAddress;
    }
    return this.#core.remoteAddress;
  }

  /** Send small writes at once (TCP_NODELAY), as sockets of this library do from the start. */
  setNoDelay(on = true): void {
    checkBoolean(on, "on");
    this.#core.assertOpen();
    setsockopt(this.#core.fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
  }

  /** Probes a silent peer, so that a dead one is noticed: `setKeepAlive({ idle: 30, interval: 10, count: 3 })`, seconds. */
  setKeepAlive(keepAlive: KeepAlive = true): void {
    checkKeepAlive(keepAlive);
    this.#core.assertOpen();
    applyKeepAlive(this.#core.fd, keepAlive);
  }
}

/** Throws `TypeError` or `RangeError`; the bounds are the kernel's own. */
export function checkKeepAlive(keepAlive: KeepAlive): void {
  if (typeof keepAlive === "boolean") return;
  checkKeys("keepAlive", keepAlive, ["idle", "interval", "count"]);
  if (keepAlive.idle !== undefined) checkCount(keepAlive.idle, "keepAlive.idle", 1, 32767);
  if (keepAlive.interval !== undefined) checkCount(keepAlive.interval, "keepAlive.interval", 1, 32767);
  if (keepAlive.count !== undefined) checkCount(keepAlive.count, "keepAlive.count", 1, 127);
}

export function applyKeepAlive(fd: number, keepAlive: KeepAlive): void {
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, keepAlive === false ? 0 : 1);
  if (typeof keepAlive === "boolean") return;
  const { idle, interval, count } = keepAlive;
  if (idle !== undefined) setsockopt(fd, IPPROTO_TCP, keepIdle, idle);
  if (interval !== undefined) setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval);
  if (count !== undefined) setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, count);
}
