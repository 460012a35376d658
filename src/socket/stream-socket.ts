/** What can be done with a connected stream, whatever its addresses. */
import { checkBytes } from "../../ffi/memory.ts";
import { constants } from "../../ffi/platform/index.ts";
import { send, setsockopt } from "../../ffi/socket.ts";
import { TimeoutError } from "../errors.ts";
import { letGo } from "../shared/dropped.ts";
import { attempt, attemptSync, type OperationOptions, type WaitOptions } from "../wait/attempt.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import type { When } from "../when.ts";
import { chunksOf } from "./chunks.ts";
import { closeGracefully } from "./close-gracefully.ts";
import type { StreamCore } from "./core.ts";
import { CancellableSocket } from "./socket.ts";
import { detach, type SocketHandle } from "./socket-handle.ts";
import { HALF_CLOSE, READ, shutdownQuietly, startWriting, tryRead, WRITE } from "./stream-tasks.ts";
import { WebStreams } from "./web-streams.ts";

const { SHUT_RD, SHUT_WR, SOL_SOCKET, SO_LINGER } = constants;
const encoder = new TextEncoder();
/** struct linger { on, 0 seconds }: close sends RST and forgets what was unsent. socket(7). */
const LINGER_0 = new Uint8Array(new Int32Array([1, 0]).buffer);

