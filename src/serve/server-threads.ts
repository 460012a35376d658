/** A server of many threads over one listener. */
import { availableParallelism } from "node:os";
import { monotonic } from "../../ffi/clock.ts";
import type { InetAddress, UnixAddress } from "../../ffi/sockaddr.ts";
import { CancelSource } from "../cancel/source.ts";
import { checkCount, checkKeys } from "../options.ts";
import { printAs, writeAddress } from "../print.ts";
import { SLOTS } from "../shared/holds.ts";
import { type InetListenOptions, type ListenOptions, listen, type UnixListenOptions } from "../socket/listen.ts";
import { CancellableSocket } from "../socket/socket.ts";
import { UnixListener } from "../socket/unix-listener.ts";
import { reactor } from "../wait/reactor.ts";
import { type ShutdownResult, since } from "./counts.ts";
import { GraceTimer } from "./grace-timer.ts";
import { type AnyListener, checkMaxConnections } from "./server.ts";
import { type Owner, ServerThread } from "./server-thread.ts";
import { CLOSED, readShutdown, SHUTTING_DOWN, type ShutdownOptions } from "./shutdown-options.ts";
import { type Signal, StopSignals } from "./stop-signals.ts";
import { tell } from "./tell.ts";
import type { ThreadOrder } from "./thread-job.ts";

const NEVER = Number.POSITIVE_INFINITY;
/**
 * Milliseconds that a thread has to do what it is told at once; one that blocks cannot hear it, and is terminated. Resetting
 * 10,000 connections takes a fraction of it.
 */
const PATIENCE = 500;

/** Told of a thread that has crashed. */
export type OnCrash = (error: unknown, thread: ThreadStatus) => unknown;

/** How one thread of a server does. */
export interface ThreadStatus {
  /** `threadId` of node:worker_threads, in the thread that serves now, or was the last to; it changes when one is replaced. */
  readonly id: number;
  /** Connections whose sockets are open. */
  readonly active: number;
  /** Connections that came to an end, in this thread and those that it has replaced. */
  readonly served: number;
  /** How often it was replaced. */
  readonly restarts: number;
}

export interface ServeThreadsOptions<L extends ListenOptions = ListenOptions> {
  /** What all threads listen at: the options of `listen`. */
  listen: L;
  /** How many, from 1 to 1,023. Default: as many as there are cores (`os.availableParallelism()`). */
  threads?: number | undefined;
  /**
   * How many connections each thread serves at once, those included whose handlers are done and whose peers have not ended
   * (up to 5 s). Default: as many as come. 1 for handlers that block.
   */
  maxConnections?: number | undefined;
  /**
   * Told what a thread crashed with, and which one it was. Default: `console.error`. What it throws itself, or is rejected
   * with, is printed.
   */
  onCrash?: OnCrash | undefined;
}

/**
 * Serves in several threads what comes to one listener. `module` is what each of them imports: its default export is the
 * handler, as `serve` takes it; it may export `onError`, too. (Nothing checks its type: for a path as well as a port it is a
 * plain `Handler`.) A handler may block its thread: a server that begins to shut down ends its waits under
 * `context.cancel` all the same.
 *
 * A thread that crashes (an exception that nobody caught, `process.exit()`) is replaced, and `onCrash` told; the sockets
 * that it had are closed, and the others serve on. If a thread fails before any other has come up (the module is not
 * there, or has no handler), the server ends, and `finished` is rejected with the reason. A program made with `bun build
 * --compile` cannot start the threads.
 *
 * Throws `TypeError`, `RangeError`, and the `SystemError` of `listen`.
 *
 * ```ts
 * // main.ts
 * const server = serveThreads(new URL("./echo.ts", import.meta.url), { listen: { port: 8080 } });
 * server.shutdownOn("SIGINT", "SIGTERM");
 * await server.finished;
 * ```
 * ```ts
 * // echo.ts
 * const echo: Handler<TcpSocket> = async (socket, { cancel }) => {
 *   const buffer = new Uint8Array(16_384);
 *   for (let n: number; (n = await socket.read(buffer, { cancel })) > 0; ) await socket.write(buffer.subarray(0, n));
 * };
 * export default echo;
 * ```
 */
