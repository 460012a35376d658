/** Threads that own descriptors when their end comes. */
import {
  type CancelHandle,
  CancelSource,
  connectSync,
  type ListenerHandle,
  listen,
  type SocketHandle,
  type TcpSocket,
} from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import type { Context } from "../thread.ts";
import { Victim, type WorkerClass } from "../victim.ts";

/** Gates: the port that it listens on; that it has all that it is to have; that it may end. */
export const PORT = 1;
export const UP = 2;
export const END = 3;
export const CLIENTS = 5;

export interface OwnerJob {
  /** Whether it takes the listener's handle, and says it. */
  listener: boolean;
  /** How it ends by itself, once the gate `END` is open; without it, it blocks for ever. */
  end?: "return" | "exit" | "throw";
}
export interface Owned {
  cancel: CancelHandle;
  listener?: ListenerHandle;
}

/** A listener, a source and five connected sockets, one of which has a source of its own. */
export function own({ say, flags, aboutToBlock }: Context, job: OwnerJob): void {
  const listener = listen({ hostname: "127.0.0.1" });
  reach(flags, PORT, listener.address.port);
  const source = new CancelSource();
  say({ cancel: source.handle, ...(job.listener && { listener: listener.handle }) } satisfies Owned);
  const clients: TcpSocket[] = [];
  while (clients.length < CLIENTS) clients.push(listener.acceptSync({ cancel: source }));
  void clients[0]!.cancelSource.handle;
  reach(flags, UP);
  if (job.end === undefined) {
    aboutToBlock();
    clients[0]!.readSync(new Uint8Array(1), { cancel: source });
  }
  passed(flags, END);
  if (job.end === "exit") process.exit(0);
  if (job.end === "throw") throw new Error("this thread fails");
}

export interface FamilyJob {
  inner: WorkerClass;
  flags: Int32Array;
}

/** Starts a thread that owns things, whose gates are the test's; says when that one is blocked, and blocks. */
export async function startAnother({ aboutToBlock, say }: Context, { inner, flags }: FamilyJob): Promise<void> {
  const listener = listen({ hostname: "127.0.0.1" }); // so that the inner thread's ledger is this one's
  const victim = new Victim(inner, "owners", "own", { listener: true } satisfies OwnerJob, { release: false, flags });
  await victim.blocked();
  say("the inner one is blocked");
  aboutToBlock();
  listener.acceptSync();
}

export interface Adrift {
  socket: SocketHandle;
  cancel: CancelHandle;
}

/** Detaches a socket with a source of its own, says both handles, and blocks. */
export function detachAndBlock({ say, aboutToBlock, flags }: Context): void {
  const listener = listen({ hostname: "127.0.0.1" });
  reach(flags, PORT, listener.address.port);
  const socket = listener.acceptSync({ timeout: 20_000 });
  const cancel = socket.cancelSource.handle;
  say({ socket: socket.detach(), cancel } satisfies Adrift);
  aboutToBlock();
  listener.acceptSync();
}

/** Connects, and blocks in a read of nothing. */
export function readFrom({ aboutToBlock }: Context, { port, cancel }: { port: number; cancel: CancelHandle }): void {
  const source = CancelSource.from(cancel);
  const socket = connectSync({ hostname: "127.0.0.1", port });
  aboutToBlock();
  socket.readSync(new Uint8Array(1), { cancel: source });
}
