/** One connection of a server: its handler, what becomes of its socket, and as what it counts. */
import type { CancelSource } from "../cancel/source.ts";
import type { CancelToken } from "../cancel/token.ts";
import { CancelledError, ClosedError } from "../errors.ts";
import { coreOfSocket } from "../socket/socket.ts";
import type { TcpSocket } from "../socket/tcp-socket.ts";
import type { UnixSocket } from "../socket/unix-socket.ts";
import type { Counts } from "./counts.ts";
import { tell } from "./tell.ts";

export type AnySocket = TcpSocket | UnixSocket;

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
  /** What the signal is aborted with: an error, as `fetch` and the like are rejected with this very object. */
  readonly #reason: () => unknown;
  #aborter: AbortController | undefined;

  constructor(cancel: CancelToken, reason: () => unknown) {
    this.cancel = cancel;
    this.#reason = reason;
  }

  get signal(): AbortSignal {
    if (this.#aborter === undefined) {
      const aborter = new AbortController();
      this.#aborter = aborter;
      const { signal } = this.cancel;
      if (signal.aborted) aborter.abort(this.#reason());
      else signal.addEventListener("abort", () => aborter.abort(this.#reason()), { once: true });
    }
    return this.#aborter.signal;
  }
}

export class Connection {
  readonly socket: AnySocket;
  readonly #source: CancelSource;
  readonly #counts: Counts;
  /** What it counts as, or will. */
  #outcome: "completed" | "forced" | "failed" = "completed";
  #isSettled = false;
  /** It was counted as completed, which can be taken back. */
  #mayFail = false;
  #looks = 0;
  #isClosing = false;
  /** See `Context`. */
  #reason: unknown;

  /** `source` is the connection's own. `onLeft` is called once, when the socket is closed or detached. */
  constructor(socket: AnySocket, source: CancelSource, counts: Counts, onLeft: (connection: Connection) => void) {
    this.socket = socket;
    this.#source = source;
    this.#counts = counts;
    counts.begin();
    coreOfSocket(socket).whenLeaving(() => {
      counts.end(this.#outcome);
      // A handler that has closed its socket itself may be about to fail: it has a turn to say so, and no more.
      this.#mayFail = !this.#isSettled && this.#outcome === "completed";
      if (this.#mayFail) {
        this.#looks = counts.looks;
        setImmediate(() => {
          this.#mayFail = false;
        });
      }
      onLeft(this);
    });
  }

  /** Never rejected. */
  async run(handler: Handler, onError: OnError): Promise<void> {
    try {
      await handler(this.socket, new Context(this.#source.token, () => this.#cancelledFor()));
      this.#isSettled = true;
    } catch (error) {
      this.#isSettled = true;
      // What we closed under its hands is `forced`, and no error of the handler.
      if (!this.#isOwnEnd(error) && !(this.#outcome === "forced" && error instanceof ClosedError)) {
        this.#fail();
        void tell(onError, error, this.socket);
      }
    } finally {
      this.#source.dispose();
    }
    await this.#closeGracefully();
  }

  #fail(): void {
    if (this.#mayFail) this.#counts.takeBackCompleted(this.#looks);
    if (this.#outcome === "completed") this.#outcome = "failed";
    this.socket.resetAndDestroy(); // the peer must not take a part for the whole
  }

  /** In another thread than the one that cancelled, a reason is text. */
  #cancelledFor(): unknown {
    const { reason } = this.#source;
    this.#reason ??= reason instanceof Error ? reason : new CancelledError("the handler", reason);
    return this.#reason;
  }

  /** It is how a handler ends that waited for the next request when the server was told to stop. */
  #isOwnEnd(error: unknown): boolean {
    if (!this.#source.cancelled) return false;
    return error === this.#cancelledFor() || (error instanceof CancelledError && error.cause === this.#source.reason);
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
    this.#outcome = "forced";
    this.socket.resetAndDestroy();
  }
}
