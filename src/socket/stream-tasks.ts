/** Reading and writing a stream, as tasks that blocking and promise operations share. */
import { checkBytes } from "../../ffi/memory.ts";
import { constants } from "../../ffi/platform/index.ts";
import { recv, send, sendmsg, shutdown } from "../../ffi/socket.ts";
import { SystemError } from "../errors.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import type { Task } from "../wait/task.ts";
import type { StreamCore } from "./core.ts";

const { ENOTCONN, SHUT_WR } = constants;

export function tryRead(core: StreamCore, into: Uint8Array): number | null {
  if (into.byteLength === 0) checkBytes(into); // detached while it waited: that is no end of the stream
  // After closeRead the kernel would still hand out data that comes late.
  if (core.readEnded || into.byteLength === 0) return 0;
  const count = recv(core.fd, into);
  if (count !== null) core.bytesRead += count;
  return count;
}

export const READ: Task<StreamCore, Uint8Array, number> = { name: "read", interest: READABLE, step: tryRead };

/** What is left to write, and how far it got. */
export interface Writing {
  readonly chunks: readonly Uint8Array[];
  index: number;
  /** Bytes of `chunks[index]` that are out. */
  offset: number;
  /** Bytes of all chunks. */
  readonly total: number;
  sent: number;
}

export function startWriting(chunks: readonly Uint8Array[]): Writing {
  let total = 0;
  for (const chunk of chunks) {
    checkBytes(chunk);
    total += chunk.byteLength;
  }
  const writing = { chunks, index: 0, offset: 0, total, sent: 0 };
  advance(writing, 0);
  return writing;
}

function tryWrite(core: StreamCore, writing: Writing): number | null | undefined {
  const { chunks, index, offset, total } = writing;
  if (writing.sent === total) return total;
  assertWhole(writing);
  const chunk = chunks[index]!;
  const count =
    chunks.length - index === 1
      ? send(core.fd, offset === 0 ? chunk : chunk.subarray(offset))
      : sendmsg(core.fd, chunks, index, offset);
  if (count === null) return null;
  core.bytesWritten += count;
  writing.sent += count;
  if (writing.sent === total) return total;
  advance(writing, count);
  return undefined; // the kernel took a part: between the chunks a cancel gets its turn
}

/** Throws `TypeError` if a chunk was detached or resized while its write waited: what follows would go out in its place. */
function assertWhole({ chunks, index, offset, total, sent }: Writing): void {
  let left = -offset;
  for (let i = index; i < chunks.length; i++) left += chunks[i]!.byteLength;
  if (left !== total - sent) throw new TypeError("a buffer was detached or resized while its write was pending");
}

function advance(writing: Writing, count: number): void {
  let left = writing.offset + count;
  while (left > 0 && left >= writing.chunks[writing.index]!.byteLength) {
    left -= writing.chunks[writing.index]!.byteLength;
    writing.index++;
  }
  while (writing.index < writing.chunks.length - 1 && writing.chunks[writing.index]!.byteLength === 0) writing.index++;
  writing.offset = left;
}

/** Every error of ours has room for it, and so has a TypeError of a write that had begun. Not the reason of a signal: that is the user's. */
function tellProgress(error: unknown, { sent }: Writing): void {
  if (error instanceof Error && "code" in error) (error as { bytesWritten?: number }).bytesWritten = sent;
}

export const WRITE: Task<StreamCore, Writing, number> = {
  name: "write",
  interest: WRITABLE,
  step: tryWrite,
  failed: tellProgress,
};

/** The end of the writing side, which has its place in the queue behind the writes before it. */
export const HALF_CLOSE: Task<StreamCore, undefined, true> = {
  name: "closeWrite",
  interest: WRITABLE,
  step: (core) => {
    shutdownQuietly(core.fd, SHUT_WR);
    return true;
  },
  cancellable: false,
};

export function shutdownQuietly(fd: number, how: number): void {
  try {
    shutdown(fd, how);
  } catch (error) {
    // The peer has reset the connection: both directions are ended already.
    if (!(error instanceof SystemError) || error.errno !== -ENOTCONN) throw error;
  }
}
