/** A server: a handler for each connection of a listener, and an end that loses none of them. */
import { CancelSource } from "../cancel/source.ts";
import { CancelledError, ClosedError } from "../errors.ts";
import { checkCount, checkKeys } from "../options.ts";
import { printAs } from "../print.ts";
import { TcpListener } from "../socket/tcp-listener.ts";
import type { TcpSocket } from "../socket/tcp-socket.ts";
import { UnixListener } from "../socket/unix-listener.ts";
import type { UnixSocket } from "../socket/unix-socket.ts";
import { reactor } from "../wait/reactor.ts";
import { type AnySocket, Connection, type Handler, type OnError } from "./connection.ts";
import { Counts, type ShutdownResult, since } from "./counts.ts";
import { GraceTimer } from "./grace-timer.ts";
import { CLOSED, readShutdown, SHUTTING_DOWN, type ShutdownOptions } from "./shutdown-options.ts";
import { type Signal, StopSignals } from "./stop-signals.ts";
import { Tracker } from "./tracker.ts";

export type AnyListener = TcpListener | UnixListener;

const NEVER = Number.POSITIVE_INFINITY;

export interface ServeOptions<S = AnySocket> {
  /**
   * How many connections are served at once, those included whose handlers are done and whose peers have not ended (up to
   * 5 s); the next ones wait in the kernel's queue (`backlog` of `listen`), and none is dropped. Default: as many as come.
   */
  maxConnections?: number | undefined;
  /**
   * Told what a handler was rejected with, and for which socket, which is closed by then. Default: `console.error`, as
   * `Bun.serve` prints what its handlers throw. What it throws itself is printed, too.
   */
  onError?: OnError<S> | undefined;
}

/**
 * Calls `handler` for each connection that comes to `listener`, which is the server's from now on.
 *
 * When a handler is done, or was rejected because its own `context` was cancelled, its socket is closed gracefully, unless
 * it has closed or detached it. If it is rejected with anything else, the peer gets a reset and `onError` the error.
 *
 * The process stays until the server is finished. Throws `TypeError`, `RangeError`, and `ClosedError` for a listener that
 * was closed.
 *
 * ```ts
 * const server = serve(listen({ port: 8080 }), async (socket, { cancel }) => {
 *   const buffer = new Uint8Array(16_384);
 *   await socket.write("hello\n");
 *   for (let n: number; (n = await socket.read(buffer, { cancel })) > 0; ) await socket.write(buffer.subarray(0, n));
 * }).shutdownOn("SIGINT", "SIGTERM");
 * await server.finished;
 * ```
 */
export function serve(listener: TcpListener, handler: Handler<TcpSocket>, options?: ServeOptions<TcpSocket>): Server;
export function serve(listener: UnixListener, handler: Handler<UnixSocket>, options?: ServeOptions<UnixSocket>): Server;
export function serve(listener: AnyListener, handler: Handler, options?: ServeOptions): Server;
export function serve(listener: AnyListener, handler: Handler<never>, options: ServeOptions<never> = {}): Server {
  if (!(listener instanceof TcpListener || listener instanceof UnixListener)) {
    throw new TypeError("serve takes a listener of this library first: serve(listen({ port }), handler)");
  }
  if (typeof handler !== "function") throw new TypeError("serve takes a function second, the handler of a connection");
  checkKeys("serve", options, ["maxConnections", "onError"]);
  const { maxConnections = NEVER, onError = console.error } = options;
  checkMaxConnections(maxConnections);
  if (typeof onError !== "function") throw new TypeError(`onError is a function, not ${typeof onError}`);
  if (listener.closed) throw new ClosedError("this listener was closed; serve takes one that is open");
  if (served.has(listener)) throw new TypeError("this listener has a server already; a handle of it can have another");
  served.add(listener);
  return Server.start(listener, handler as Handler, { maxConnections, onError: onError as OnError });
}

/** Listeners that have servers. */
const served = new WeakSet<AnyListener>();

/** Throws `TypeError`, `RangeError`. */
export function checkMaxConnections(count: number): void {
  if (count !== NEVER) checkCount(count, "maxConnections", 1, 0x7fff_ffff);
}

/** What a server is started with. */
interface Setting {
  maxConnections: number;
  onError: OnError;
  /** Ends the handlers of all the threads of a server at once. */
  parent?: CancelSource;
  /** Where another thread looks. */
  counts?: Counts;
  /** Called when the listener has come to its end, and nobody is in its queue. */
  onDrained?: () => void;
}

/** What `serve` returns. */
export class Server implements Disposable, AsyncDisposable {
  readonly #listener: AnyListener;
  readonly #handler: Handler;
  readonly #maxConnections: number;
  readonly #onError: OnError;
  /** What every connection's source descends from. */
  readonly #source: CancelSource;
  readonly #counts: Counts;
  readonly #tracker = new Tracker();
  readonly #connections = new Set<Connection>();
  readonly #signals = new StopSignals(this);
  readonly #grace = new GraceTimer(() => this.#force());
  #isForced = false;
  #isFinished = false;
  /** Goes on to accept once a connection has ended. */
  #makeRoom: () => void = () => {};