export function serveThreads(module: URL, options: ServeThreadsOptions<InetListenOptions>): ThreadedServer<InetAddress>;
export function serveThreads(module: URL, options: ServeThreadsOptions<UnixListenOptions>): ThreadedServer<UnixAddress>;
export function serveThreads(module: URL, options: ServeThreadsOptions): ThreadedServer;
export function serveThreads(module: URL, options: ServeThreadsOptions): ThreadedServer {
  if (!(module instanceof URL)) {
    throw new TypeError('serveThreads takes the URL of a module first: new URL("./handler.ts", import.meta.url)');
  }
  if (Object.hasOwn(options ?? {}, "onError")) {
    throw new TypeError(
      'serveThreads has no option "onError": export it from the handler\'s module, beside the default export',
    );
  }
  checkKeys("serveThreads", options, ["listen", "threads", "maxConnections", "onCrash"]);
  const { threads = availableParallelism(), maxConnections = NEVER, onCrash = console.error } = options;
  checkCount(threads, "threads", 1, SLOTS - 1); // this one holds the listener, too
  checkMaxConnections(maxConnections);
  if (typeof onCrash !== "function") throw new TypeError(`onCrash is a function, not ${typeof onCrash}`);
  if (typeof options.listen !== "object" || options.listen === null || options.listen instanceof CancellableSocket) {
    throw new TypeError("serveThreads listens itself: { listen: { port: 8080 } }, or { listen: { path } }");
  }
  return ThreadedServer.start(module.href, listen(options.listen), { threads, maxConnections, onCrash });
}

/** What a server is started with. */
interface Setting {
  threads: number;
  maxConnections: number;
  onCrash: OnCrash;
}

