/** Threads at the ends of Unix sockets. */
import { createHash, randomBytes } from "node:crypto";
import {
  type CancelHandle,
  CancelSource,
  connectSync,
  type ListenerHandle,
  listen,
  UnixListener,
} from "../../src/index.ts";
import { reach } from "../gates.ts";
import type { Context } from "../thread.ts";

/** Gate: it listens, or holds the listener. */
export const UP = 1;

/** Accepts one client, and sends back what comes; says how much that was. */
export function echo({ say, flags }: Context, handle: ListenerHandle): void {
  using listener = UnixListener.from(handle);
  reach(flags, UP);
  using client = listener.acceptSync({ timeout: 30_000 });
  const buffer = new Uint8Array(50_000);
  for (let count: number; (count = client.readSync(buffer, { timeout: 30_000 })) > 0; ) {
    client.writeSync(buffer.subarray(0, count), { timeout: 30_000 });
  }
  client.closeWrite();
  say(client.bytesRead);
}

/** Sends so many random bytes to an echo, in turns that no buffer is too small for; says whether they came back. */
export function sendToEcho({ say }: Context, { path, length }: { path: string; length: number }): void {
  using socket = connectSync({ path, timeout: 30_000 });
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  const buffer = new Uint8Array(20_000);
  for (let left = length; left > 0; left -= buffer.byteLength) {
    const chunk = randomBytes(Math.min(left, buffer.byteLength));
    sent.update(chunk);
    socket.writeSync(chunk, { timeout: 30_000 });
    for (let due = chunk.byteLength; due > 0; ) {
      const count = socket.readSync(buffer, { timeout: 30_000 });
      if (count === 0) throw new Error("the echo has ended early");
      received.update(buffer.subarray(0, count));
      due -= count;
    }
  }
  socket.closeWrite();
  say({ same: sent.digest("hex") === received.digest("hex"), end: socket.readSync(buffer, { timeout: 30_000 }) });
}

export interface HoldJob {
  /** Listens at this path, or holds this listener. */
  path?: string;
  listener?: ListenerHandle;
  share?: boolean;
}

/** Has a listener, says its handle if it is to share it, and blocks in accept; answers each client. */
export function hold({ say, flags, aboutToBlock }: Context, { path, listener, share }: HoldJob): void {
  const mine = path === undefined ? UnixListener.from(listener!) : listen({ path });
  if (share) say(mine.handle);
  reach(flags, UP);
  for (;;) {
    aboutToBlock();
    using client = mine.acceptSync();
    client.writeSync("hello");
  }
}

export interface ConnectJob {
  path: string;
  cancel: CancelHandle;
  timeout?: number;
}

/** Connects, and says what came of it. */
export function connect({ say, aboutToBlock }: Context, { path, cancel, timeout }: ConnectJob): void {
  using source = CancelSource.from(cancel);
  aboutToBlock();
  try {
    using socket = connectSync({ path, cancel: source, timeout });
    const buffer = new Uint8Array(16);
    const count = socket.readSync(buffer, { timeout: 30_000 });
    say({ text: new TextDecoder().decode(buffer.subarray(0, count)) });
  } catch (error) {
    const { name, cause, code } = error as { name: string; cause?: unknown; code?: string };
    say({ name, cause, code });
  }
}
