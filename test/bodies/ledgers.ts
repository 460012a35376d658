/** Threads that import the library before their main thread does, so that each has a ledger of its own. */
import { parentPort } from "node:worker_threads";
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
import type { Context } from "../thread.ts";

/** What one thread gives the others. */
export interface Goods {
  source: CancelHandle;
  listener: ListenerHandle;
  port: number;
  socket: SocketHandle;
}

const next = <T>() => new Promise<T>((resolve) => parentPort!.once("message", resolve));

/** Says what it has, gets what the other has, uses that, and then waits on both sources, one after the other. */
export async function exchange({ say, aboutToBlock }: Context): Promise<void> {
  const source = new CancelSource();
  const listener = listen({ hostname: "127.0.0.1" });
  const { port } = listener.address;
  const near = connectSync({ hostname: "127.0.0.1", port });
  const moved = listener.acceptSync({ timeout: 20_000 });
  void moved.cancelSource.handle;
  say({ source: source.handle, listener: listener.handle, port, socket: moved.detach() } satisfies Goods);

  const theirs = await next<Goods>();
  near.writeSync("from the one who moved it");
  const others = CancelSource.from(theirs.source);
  const copy = TcpListener.from(theirs.listener);
  const taken = TcpSocket.from(theirs.socket);
  const into = new Uint8Array(64);
  const text = new TextDecoder().decode(into.subarray(0, taken.readSync(into, { timeout: 20_000 })));
  const client = connectSync({ hostname: "127.0.0.1", port: theirs.port });
  say({ text, cancelled: others.cancelled });
  // One of them accepts on the other's listener: its own client.
  const accepted = copy.acceptSync({ timeout: 20_000 });
  say(accepted.remoteAddress.port === client.localAddress.port);

  for (const one of [others, source]) {
    aboutToBlock();
    try {
      taken.readSync(into, { cancel: one });
    } catch (error) {
      say((error as Error).name);
    }
  }
  say("the last one");
  aboutToBlock();
  taken.readSync(into); // for ever
}

/** Waits on a source that comes from another thread, and then for ever. Says its own first, so that it has a ledger. */
export async function waitOn({ say, aboutToBlock }: Context): Promise<void> {
  using own = new CancelSource(); // held to the end: a handle on its way holds nothing
  const listener = listen({ hostname: "127.0.0.1" });
  say(own.handle);
  using source = CancelSource.from(await next<CancelHandle>());
  aboutToBlock();
  try {
    listener.acceptSync({ cancel: source });
  } catch (error) {
    say((error as Error).name);
  }
  aboutToBlock();
  listener.acceptSync(); // without a pipe
}

/** Makes a source, and cancels it when it is told to. */
export async function cancelWhenTold({ say }: Context): Promise<void> {
  using source = new CancelSource();
  say(source.handle);
  await next();
  say(source.cancel());
  await next();
}