/** What `serveThreads` returns: a `Server` whose connections are those of all its threads. */
export class ThreadedServer<A extends InetAddress | UnixAddress = InetAddress | UnixAddress>
  implements Disposable, AsyncDisposable
{
  /** Where clients reach it. */
  readonly address: A;
  /**
   * Resolves when every thread has ended after `shutdown` or `close`. Rejected with what a thread failed with before any
   * other had come up; a rejection that nobody looks at ends the process, as any does.
   */
  readonly finished: Promise<void>;
  /** Never accepts: it is there for the threads that are to come, until the queue is empty. */
  readonly #listener: AnyListener;
  /** What every connection's source descends from, in each thread. */
  readonly #source = new CancelSource();
  readonly #threads: ServerThread[] = [];
  /** Those that are there, or are to come again. */
  readonly #unfinished = new Set<ServerThread>();
  readonly #onCrash: OnCrash;
  readonly #signals = new StopSignals(this);
  readonly #grace = new GraceTimer(() => this.#terminate());
  readonly #settled = Promise.withResolvers<void>();
  #anyCameUp = false;
  #isStopping = false;
  #failure: { readonly error: unknown } | null = null;

  static {
    printAs(ThreadedServer, (server) => ({
      address: writeAddress(server.address),
      threads: server.#threads.length,
      active: server.active,
      finished: server.#isFinished,
    }));
  }

  private constructor(module: string, listener: AnyListener, { threads, maxConnections, onCrash }: Setting) {
    if (typeof module !== "string") throw new TypeError("ThreadedServer has no public constructor: use serveThreads");
    this.#listener = listener;
    this.#onCrash = onCrash;
    this.address = listener.address as A;
    this.finished = this.#settled.promise;
    const job = {
      module,
      listener: listener.handle,
      isUnix: listener instanceof UnixListener,
      cancel: this.#source.handle,
      maxConnections,
    };
    const owner: Owner = {
      cameUp: () => {
        this.#anyCameUp = true;
      },
      drained: () => this.#drained(),
      crashed: (thread, error) => this.#crashed(thread, error),
      ended: (thread) => this.#ended(thread),
    };
    try {
      while (this.#threads.length < threads) this.#threads.push(new ServerThread(job, listener.fd, owner));
    } catch (error) {
      for (const thread of this.#threads) thread.terminate();
      this.#letGo();
      throw error;
    }
    for (const thread of this.#threads) this.#unfinished.add(thread);
    reactor().hold(); // also while a thread that has crashed is not replaced yet
  }

  /** @internal */
  static start(module: string, listener: AnyListener, setting: Setting): ThreadedServer {
    return new ThreadedServer(module, listener, setting);
  }

  get #isFinished(): boolean {
    return this.#unfinished.size === 0;
  }

  /** How many connections have an open socket, in all threads. */
  get active(): number {
    return this.#threads.reduce((sum, { counts }) => sum + counts.active, 0);
  }

  /** How each thread does, now. */
  get threads(): ThreadStatus[] {
    return this.#threads.map(statusOf);
  }

  get #ends(): ShutdownResult {
    const sum = { completed: 0, forced: 0 };
    for (const { counts } of this.#threads) {
      const { completed, forced } = counts.ends;
      sum.completed += completed;
      sum.forced += forced;
    }
    return sum;
  }

  /** What is told last may call any of our methods. */
  #crashed(thread: ServerThread, error: unknown): void {
    const status = statusOf(thread);
    const isFatal = !this.#anyCameUp && this.#failure === null;
    if (isFatal) {
      this.#failure = { error };
      this.close();
    } else if (!this.#isStopping || (this.#isUnattended && !this.#listener.closed)) thread.restart();
    else this.#ended(thread);
    if (!isFatal) void tell(this.#onCrash, error, status);
  }

  get #isUnattended(): boolean {
    return ![...this.#unfinished].some((thread) => thread.isRunning);
  }

  #ended(thread: ServerThread): void {
    if (!this.#unfinished.delete(thread) || !this.#isFinished) return;
    this.#signals.end();
    this.#grace.clear();
    reactor().letGo();
    this.#letGo();
    if (this.#failure === null) this.#settled.resolve();
    else this.#settled.reject(this.#failure.error);
  }

  #letGo(): void {
    this.#listener.close();
    this.#source.dispose();
  }

  /**
   * Ends the server gracefully, as `Server.shutdown` does, in all threads at once, and joins them. A thread that is
   * blocked when `grace` has passed, and cannot hear that it has, is terminated half a second later.
   *
   * A second call counts on its own, and the `grace` that is over first holds. Rejected with `TypeError`, `RangeError`.
   */
  async shutdown(options: ShutdownOptions = {}): Promise<ShutdownResult> {
    const { until, settle } = readShutdown(options);
    const before = this.#ends;
    if (this.#isFinished) return since(before, before);
    this.#stop(SHUTTING_DOWN, { until, settle });
    this.#terminateBy(Math.max(until, monotonic()) + PATIENCE);
    try {
      await this.finished;
    } catch {
      // `finished` tells why; the threads have ended all the same.
    }
    return since(before, this.#ends);
  }

  /** Ends the server at once: every connection is reset, and every thread joined. Idempotent. */
  close(): void {
    if (this.#isFinished) return;
    this.#stop(CLOSED, "close");
    this.#listener.close();
    this.#terminateBy(monotonic() + PATIENCE);
  }

  #terminateBy(when: number): void {
    if (!this.#isFinished) this.#grace.endBy(when);
  }

  /** The first call decides what the handlers are told. */
  #stop(why: string, order: ThreadOrder): void {
    this.#isStopping = true;
    if (!this.#source.cancelled) this.#source.cancel(why);
    const threads = [...this.#unfinished];
    for (const thread of threads) thread.tell(order);
    let successor: ServerThread | undefined;
    if (order !== "close" && !this.#listener.closed) {
      // Not when each thread has said that it stops: one may be blocked, and the others leave meanwhile.
      this.#listener.keepOut();
      if (this.#isUnattended) successor = threads[0]; // somebody has to take what is queued already
      successor?.startNow();
    }
    for (const thread of threads) if (!thread.isRunning && thread !== successor) this.#end(thread);
  }

  /** Nobody is in the queue, and nobody comes: who has not begun to accept finds nothing to do. */
  #drained(): void {
    this.#listener.close();
    for (const thread of [...this.#unfinished]) if (thread.shutOut()) this.#end(thread);
  }

  #end(thread: ServerThread): void {
    if (thread.isRunning) {
      thread.terminate();
      return;
    }
    thread.stayDown();
    this.#ended(thread);
  }

  #terminate(): void {
    this.#listener.close();
    for (const thread of [...this.#unfinished]) this.#end(thread);
  }

  /**
   * Shuts down when the process gets one of these signals (none given: SIGINT and SIGTERM), with the default `grace`; a
   * second one closes at once. Throws `TypeError` for what is no signal, or cannot be heard (SIGKILL, SIGSTOP). Signals
   * come to the main thread only.
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

function statusOf({ id, counts, restarts }: ServerThread): ThreadStatus {
  return { id, active: counts.active, served: counts.served, restarts };
}
