import type { UnixAddress } from "../../ffi/sockaddr.ts";
import { getsockname } from "../../ffi/socket.ts";
import { printAddress, printAs } from "../print.ts";
import { StreamCore } from "./core.ts";
import { ListenerCore, StreamListener } from "./listener.ts";
import { type ListenerHandle, ListeningFd, type SocketFile, UNIX_LISTENER } from "./listening-fd.ts";
import { KIND, UnixSocket } from "./unix-socket.ts";

function wrap(fd: number): UnixSocket {
  return UnixSocket.adopt(new StreamCore(fd, KIND));
}

/** A listening Unix socket; `listen({ path })` makes them, `UnixListener.from` in other threads. */
export class UnixListener extends StreamListener<UnixSocket> {
  readonly #core: ListenerCore<UnixSocket>;
  #address: UnixAddress | undefined;

  private constructor(listening: ListeningFd) {
    if (!(listening instanceof ListeningFd))
      throw new TypeError(`${new.target.name} has no public constructor: use listen`);
    const core = new ListenerCore(listening, UNIX_LISTENER.name, wrap);
    super(core);
    this.#core = core;
  }

  static {
    printAs(UnixListener, (listener) => ({
      fd: listener.fd,
      address: printAddress(listener, listener.#address, getsockname),
      closed: listener.closed,
    }));
  }

  /** @internal */
  static adopt(fd: number, file: SocketFile | undefined): UnixListener {
    const listening = new ListeningFd(fd, UNIX_LISTENER, file);
    // From the start: whoever sweeps after this thread has to find the file, too.
    if (file !== undefined) listening.share();
    return new UnixListener(listening);
  }

  /**
   * The listener that another thread sent: the same descriptor, closed by the last thread that closes its copy, which
   * removes the file. Throws `ClosedError` if all have, and `TypeError` for what is no handle.
   */
  static from(handle: ListenerHandle): UnixListener {
    return new UnixListener(ListeningFd.from(handle, UNIX_LISTENER));
  }

  /** The path. Throws `ClosedError` if first asked for after `close`. */
  get address(): UnixAddress {
    if (this.#address === undefined) {
      this.#core.assertOpen();
      this.#address = getsockname(this.#core.fd) as UnixAddress;
    }
    return this.#address;
  }
}