  /**
   * Resolves when no connection is active and none will be: after `shutdown`, `close`, or the end of the listener. Rejected
   * if accepting failed in a way that trying again does not mend: `SystemError`, or `TimeoutError` of the listener's own
   * deadline. The connections that there were have then come to their ends. A rejection that nobody
   * looks at ends the process, as any does.
   */
  readonly finished: Promise<void>;

  static {
    printAs(Server, (server) => ({ active: server.active, finished: server.#isFinished }));
  }

  private constructor(listener: AnyListener, handler: Handler, setting: Setting) {
    if (typeof handler !== "function") throw new TypeError("Server has no public constructor: use serve");
    const { maxConnections, onError, parent, counts = new Counts(), onDrained } = setting;
    this.#listener = listener;
    this.#handler = handler;
    this.#maxConnections = maxConnections;
    this.#onError = onError;
    this.#source = new CancelSource({ parent });
    this.#counts = counts;
    this.finished = this.#run(onDrained);
  }

  /** @internal */
  static start(listener: AnyListener, handler: Handler, setting: Setting): Server {
    return new Server(listener, handler, setting);
  }

  /** How many connections have an open socket. */
  get active(): number {
    return this.#tracker.active;
  }

  async #run(onDrained?: () => void): Promise<void> {
    reactor().hold();
    try {
      await this.#acceptAll();
      onDrained?.();
    } finally {
      this.#listener.close();
      this.#tracker.close();
      await this.#tracker.wait();
      await new Promise((resolve) => setImmediate(resolve)); // what was counted as completed may be taken back
      this.#isFinished = true;
      this.#signals.end();
      this.#grace.clear();
      this.#source.dispose();
      reactor().letGo();
    }
  }

  async #acceptAll(): Promise<void> {
    for (;;) {
      while (this.active >= this.#maxConnections) {
        await new Promise<void>((resolve) => {
          this.#makeRoom = resolve;
        });
      }
      try {
        this.#begin(await this.#listener.accept());
      } catch (error) {
        // Closed, by a stop or by the user, or told by `listener.cancel` to wait no more: there is nothing to mend.
        if (error instanceof ClosedError || error instanceof CancelledError) return;
        throw error;
      }
    }
  }

  #begin(socket: AnySocket): void {
    if (this.#isForced) {
      socket.resetAndDestroy(); // it came between the accept and the close
      return;
    }
    const connection = new Connection(socket, this.#source.child(), this.#counts, (ended) => this.#end(ended));
    this.#connections.add(connection);
    this.#tracker.enter();
    void connection.run(this.#handler, this.#onError);
  }

  #end(connection: Connection): void {
    this.#connections.delete(connection);
    this.#tracker.leave();
    this.#makeRoom();
  }

  /**
   * Ends the server gracefully: `listener.stopAccepting`, cancels the `context` of every handler, and waits for the
   * connections, those that are still in the kernel's queue included. What is active when `grace` has passed is reset.
   * Resolves when the server is finished, with what became of the connections from this call on.
   *
   * A second call counts on its own, and the `grace` that is over first holds. Rejected with `TypeError`, `RangeError`.
   *
   * ```ts
   * const { completed, forced } = await server.shutdown({ grace: 30_000 });
   * ```
   */
  async shutdown(options: ShutdownOptions = {}): Promise<ShutdownResult> {
    const { until, settle } = readShutdown(options);
    return await this.shutdownUntil(until, settle);
  }

  /** @internal `until` is a `monotonic()` time. */
  async shutdownUntil(until: number, settle: number | undefined): Promise<ShutdownResult> {
    const before = this.#counts.ends;
    if (this.#isFinished) return since(before, before);
    this.#listener.stopAccepting({ settle });
    this.#cancel(SHUTTING_DOWN);
    if (until === Number.NEGATIVE_INFINITY)
      this.#force(); // now, not in the next turn
    else this.#grace.endBy(until);
    try {
      await this.finished;
    } catch {
      // `finished` tells why; the connections have come to their ends all the same.
    }
    return since(before, this.#counts.ends);
  }

  /** Ends the server at once: closes the listener, and resets every connection. Idempotent. */
  close(): void {
    if (this.#isFinished) return;
    this.#cancel(CLOSED);
    this.#force();
  }

  /** The first call decides what the handlers are told. */
  #cancel(why: string): void {
    // An error like those of aborted operations, as `context.signal` makes `fetch` fail with this very object.
    if (!this.#source.cancelled) this.#source.cancel(new CancelledError("the handler", why));
  }

  #force(): void {
    this.#isForced = true;
    this.#listener.close();
    for (const connection of [...this.#connections]) connection.force();
  }

  /**
   * Shuts down when the process gets one of these signals (none given: SIGINT and SIGTERM), with the default `grace`; a
   * second one closes at once. The process is not ended: it ends when nothing else keeps it. Throws `TypeError` for what is
   * no signal. Signals come to the main thread only.
   */
  shutdownOn(...signals: Signal[]): this {
    this.#signals.add(signals);
    return this;
  }

  /** `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** `shutdown`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }
}
