/** The other end of a connection, in a thread of its own: the parts that nettest's helpers play. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  type CancelHandle,
  CancelSource,
  connectSync,
  listen,
  type SocketHandle,
  TcpSocket,
  UnixSocket,
} from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { type Context, waits } from "../thread.ts";
import type { Moved } from "./movers.ts";

/** Gates: the sockets are taken; the part may begin; the test blocks for the n-th time; the n-th cancel is made. */
export const TAKEN = 1;
export const GO = 2;
export const BLOCKS = 3;
export const CANCELLED = 4;

export type Part = "echo" | "discard" | "source" | "pong";
export type End = { port: number } | { path: string } | { socket: SocketHandle };

const limits = { timeout: 30_000 };

function open(end: End): TcpSocket | UnixSocket {
  if ("socket" in end) return TcpSocket.from(end.socket);
  if ("path" in end) return connectSync({ path: end.path, ...limits });
  return connectSync({ hostname: "127.0.0.1", port: end.port, ...limits });
}

/** What a discarding end got, and what ended it: "end", or the code of an error. */
export interface Discarded {
  length: number;
  hash: string;
  ended: string;
}

function codeOf(error: unknown): string {
  const { code, name } = error as { code?: string; name: string };
  return code ?? name;
}

/** Plays its part from gate GO on, until the other end has closed, which may be a reset if it had not read everything. */
export function play({ say, flags }: Context, { part, end }: { part: Part; end: End }): void {
  using socket = open(end);
  passed(flags, GO);
  const buffer = new Uint8Array(1024);
  const hash = createHash("sha256");
  let ended = "end";
  try {
    if (part === "pong") {
      say(pingPong(socket, false));
      return;
    }
    if (part === "source") {
      for (;;) socket.writeSync(crypto.getRandomValues(buffer), limits);
    }
    for (let count: number; (count = socket.readSync(buffer, limits)) > 0; ) {
      hash.update(buffer.subarray(0, count));
      if (part === "echo") socket.writeSync(buffer.subarray(0, count), limits);
    }
  } catch (error) {
    ended = codeOf(error);
  }
  say({ length: socket.bytesRead, hash: hash.digest("hex"), ended } satisfies Discarded);
}

/** The last number of a game of ping-pong. */
export const LAST = 1000n;

/** Reads a number, answers the next one, to the last one; throws if one is not two more than the one before. */
export function pingPong(socket: TcpSocket | UnixSocket, serves: boolean): string {
  const bytes = new Uint8Array(8);
  const number = new DataView(bytes.buffer);
  let previous: bigint | null = null;
  if (serves) socket.writeSync(bytes, limits);
  for (;;) {
    for (let got = 0; got < 8; ) {
      const count = socket.readSync(bytes.subarray(got), limits);
      if (count === 0) return "the other end is done";
      got += count;
    }
    const value = number.getBigUint64(0, true);
    if (previous !== null && value !== previous + 2n) throw new Error(`${value} came after ${previous}`);
    previous = value;
    if (value === LAST) return "the last number";
    number.setBigUint64(0, value + 1n, true);
    socket.writeSync(bytes, limits);
  }
}

/** Makes both ends of a TCP connection, and hands them over. */
export function handOver({ say, flags }: Context): void {
  using listener = listen({ hostname: "127.0.0.1" });
  const near = connectSync({ hostname: "127.0.0.1", port: listener.address.port, ...limits });
  const far = listener.acceptSync(limits);
  say([near.detach(), far.detach()]);
  passed(flags, TAKEN); // until then they are this thread's
}

/** Waits until thread `tid` sleeps in a wait of this library. */
function untilBlocked(tid: string): void {
  const end = Date.now() + 20_000;
  for (;;) {
    const call = readFileSync(`/proc/self/task/${tid}/syscall`, "latin1").split(" ")[0]!.trim();
    if (waits[process.arch]!.has(call)) return;
    if (Date.now() > end) throw new Error(`thread ${tid} did not block: it is in syscall ${call}`);
  }
}

/** Cancels a source each time that thread `tid` has come to the gate and sleeps in the kernel, so many times. */
export function cancelWhenBlocked(
  { flags }: Context,
  { cancel, tid, times }: { cancel: CancelHandle; tid: string; times: number },
): void {
  using source = CancelSource.from(cancel);
  for (let time = 1; time <= times; time++) {
    passed(flags, BLOCKS, time);
    untilBlocked(tid);
    reach(flags, CANCELLED, time);
    source.cancel(`time ${time}`);
  }
}

/** Closes a socket once thread `tid` has come to the gate and sleeps in the kernel. */
export function closeWhenBlocked({ flags }: Context, { kind, socket, tid }: Moved & { tid: string }): void {
  using taken = kind === "TcpSocket" ? TcpSocket.from(socket) : UnixSocket.from(socket);
  passed(flags, BLOCKS);
  untilBlocked(tid);
  reach(flags, CANCELLED);
  taken.close();
}
