/**
 * The thread of the netcat that blocks: standard input to a socket, the socket to standard output.
 *
 * Each direction has one buffer, and nothing is read before its buffer is empty: back-pressure needs no more.
 */
import { readSync, writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { monotonic, POLLIN, POLLOUT, PollSet } from "../ffi/index.ts";
import {
  type CancelHandle,
  CancelledError,
  CancelSource,
  connectSync,
  listen,
  SystemError,
  type TcpSocket,
  TimeoutError,
  type UnixSocket,
} from "../src/index.ts";
import type { NetcatOptions } from "./arguments.ts";
import { BrokenOutput, describe, exitCode, LINGER, note, peerName } from "./messages.ts";

export interface TransferJob {
  options: NetcatOptions;
  cancel: CancelHandle;
  /** The read end of a pipe, which is at its end once the user has had enough. */
  bell: number;
}

const INPUT = 0;
const OUTPUT = 1;
/** poll(2) calls a pipe writable if it takes so many bytes without blocking (PIPE_BUF on Linux; pipe(7)). */
const OUTPUT_CHUNK = 4096;

/** Bytes on their way, and how far they got. */
class Chunk {
  readonly #buffer = new Uint8Array(65_536);
  #start = 0;
  #end = 0;
  ended = false;

  get pending(): boolean {
    return this.#start < this.#end;
  }

  /** What is to go out next, `limit` bytes at most. */
  next(limit: number): Uint8Array {
    return this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + limit));
  }

  sent(count: number): void {
    this.#start += count;
  }

  /** Fills itself by `read`, which returns the number of bytes, 0 at the end, or null for nothing now. */
  fill(read: (into: Uint8Array) => number | null): void {
    const count = read(this.#buffer);
    if (count === null) return;
    this.#start = 0;
    this.#end = count;
    this.ended = count === 0;
  }

  /** Nothing goes this way any more. */
  end(): void {
    this.#start = this.#end;
    this.ended = true;
  }
}

const { options, cancel, bell } = workerData as TransferJob;
using source = CancelSource.from(cancel);
parentPort!.postMessage(transfer());

/** Does it all; the exit code. */
function transfer(): number {
  try {
    using socket = open();
    pump(socket);
    note(options, "done");
    return 0;
  } catch (error) {
    return exitCode(options, error);
  }
}

function open(): TcpSocket | UnixSocket {
  const { address, connectTimeout, timeout } = options;
  if (!options.listen) {
    const target = "path" in address ? address : { hostname: address.hostname ?? "localhost", port: address.port };
    const socket = connectSync({ ...target, timeout: connectTimeout, cancel: source });
    note(options, `connected to ${describe(address)}`);
    return socket;
  }
  using listener = listen(address);
  note(options, `listening on ${describe(listener.address)}`);
  const socket = listener.acceptSync({ timeout: connectTimeout ?? timeout, cancel: source });
  note(options, `a client has connected: ${describe(socket.remoteAddress)}`);
  return socket;
}

function pump(socket: TcpSocket | UnixSocket): void {
  const upward = new Chunk();
  const downward = new Chunk();
  const poll = new PollSet();
  // What the network said. What came before it is still written out.
  let failure: unknown;
  const trySocket = (operation: () => void, ...directions: Chunk[]) => {
    try {
      operation();
    } catch (error) {
      failure ??= error;
      for (const direction of directions) direction.end();
    }
  };
  while (!(upward.ended && downward.ended && !downward.pending)) {
    poll.clear();
    poll.push(bell, POLLIN);
    // A negative descriptor is one that poll ignores.
    poll.push(upward.ended || upward.pending ? -1 : INPUT, POLLIN);
    const wanted = (upward.pending ? POLLOUT : 0) | (downward.ended || downward.pending ? 0 : POLLIN);
    poll.push(wanted === 0 ? -1 : socket.fd, wanted);
    // Even when nothing is to be written: that the reader has gone is always reported.
    poll.push(OUTPUT, downward.pending ? POLLOUT : 0);

    const lingering = downward.ended && !downward.pending && !upward.pending;
    const limit = options.timeout ?? Number.POSITIVE_INFINITY;
    const ready = poll.waitUntil(monotonic() + (lingering ? Math.min(LINGER, limit) : limit), false);
    if (ready === 0 && lingering) break;
    if (ready === 0) throw new TimeoutError("the transfer");

    if (poll.reventsAt(0) !== 0) throw new CancelledError("the transfer", "Ctrl-C");
    if (poll.reventsAt(1) !== 0) {
      upward.fill(readInput);
      if (upward.ended) trySocket(() => socket.closeWrite());
    }
    if (poll.reventsAt(2) !== 0) {
      if (upward.pending) {
        trySocket(() => upward.sent(socket.tryWrite(upward.next(Number.POSITIVE_INFINITY)) ?? 0), upward);
      }
      if (!downward.ended && !downward.pending) {
        trySocket(() => downward.fill((into) => socket.tryRead(into)), downward, upward);
      }
    }
    if (poll.reventsAt(3) !== 0) writeOutput(downward, (poll.reventsAt(3) & POLLOUT) !== 0);
  }
  if (failure === undefined) return;
  throw failure instanceof SystemError ? new Error(`${peerName(options, socket)}: ${failure.message}`) : failure;
}

function readInput(into: Uint8Array): number | null {
  try {
    return readSync(INPUT, into);
  } catch (error) {
    // A terminal that hung up (EIO) has ended; an input that another process made non-blocking has nothing now.
    const { code } = error as { code?: string };
    if (code === "EAGAIN") return null;
    if (code === "EIO" || code === "EOF") return 0;
    throw error;
  }
}

function writeOutput(chunk: Chunk, writable: boolean): void {
  if (!writable) throw new BrokenOutput();
  try {
    chunk.sent(writeSync(OUTPUT, chunk.next(OUTPUT_CHUNK)));
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "EPIPE") throw new BrokenOutput();
    if (code !== "EAGAIN") throw error;
  }
}
