/** Threads to which handles are posted, and which try to take and use what is behind them. */
import { parentPort } from "node:worker_threads";
import { SO_ACCEPTCONN, SOL_SOCKET } from "../../ffi/index.ts";
import {
  type CancelHandle,
  CancelSource,
  ClosedError,
  type ListenerHandle,
  type SocketHandle,
  TcpListener,
  TcpSocket,
  UnixListener,
} from "../../src/index.ts";
import { passed } from "../gates.ts";
import type { Context } from "../thread.ts";

/** Gates, shared by all: the round that may begin. */
export const BEGIN = 1;

export type Kind = "source" | "child" | "TcpListener" | "UnixListener" | "TcpSocket";

export interface TakeJob {
  kind: Kind;
  handle: unknown;
  round: number;
}
export type Outcome = "works" | "closed" | `failed: ${string}`;

/** Takes it and looks whether it is what it should be, and nothing else. Returns how to let go. */
function take({ kind, handle, round }: TakeJob): Disposable {
  if (kind === "source" || kind === "child") {
    const source = CancelSource.from(handle as CancelHandle);
    if (source.cancelled) throw new Error("it is cancelled, and nobody did");
    const child = source.child();
    void child.handle; // a doorbell of its own, next to the source's
    child.dispose();
    return source;
  }
  if (kind === "TcpSocket") {
    const socket = TcpSocket.from(handle as SocketHandle);
    socket.writeSync(`round ${round}`);
    return socket;
  }
  const listener =
    kind === "TcpListener" ? TcpListener.from(handle as ListenerHandle) : UnixListener.from(handle as ListenerHandle);
  if (listener.getOption(SOL_SOCKET, SO_ACCEPTCONN) !== 1) throw new Error("its descriptor does not listen");
  listener.tryAccept()?.close();
  return listener;
}

/** For each job: waits for its round, takes the thing, lets go of it, and says what came of it; until it gets null. */
export async function takeWhenTold({ say }: Context, shared: Int32Array): Promise<void> {
  const jobs: (TakeJob | null)[] = [];
  let wake = () => {};
  parentPort!.on("message", (job: TakeJob | null) => {
    jobs.push(job);
    wake();
  });
  say("up");
  for (;;) {
    if (jobs.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const job = jobs.shift()!;
    if (job === null) break;
    passed(shared, BEGIN, job.round);
    let outcome: Outcome = "works";
    try {
      take(job)[Symbol.dispose]();
    } catch (error) {
      outcome = error instanceof ClosedError ? "closed" : `failed: ${error}`;
    }
    say(outcome);
  }
  parentPort!.removeAllListeners("message");
  parentPort!.unref();
}
