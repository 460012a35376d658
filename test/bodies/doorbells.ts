/** Threads that wait on a source whose doorbell is a pipe, or was to be an eventfd that the kernel refuses. */
import { libc } from "../../ffi/libc.ts";
import {
  type CancelHandle,
  CancelledError,
  CancelSource,
  connectSync,
  type TcpSocket,
  type WaitOptions,
} from "../../src/index.ts";
import { failWith } from "../faults.ts";
import { passed, reach } from "../gates.ts";
import { around, aroundWaits } from "../hooks.ts";
import type { Context } from "../thread.ts";

/** Gates: from this one on, how often thread `index` has entered a wait; and that all may end. */
export const ENTERED = 1;
export const END = 9;

export interface RoundsJob {
  cancel: CancelHandle;
  port: number;
  shared: Int32Array;
  index: number;
}

/** Reads, is cancelled, and reads again, until `END`; publishes each wait once it has begun. */
export function readUntilTheEnd({ say }: Context, { cancel, port, shared, index }: RoundsJob): void {
  using source = CancelSource.from(cancel);
  using socket = connectSync({ hostname: "127.0.0.1", port });
  const into = new Uint8Array(1);
  let entered = 0;
  let begun = false;
  // The first try comes after the source's round was noted. A read that is cancelled at its entry makes none.
  using _entry = around(
    ["recv"],
    () => {},
    () => {
      if (begun) return;
      begun = true;
      reach(shared, ENTERED + index, ++entered);
    },
  );
  while (Atomics.load(shared, END) === 0) {
    begun = false;
    try {
      socket.readSync(into, { cancel: source });
      throw new Error("it read, and nobody wrote");
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
    }
  }
  say(entered);
}

/** What a thread cannot get from the kernel: error numbers. */
export interface Refusals {
  eventfd?: number;
  /** Every pipe but the first ones. */
  pipes?: { errno: number; first: number };
}

/** From here on, in this thread. Undone by the result. */
export function refuse({ eventfd, pipes }: Refusals): () => void {
  const honest = { ...libc };
  let left = pipes?.first ?? Number.POSITIVE_INFINITY;
  Object.assign(libc, {
    ...(eventfd !== undefined && { eventfd: () => failWith(eventfd) }),
    pipe2: (ends: Int32Array, flags: number) => (left-- > 0 ? honest.pipe2(ends, flags) : failWith(pipes!.errno)),
  });
  return () => void Object.assign(libc, honest);
}

/** Gates of the threads below: how often one has gone to sleep, and that the kernel is generous again. */
export const SLEEPS = 1;
export const GENEROUS = 2;

export interface ReadJob extends Refusals {
  port: number;
  /** The source to wait on; without one, it makes one and says its handle. */
  cancel?: CancelHandle;
  /** The parent of the source that it makes. */
  parent?: CancelHandle;
  /** It makes the parent too, and says that handle first. */
  withParent?: boolean;
  timeout?: number;
}
export interface ReadOutcome {
  text?: string;
  name?: string;
  cause?: unknown;
}

function attempt(context: Context, socket: TcpSocket, options: WaitOptions): void {
  const into = new Uint8Array(16);
  context.aboutToBlock();
  try {
    context.say({ text: new TextDecoder().decode(into.subarray(0, socket.readSync(into, options))) });
  } catch (error) {
    const { name, cause } = error as ReadOutcome;
    context.say({ name, cause });
  }
}

/** Two reads in a thread that is refused things: the first while it is, the second once the gate `GENEROUS` is open. */
export function readRefused(context: Context, job: ReadJob): void {
  const { port, cancel, parent, withParent, timeout, ...refusals } = job;
  const relent = refuse(refusals);
  using above = parent !== undefined ? CancelSource.from(parent) : withParent ? new CancelSource() : undefined;
  if (withParent) context.say(above?.handle);
  using source = cancel === undefined ? new CancelSource({ parent: above }) : CancelSource.from(cancel);
  if (cancel === undefined) context.say(source.handle);
  using socket = connectSync({ hostname: "127.0.0.1", port });
  using _sleeps = aroundWaits(
    () => void Atomics.add(context.flags, SLEEPS, 1),
    () => {},
  );
  attempt(context, socket, { cancel: source, timeout });
  passed(context.flags, GENEROUS);
  relent();
  attempt(context, socket, { cancel: source });
}

/** Gates: a ringer stands behind the call that rings; it may go on. */
export const RUNG = 1;
export const GO_ON = 2;

/** Cancels, and is held up right after the call that rings the one waiter. */
export function cancelSlowly({ flags, say }: Context, handle: CancelHandle): void {
  using source = CancelSource.from(handle);
  let held = false;
  using _hold = around(
    ["close"],
    () => {},
    () => {
      if (held) return;
      held = true;
      reach(flags, RUNG);
      passed(flags, GO_ON);
    },
  );
  say(source.cancel("slowly"));
}
