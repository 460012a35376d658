/** One side of an exchange of bytes in which reads and writes are cancelled at random, and go on where they stopped. */
import { parentPort } from "node:worker_threads";
import { SO_RCVBUF, SO_SNDBUF, SOL_SOCKET } from "../../ffi/index.ts";
import {
  type CancelHandle,
  CancelledError,
  CancelSource,
  connect,
  type OperationOptions,
  type TcpSocket,
  TimeoutError,
} from "../../src/index.ts";
import type { Context } from "../thread.ts";

/** Bytes of the pattern, which starts anew every so often. No power of two: a lost buffer must not go unseen. */
const PATTERN = 1_000_003;

export interface Exchanged {
  sent: string;
  received: string;
  bytes: number;
  /** How often which of its operations was cut short, and how many of the writes had got part of the way. */
  reads: number;
  writes: number;
  parts: number;
  bytesRead: number;
  bytesWritten: number;
}

/** Bytes that only this seed has, so that the two directions differ. */
function pattern(seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: PATTERN }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}

/** A way for the next operation to end early, or none; `ours` tells its error from any other. */
function chance(): { options: OperationOptions; ours: (error: unknown) => boolean } {
  const way = Math.floor(Math.random() * 6);
  if (way === 0) {
    const cancel = new CancelSource();
    setImmediate(() => cancel.cancel());
    return { options: { cancel }, ours: (error) => error instanceof CancelledError };
  }
  if (way === 1) {
    const controller = new AbortController();
    setImmediate(() => controller.abort(controller));
    return { options: { signal: controller.signal }, ours: (error) => error === controller };
  }
  if (way === 2) return { options: { timeout: Math.random() * 0.5 }, ours: (error) => error instanceof TimeoutError };
  return { options: {}, ours: () => false };
}

/** The other thread cancels all that is pending on the socket. No reason: it has cancelled four times since. */
const byTheOther = (error: unknown) =>
  error instanceof CancelledError && (error.cause === "the other thread" || error.cause === undefined);

/** Sends so many bytes and receives as many; cancels what is pending at the other side through `other` now and then. */
export async function exchange(
  socket: TcpSocket,
  bytes: number,
  seed: number,
  other: CancelHandle,
): Promise<Exchanged> {
  // Small buffers, so that both sides wait often, and most writes go out in parts.
  socket.setOption(SOL_SOCKET, SO_SNDBUF, 1 << 17);
  socket.setOption(SOL_SOCKET, SO_RCVBUF, 1 << 17);
  const told = { reads: 0, writes: 0, parts: 0 };
  const source = CancelSource.from(other);
  const meddle = setInterval(() => {
    source.cancel("the other thread");
    source.reset();
  }, 2);

  const send = async () => {
    const hash = new Bun.CryptoHasher("sha1");
    const data = pattern(seed);
    for (let done = 0; done < bytes; ) {
      const from = done % PATTERN;
      const piece = data.subarray(
        from,
        Math.min(PATTERN, from + Math.ceil(Math.random() * 600_000), from + bytes - done),
      );
      const before = socket.bytesWritten;
      const { options, ours } = chance();
      let count: number;
      try {
        count = await (Math.random() < 0.2
          ? socket.writev([piece.subarray(0, piece.length >> 1), piece.subarray(piece.length >> 1)], options)
          : socket.write(piece, options));
      } catch (error) {
        if (!ours(error) && !byTheOther(error)) throw error;
        count = socket.bytesWritten - before;
        const { bytesWritten = count } = error as { bytesWritten?: number };
        if (bytesWritten !== count) throw new Error(`the error says ${bytesWritten}, and the socket ${count}`);
        told.writes++;
        if (count > 0) told.parts++;
      }
      hash.update(piece.subarray(0, count));
      done += count;
    }
    return hash.digest("hex");
  };

  const receive = async () => {
    const hash = new Bun.CryptoHasher("sha1");
    const into = new Uint8Array(300_000);
    for (let done = 0; done < bytes; ) {
      const { options, ours } = chance();
      try {
        const count = await socket.read(into.subarray(0, Math.ceil(Math.random() * into.length)), options);
        if (count === 0) throw new Error(`the end, after ${done} bytes`);
        hash.update(into.subarray(0, count));
        done += count;
      } catch (error) {
        if (!ours(error) && !byTheOther(error)) throw error;
        told.reads++;
      }
    }
    return hash.digest("hex");
  };

  try {
    const [sent, received] = await Promise.all([send(), receive()]);
    const { bytesRead, bytesWritten } = socket;
    return { sent, received, bytes, ...told, bytesRead, bytesWritten };
  } finally {
    clearInterval(meddle);
    source.dispose();
  }
}

export interface ExchangeJob {
  port: number;
  bytes: number;
  seed: number;
}

/** Says the handle of its socket's source, and gets that of the other side's as a message. */
export async function exchangeFromWorker({ say }: Context, { port, bytes, seed }: ExchangeJob): Promise<void> {
  using socket = await connect({ hostname: "127.0.0.1", port, timeout: 20_000 });
  const other = new Promise<CancelHandle>((resolve) => parentPort!.once("message", resolve));
  say(socket.cancelSource.handle);
  say(await exchange(socket, bytes, seed, await other));
  await new Promise((resolve) => parentPort!.once("message", resolve)); // until nobody meddles with the source any more
}
