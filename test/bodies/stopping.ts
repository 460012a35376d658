/** Threads that accept on one listener, stop, and say how it went. */
import {
  type CancelHandle,
  CancelledError,
  CancelSource,
  ClosedError,
  connectSync,
  type ListenerHandle,
  TcpListener,
  type TcpSocket,
} from "../../src/index.ts";
import { reach } from "../gates.ts";
import type { Context } from "../thread.ts";

export interface StopJob {
  listener: ListenerHandle;
  cancel: CancelHandle;
  settle?: number;
}
/** Set once the thread has begun to stop. */
export const STOPPING = 1;
/** How many it has answered. */
export const ANSWERED = 2;

/** False: the client had given up before it was accepted. */
function answer(socket: TcpSocket): boolean {
  using client = socket;
  const buffer = new Uint8Array(16);
  try {
    if (client.readSync(buffer, { timeout: 30_000 }) === 0) return false;
    client.writeSync("ok");
    client.closeWrite();
    client.readSync(buffer, { timeout: 30_000 });
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== "ECONNRESET") throw error;
    return false;
  }
}

/** Answers clients until it is cancelled, stops accepting, and answers those that are left; says how many, and how that ended. */
export function acceptUntilStopped({ say, aboutToBlock, flags }: Context, job: StopJob): void {
  using listener = TcpListener.from(job.listener);
  using cancel = CancelSource.from(job.cancel);
  let answered = 0;
  try {
    for (;;) {
      aboutToBlock();
      if (answer(listener.acceptSync({ cancel }))) Atomics.store(flags, ANSWERED, ++answered);
    }
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
  }
  listener.stopAccepting({ settle: job.settle });
  reach(flags, STOPPING);
  try {
    for (;;) {
      if (answer(listener.acceptSync())) answered++;
    }
  } catch (error) {
    if (!(error instanceof ClosedError)) throw error;
    say({ answered, closed: listener.closed });
  }
}

/** Holds the listener, blocked in an operation that nothing ends: to be terminated. */
export function hold({ say, aboutToBlock }: Context, job: StopJob): void {
  using _listener = TcpListener.from(job.listener);
  using cancel = CancelSource.from(job.cancel);
  say("held");
  aboutToBlock();
  using far = connectSync({ hostname: "127.0.0.1", port: (job as StopJob & { port: number }).port });
  far.readSync(new Uint8Array(1), { cancel });
}
