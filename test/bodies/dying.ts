/** Threads that are terminated in the middle of something: held up where the test says, and then their end comes. */
import {
  type CancelHandle,
  CancelSource,
  connectSync,
  type ListenerHandle,
  listen,
  type SocketHandle,
  TcpListener,
  TcpSocket,
} from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { around } from "../hooks.ts";
import type { Context } from "../thread.ts";

/** Gates: it stands where it is to stand; it may go on, which the terminated ones never do. */
export const HELD = 1;
export const GO_ON = 2;
/** It is ready to begin; it may; it has done all of it. */
export const PREPARED = 3;
export const BEGIN = 4;
export const DONE = 5;

/** Stands still at gate `GO_ON`. */
export function holder(flags: Int32Array): () => void {
  return () => {
    reach(flags, HELD);
    for (let left = 1000; left > 0; left--) {
      if (Atomics.load(flags, GO_ON) === 1) return;
      Atomics.wait(flags, GO_ON, 0, 1000);
    }
  };
}

export interface RingJob {
  cancel: CancelHandle;
  /** Before or after the call that rings, and which of several. */
  when: "before" | "after";
  ring: number;
}

/** Cancels, and is held up at a ring: the round is marked, and not everybody is awake. */
export function cancelAndStop({ flags, say }: Context, { cancel, when, ring }: RingJob): void {
  const source = CancelSource.from(cancel);
  const hold = holder(flags);
  let rings = 0;
  const before = () => {
    rings++;
    if (when === "before" && rings === ring) hold();
  };
  using _ = around(["write", "close"], before, () => {
    if (when === "after" && rings === ring) hold();
  });
  say(source.cancel("by a thread that died"));
}

const accesses = ["load", "store", "compareExchange", "exchange", "add", "sub", "and", "or", "xor"] as const;
type Access = (...parameters: unknown[]) => unknown;

/** Runs `run`, held up before its access number `step` to shared memory, if it comes to that. */
export function heldUp(step: number, hold: () => void, run: () => void): void {
  const atomics = Atomics as unknown as Record<string, Access>;
  const real = Object.fromEntries(accesses.map((name) => [name, atomics[name]!]));
  let left = step;
  for (const name of accesses) {
    atomics[name] = (...parameters) => {
      if (left-- === 0) {
        Object.assign(atomics, real); // before the gate, which is made of them itself
        hold();
      }
      return real[name]!(...parameters);
    };
  }
  run();
  Object.assign(atomics, real);
}

export const deeds = [
  "takes a source",
  "takes a listener",
  "takes a socket",
  "shares a source",
  "shares a listener",
  "cancels a source",
  "resets a source",
  "lets go of a source that others hold",
  "lets go of a source as its last holder",
  "lets go of a listener that others hold",
  "lets go of a listener as its last holder",
  "closes a socket",
  "detaches a socket",
] as const;
export type Deed = (typeof deeds)[number];

export interface StepJob {
  deed: Deed;
  step: number;
  source: CancelHandle;
  listener: ListenerHandle;
  socket: SocketHandle;
  port: number;
}

/** What is done before, and what it is held up in. */
function prepare(deed: Deed, job: StepJob): () => unknown {
  if (deed === "takes a source") return () => CancelSource.from(job.source);
  if (deed === "takes a listener") return () => TcpListener.from(job.listener);
  if (deed === "takes a socket") return () => TcpSocket.from(job.socket);
  if (deed === "shares a source") return () => new CancelSource().handle;
  if (deed === "shares a listener") {
    const listener = listen({ hostname: "127.0.0.1" });
    return () => listener.handle;
  }
  if (deed.startsWith("lets go of a listener")) {
    const listener = TcpListener.from(job.listener);
    return () => listener.close();
  }
  if (deed.endsWith("socket")) {
    const socket = connectSync({ hostname: "127.0.0.1", port: job.port });
    void socket.cancelSource.handle;
    return deed === "closes a socket" ? () => socket.close() : () => socket.detach();
  }
  const source = CancelSource.from(job.source);
  if (deed === "cancels a source") return () => source.cancel("by a thread that died");
  if (deed === "resets a source") return () => source.reset();
  return () => source.dispose();
}

/** Prepares, waits at the gate `BEGIN`, and stands still before access number `step` of what it does then, or after it. */
export function standStill(flags: Int32Array, step: number, prepareTo: () => () => unknown): void {
  const hold = holder(flags);
  const act = prepareTo();
  reach(flags, PREPARED);
  passed(flags, BEGIN);
  heldUp(step, hold, act);
  reach(flags, DONE);
  hold();
}

export function stepAndStop({ flags }: Context, job: StepJob): void {
  standStill(flags, job.step, () => prepare(job.deed, job));
}
