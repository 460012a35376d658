/** What a `Poller` waits for, and what it tells of it. */
import type { TcpListener } from "../socket/tcp-listener.ts";
import type { TcpSocket } from "../socket/tcp-socket.ts";
import type { UnixListener } from "../socket/unix-listener.ts";
import type { UnixSocket } from "../socket/unix-socket.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import { ENDED, FAILED } from "./ready-set.ts";
import type { WakeQueue } from "./wake-queue.ts";

/** What a `Poller` can wait for; a number is a file descriptor that stays its owner's. */
export type Pollable = TcpSocket | UnixSocket | TcpListener | UnixListener | WakeQueue<unknown> | number;

/** What is awaited of a source; neither unless given. Of a listener, a connection makes it readable; of a queue, a value. */
export interface Interest {
  readable?: boolean | undefined;
  writable?: boolean | undefined;
}

/** A source that was ready when the wait looked; what is done with another event of the same wait may have closed it since. */
export interface PollEvent {
  readonly source: Pollable;
  /** It was awaited, and a read (accept, receive) would not wait: there is something, or the end, or an error. */
  readonly readable: boolean;
  /** It was awaited, and a write would not wait. */
  readonly writable: boolean;
  /** The peer has ended its side (what it sent before may still be there), or the queue was closed. */
  readonly ended: boolean;
  /** It has failed: the next operation says how. Of a number, perhaps, that it is no open descriptor; it is out of the set then. */
  readonly error: boolean;
}

/** What a wait tells of `source`. */
export function toEvent(
  { source, interest }: { readonly source: Pollable; readonly interest: number },
  ready: number,
): PollEvent {
  return {
    source,
    readable: (ready & interest & READABLE) !== 0,
    writable: (ready & interest & WRITABLE) !== 0,
    ended: (ready & ENDED) !== 0,
    error: (ready & FAILED) !== 0,
  };
}
