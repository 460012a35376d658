/** Threads that share a listener, blocking or by promises, and count what it costs them. */
import { libc } from "../../ffi/libc.ts";
import {
  type CancelHandle,
  CancelledError,
  CancelSource,
  type ListenerHandle,
  TcpListener,
  type TcpSocket,
} from "../../src/index.ts";
import type { Context } from "../thread.ts";

export interface SharingJob {
  listener: ListenerHandle;
  cancel: CancelHandle;
}
/** How many connections it has taken. */
export const TAKEN = 1;
/** How often it has asked the kernel for one. */
export const ASKED = 2;

function answer(socket: TcpSocket): void {
  using client = socket;
  const request = new Uint8Array(1);
  if (client.readSync(request, { timeout: 30_000 }) === 1) client.writeSync("ok");
}

async function take({ flags, say }: Context, job: SharingJob, accept: (l: TcpListener, c: CancelSource) => unknown) {
  const { accept4 } = libc;
  libc.accept4 = (...args) => {
    Atomics.add(flags, ASKED, 1);
    return accept4(...args);
  };
  using listener = TcpListener.from(job.listener);
  using cancel = CancelSource.from(job.cancel);
  say("up");
  try {
    for (;;) {
      const socket = (await accept(listener, cancel)) as TcpSocket;
      Atomics.add(flags, TAKEN, 1);
      answer(socket);
    }
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
    say("cancelled");
  }
}

export function blocking(context: Context, job: SharingJob): Promise<void> {
  return take(context, job, (listener, cancel) => listener.acceptSync({ cancel }));
}

export function promises(context: Context, job: SharingJob): Promise<void> {
  return take(context, job, (listener, cancel) => listener.accept({ cancel }));
}
