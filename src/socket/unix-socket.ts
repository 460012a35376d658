import type { UnixAddress } from "../../ffi/sockaddr.ts";
import { getpeername, getsockname } from "../../ffi/socket.ts";
import { printAddress, printAs } from "../print.ts";
import { closeWhenDropped } from "../shared/dropped.ts";
import { StreamCore } from "./core.ts";
import { adoptDetached, type SocketHandle } from "./socket-handle.ts";
import { StreamSocket } from "./stream-socket.ts";

/** How errors and handles name it. */
export const KIND = "UnixSocket";

/** A connected Unix stream socket; unix(7). `connectSync({ path })` and `UnixListener.acceptSync` make them. */
export class UnixSocket extends StreamSocket {
  readonly #core: StreamCore;

  private constructor(core: StreamCore) {
    super(core);
    this.#core = core;
  }

  static {
    printAs(UnixSocket, (socket) => ({
      fd: socket.fd,
      localAddress: printAddress(socket, undefined, getsockname),
      remoteAddress: printAddress(socket, undefined, getpeername),
      closed: socket.closed,
    }));
  }

  /** @internal */
  static adopt(core: StreamCore): UnixSocket {
    const socket = new UnixSocket(core);
    closeWhenDropped(socket, core);
    return socket;
  }

  /** The socket that another thread has detached. Throws `ClosedError` if it was taken already, `TypeError` for what is no handle. */
  static from(handle: SocketHandle): UnixSocket {
    return UnixSocket.adopt(adoptDetached(handle, KIND, (fd) => new StreamCore(fd, KIND)));
  }

  /** This side's path: the listener's, of an accepted socket; `""`, of one that connected. Throws `ClosedError`. */
  get localAddress(): UnixAddress {
    this.#core.assertOpen();
    return getsockname(this.#core.fd) as UnixAddress;
  }

  /** The peer's path: the listener's, of a socket that connected; else `""`. Throws `ClosedError`. */
  get remoteAddress(): UnixAddress {
    this.#core.assertOpen();
    return (getpeername(this.#core.fd) ?? { path: "" }) as UnixAddress;
  }
}
