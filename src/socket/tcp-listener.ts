import type { InetAddress, Sockaddr } from "../../ffi/sockaddr.ts";
import { getsockname } from "../../ffi/socket.ts";
import { printAddress, printAs } from "../print.ts";
import { TcpCore } from "./core.ts";
import { ListenerCore, StreamListener } from "./listener.ts";
import { type ListenerHandle, ListeningFd, TCP_LISTENER } from "./listening-fd.ts";
import { KIND, TcpSocket } from "./tcp-socket.ts";

function wrap(fd: number, peer: Sockaddr): TcpSocket {
  const core = new TcpCore(fd, KIND);
  core.remoteAddress = peer.decodeInet(); // of a client that has reset meanwhile, getpeername knows nothing
  return TcpSocket.adopt(core);
}

/** A listening TCP socket; `listen` makes them, `TcpListener.from` in other threads. */
export class TcpListener extends StreamListener<TcpSocket> {
  readonly #core: ListenerCore<TcpSocket>;
  #address: InetAddress | undefined;

  private constructor(listening: ListeningFd) {
    if (!(listening instanceof ListeningFd))
      throw new TypeError(`${new.target.name} has no public constructor: use listen`);
    const core = new ListenerCore(listening, TCP_LISTENER.name, wrap);
    super(core);
    this.#core = core;
  }

  static {
    printAs(TcpListener, (listener) => ({
      fd: listener.fd,
      address: printAddress(listener, listener.#address, getsockname),
      closed: listener.closed,
    }));
  }

  /** @internal */
  static adopt(fd: number): TcpListener {
    return new TcpListener(new ListeningFd(fd, TCP_LISTENER));
  }

  /**
   * The listener that another thread sent: the same descriptor, closed by the last thread that closes its copy. Throws
   * `ClosedError` if all have, and `TypeError` for what is no handle.
   */
  static from(handle: ListenerHandle): TcpListener {
    return new TcpListener(ListeningFd.from(handle, TCP_LISTENER));
  }

  /** Where clients reach it, with the port that the kernel chose. Throws `ClosedError` if first asked for after `close`. */
  get address(): InetAddress {
    if (this.#address === undefined) {
      this.#core.assertOpen();
      this.#address = getsockname(this.#core.fd) as InetAddress;
    }
    return this.#address;
  }
}
