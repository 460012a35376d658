/** One connection of a server: its handler, what becomes of its socket, and as what it counts. */
import type { CancelSource } from "../cancel/source.ts";
import type { CancelToken } from "../cancel/token.ts";
import { CancelledError, ClosedError } from "../errors.ts";
import { coreOfSocket } from "../socket/socket.ts";
import type { TcpSocket } from "../socket/tcp-socket.ts";
import type { UnixSocket } from "../socket/unix-socket.ts";
import type { Counts } from "./counts.ts";

type AnySocket = TcpSocket | UnixSocket;

/** What a handler is told besides its socket. */
export interface HandlerContext {
  /** Cancelled when the server begins to shut down: pass it to the reads that wait for the *next* request. */
  readonly cancel: CancelToken;
  /** The same as an `AbortSignal`, for `fetch` and the like. */
  readonly signal: AbortSignal;
}

/** Serves one connection. Its socket is closed for it when it is done. */
export type Handler<S = AnySocket> = (socket: S, context: HandlerContext) => unknown;
/** Told what handlers fail with. */
export type OnError<S = AnySocket> = (error: unknown, socket: S) => void;

/** The signal is made when it is asked for: most handlers never do. */
class Context implements HandlerContext {
  readonly cancel: CancelToken;

  constructor(cancel: CancelToken) {
    this.cancel = cancel;
  }

  get signal(): AbortSignal {
    return this.cancel.signal;
  }
}

export class Connection {
  readonly socket: AnySocket;
  readonly #source: CancelSource;
  readonly #counts: Counts;
  readonly #ended: (connection: Connection) => void;
  /** What it counts as, or will. */
  #end: "completed" | "forced" | "failed" = "completed";
  #isOver = false;
  #isClosing = false;

  /** `source` is the connection's own. `ended` is called once, when the socket is closed or detached. */
  constructor(socket: AnySocket, source: CancelSource, counts: Counts, ended: (connection: Connection) => void) {
    this.socket = socket;
    this.#source = source;
    this.#counts = counts;
    this.#ended = ended;
    counts.begin();
    coreOfSocket(socket).whenLeaving(() => this.#leave());
  }

  #leave(): void {
    this.#isOver = true;
    this.#counts.end(this.#end);
    this.#ended(this);
  }

  /** Never rejected. */
  async run(handler: Handler, onError: OnError): Promise<void> {
    try {
      await handler(this.socket, new Context(this.#source.token));
    } catch (error) {
      // What we closed under its hands is `forced`, and no error of the handler.
      if (!this.#isOwnEnd(error) && !(this.#end === "forced" && error instanceof ClosedError)) {
        this.#fail();
        void report(onError, error, this.socket);
      }
    } finally {
      this.#source.dispose();
    }
    await this.#closeGracefully();
  }

  #fail(): void {
    if (this.#end === "completed" && this.#isOver) this.#counts.hasFailed(); // it had closed its socket itself
    if (this.#end === "completed") this.#end = "failed";
    this.socket.resetAndDestroy(); // the peer must not take a part for the whole
  }

  /** It is how a handler ends that waited for the next request when the server was told to stop. */
  #isOwnEnd(error: unknown): boolean {
    if (!this.#source.cancelled) return false;
    const { reason } = this.#source;
    return error === reason || (error instanceof CancelledError && error.cause === reason);
  }

  async #closeGracefully(): Promise<void> {
    if (this.socket.closed) return;
    this.#isClosing = true;
    try {
      this.socket.setDeadline(null); // the handler's, and its own may have passed
      await this.socket.closeGracefully();
    } catch {
      // The peer has reset the connection, or did not end its side in time, or the server is forced to end: it is closed.
    }
  }

  /** Ends it now. */
  force(): void {
    if (this.#isClosing) {
      this.socket.close(); // the handler is done, and all is written: a reset could destroy it on its way
      return;
    }
    this.#end = "forced";
    this.socket.resetAndDestroy();
  }
}

/** What it throws itself is nobody's but the programmer's, and must not end the server. */
async function report(onError: OnError, error: unknown, socket: AnySocket): Promise<void> {
  try {
    await onError(error, socket);
  } catch (failure) {
    console.error(failure);
  }
}
