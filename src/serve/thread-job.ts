/** What the two sides of a server of many threads tell each other. */
import type { CancelHandle } from "../cancel/handle.ts";
import type { ListenerHandle } from "../socket/listening-fd.ts";

/** What a thread begins with. */
export interface ThreadJob {
  /** The address of the module whose default export is the handler. */
  readonly module: string;
  readonly listener: ListenerHandle;
  /** It is a Unix one. */
  readonly isUnix: boolean;
  /** Cancelled when the server begins to stop: it reaches handlers that block their threads, too. */
  readonly cancel: CancelHandle;
  /** See `Counts`. */
  readonly counts: Float64Array<ArrayBufferLike>;
  readonly maxConnections: number;
  /** See `Gate`. */
  readonly gate: Int32Array<ArrayBufferLike>;
}

/** What a thread is told: to drain until then (a `monotonic()` time), or to close. */
export type ThreadOrder = { readonly until: number; readonly settle: number | undefined } | "close";

/** What a thread says: it serves, it has found the queue empty and will stay so, it has come to its end. */
export type ThreadNews = "up" | "drained" | "done";

/** Messages of ours, among those of the module, which may talk to its parent as well. */
interface Envelope<T> {
  readonly cancelfd: T;
}

export function wrap<T extends ThreadOrder | ThreadNews>(content: T): Envelope<T> {
  return { cancelfd: content };
}

/** Undefined: it is not for us. */
export function unwrap<T extends ThreadOrder | ThreadNews>(message: unknown): T | undefined {
  return (message as Partial<Envelope<T>> | null | undefined)?.cancelfd;
}