/** A connected stream: what `TcpSocket` and `UnixSocket` share. */
export abstract class StreamSocket
  extends CancellableSocket
  implements AsyncDisposable, AsyncIterable<Uint8Array<ArrayBuffer>>
{
  readonly #core: StreamCore;
  #webStreams: WebStreams | undefined;

  /** @internal */
  constructor(core: StreamCore) {
    super(core);
    this.#core = core;
  }

  /** Bytes that `read` and its kin have handed out. */
  get bytesRead(): number {
    return this.#core.bytesRead;
  }

  /** Bytes that the kernel has taken to send, those of failed writes included. */
  get bytesWritten(): number {
    return this.#core.bytesWritten;
  }

  /**
   * Reads what is there, at least one byte, into `into`, and waits until there is something. How many bytes; 0: the peer
   * has ended its side (or `into` is empty). When it fails, nothing was read. Reads of one thread queue, first in first
   * out. `into` is the read's until it has settled.
   *
   * Rejected with `CancelledError`, the `reason` of the signal, `TimeoutError`, `ClosedError`, `SystemError`
   * (`ECONNRESET`), `TypeError`, `RangeError`.
   *
   * ```ts
   * const buffer = new Uint8Array(16384);
   * for (let n: number; (n = await socket.read(buffer, { signal, timeout: 5000 })) > 0; ) use(buffer.subarray(0, n));
   * ```
   */
  read(into: Uint8Array, options?: OperationOptions): Promise<number> {
    try {
      checkBytes(into);
    } catch (error) {
      return Promise.reject(error);
    }
    return attempt(READ, this.#core, into, this, options);
  }

  /**
   * `read` that blocks this thread until there is something.
   *
   * Throws `CancelledError`, `TimeoutError`, `ClosedError`, `BusyError` (a promise read is pending), `SystemError`
   * (`ECONNRESET`), `TypeError`, `RangeError`.
   *
   * ```ts
   * const buffer = new Uint8Array(16384);
   * for (let n: number; (n = socket.readSync(buffer, { cancel, timeout: 5000 })) > 0; ) use(buffer.subarray(0, n));
   * ```
   */
  readSync(into: Uint8Array, options?: WaitOptions): number {
    checkBytes(into);
    return attemptSync(READ, this.#core, into, this.#core.readDeadline, options);
  }

  /** `read` that never waits: null if there is nothing to read now, or a promise read is before it. */
  tryRead(into: Uint8Array): number | null {
    checkBytes(into);
    this.#core.assertOpen();
    return this.#core.isBusy(READABLE) ? null : tryRead(this.#core, into);
  }

  /**
   * Writes all of `data` (a string as UTF-8), and waits while the kernel has no room. How many bytes that were. The error
   * of one that fails on the way carries `bytesWritten`: so many reached the kernel. (The reason of a signal does not: see
   * the socket's own `bytesWritten`.) Writes of one thread queue, first in first out. Leave `data` alone until it has settled.
   *
   * Rejected with `CancelledError`, the `reason` of the signal, `TimeoutError`, `ClosedError`, `SystemError` (`EPIPE`,
   * `ECONNRESET`), `TypeError`, `RangeError`.
   */
  write(data: Uint8Array | string, options?: OperationOptions): Promise<number> {
    return this.#writeLater([typeof data === "string" ? encoder.encode(data) : data], options);
  }

  /**
   * `write` that blocks this thread while the kernel has no room.
   *
   * Throws `CancelledError`, `TimeoutError`, `ClosedError`, `BusyError`, `SystemError` (`EPIPE`, `ECONNRESET`),
   * `TypeError`, `RangeError`.
   */
  writeSync(data: Uint8Array | string, options?: WaitOptions): number {
    const writing = startWriting([typeof data === "string" ? encoder.encode(data) : data]);
    return attemptSync(WRITE, this.#core, writing, this.#core.writeDeadline, options);
  }

  /** `write` of several buffers, gathered by the kernel: no copy, few system calls. */
  writev(chunks: Uint8Array[], options?: OperationOptions): Promise<number> {
    if (!Array.isArray(chunks)) return Promise.reject(new TypeError("writev takes an array of Uint8Arrays"));
    return this.#writeLater([...chunks], options);
  }

  /** `writeSync` of several buffers, gathered by the kernel: no copy, few system calls. */
  writevSync(chunks: Uint8Array[], options?: WaitOptions): number {
    if (!Array.isArray(chunks)) throw new TypeError("writevSync takes an array of Uint8Arrays");
    return attemptSync(WRITE, this.#core, startWriting(chunks), this.#core.writeDeadline, options);
  }

  #writeLater(chunks: readonly Uint8Array[], options: OperationOptions | undefined): Promise<number> {
    try {
      return attempt(WRITE, this.#core, startWriting(chunks), this, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Writes what the kernel takes at once, and says how much; null if it takes nothing now, or a promise write is before it. */
  tryWrite(data: Uint8Array): number | null {
    checkBytes(data);
    const closed = this.#core.closedError(WRITABLE);
    if (closed !== null) throw closed;
    if (this.#core.isBusy(WRITABLE)) return null;
    if (data.byteLength === 0) return 0;
    const count = send(this.#core.fd, data);
    if (count !== null) this.#core.bytesWritten += count;
    return count;
  }

  /** Chunks as they come, until the peer ends. Leaving the loop leaves the socket open, and no byte is lost. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array<ArrayBuffer>> {
    return chunksOf((into, options) => this.read(into, options));
  }

  /**
   * What the peer sends, as a web stream that reads only when it is asked to. Cancelling it is `closeRead`. When it fails,
   * writing goes on. Once this and `writable` are both over, however they ended, the socket is closed.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#streams.readable;
  }

  /**
   * Writing as a web stream: `close` of it is `closeWrite`, and `abort` is `resetAndDestroy`, as the peer must not take a
   * part for the whole. When a write fails, reading goes on, and the end of that is `resetAndDestroy`.
   */
  get writable(): WritableStream<Uint8Array> {
    return this.#streams.writable;
  }

  get #streams(): WebStreams {
    this.#webStreams ??= new WebStreams(this);
    return this.#webStreams;
  }

  /** `setDeadline` for reading alone. */
  setReadDeadline(when: When): void {
    this.#core.setDeadline(when, READABLE);
  }

  /** `setDeadline` for writing alone. */
  setWriteDeadline(when: When): void {
    this.#core.setDeadline(when, WRITABLE);
  }

  /** Reads return 0 from now on, pending ones too. The peer is not told; shutdown(2). Idempotent. */
  closeRead(): void {
    this.#core.assertOpen();
    this.#core.readEnded = true;
    // A TCP peer is told nothing by it, and recv would say 0 from then on: closeGracefully could not see the peer's end.
    if (this.#core.kind !== "TcpSocket") shutdownQuietly(this.#core.fd, SHUT_RD);
    this.#core.reads.run();
  }

  /**
   * The peer reads to the end of what was written (pending writes included), and then 0. Reading goes on. Later writes
   * fail with `ClosedError`. Idempotent.
   */
  closeWrite(): void {
    this.#core.assertOpen();
    if (this.#core.writeEnded) return;
    this.#core.writeEnded = true;
    if (this.#core.writes.head === null) shutdownQuietly(this.#core.fd, SHUT_WR);
    else this.#core.writes.addLast(HALF_CLOSE, this.#core, undefined).catch(() => {}); // a close may come before it
  }

  /**
   * Ends the connection so that the peer sees no reset, and gets everything: `closeWrite`, read to the peer's end (what
   * comes is thrown away), close. A `close` with unread data would be a reset, which can destroy what is under way.
   *
   * `timeout` is 5,000 unless given. When that has passed, or it is cancelled, it closes at once and is rejected, with
   * `TimeoutError`, `CancelledError` or the signal's reason; with `SystemError` (`ECONNRESET`) if the peer did not wait.
   * Resolves at once if it is closed already.
   */
  closeGracefully(options?: OperationOptions): Promise<void> {
    return closeGracefully(this.#core, this, options);
  }

  /**
   * Lets go of it, for another thread to take with `from`: descriptor, deadlines, `cancelSource` and all. Here it counts
   * as closed. Until it is taken this thread owns it; if nobody takes it, `from(handle).close()` it. Throws `ClosedError`,
   * and `BusyError` while promise operations are pending.
   */
  detach(): SocketHandle {
    const handle = detach(this.#core);
    letGo(this);
    return handle;
  }

  /**
   * Closes with a reset: the peer gets `ECONNRESET`, and what it has not received yet is lost. Idempotent. (Unix sockets
   * have no resets: there the peer reads what was sent and then the end, or `ECONNRESET` if it had sent what was not read.)
   */
  resetAndDestroy(): void {
    if (this.#core.closed) return;
    setsockopt(this.#core.fd, SOL_SOCKET, SO_LINGER, LINGER_0);
    this.close();
  }

  /** `closeGracefully`; a peer that does not end within its five seconds is no error here. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.closeGracefully();
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
    }
  }
}
