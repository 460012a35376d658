/** Threads that take a socket which was detached elsewhere. */
import { parentPort } from "node:worker_threads";
import {
  type CancelHandle,
  CancelSource,
  type InetAddress,
  type SocketHandle,
  TcpSocket,
  type UnixAddress,
  UnixSocket,
} from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import type { Context } from "../thread.ts";

/** Gate: it has the socket. */
export const TAKEN = 1;

export interface Moved {
  kind: "TcpSocket" | "UnixSocket";
  socket: SocketHandle;
  /** What it reads with, beside its own source. */
  cancel?: CancelHandle;
}

function take({ kind, socket }: Moved): TcpSocket | UnixSocket {
  return kind === "TcpSocket" ? TcpSocket.from(socket) : UnixSocket.from(socket);
}

/** Reads to the end what comes, and answers how much that was and how it added up. */
export function readToTheEnd({ say, flags }: Context, moved: Moved): void {
  using socket = take(moved);
  reach(flags, TAKEN);
  const into = new Uint8Array(1000);
  let next = Number(socket.bytesRead);
  let wrong = "";
  for (let count: number; (count = socket.readSync(into, { timeout: 20_000 })) > 0; ) {
    for (let i = 0; i < count; i++, next++) {
      if (into[i] !== (next & 255)) wrong ||= `byte ${next} is ${into[i]}, not ${next & 255}`;
    }
  }
  socket.writeSync(`got ${next}`);
  say({ next, wrong, bytesRead: socket.bytesRead });
}

/** Reads one byte after the other in a few turns, then moves the socket on to the next thread. */
export function readAndMoveOn({ say, flags }: Context, moved: Moved): void {
  const socket = take(moved);
  const into = new Uint8Array(1);
  const bytes: number[] = [];
  while (bytes.length < 100) {
    socket.readSync(into, { timeout: 20_000 });
    bytes.push(into[0]!);
  }
  say({ bytes, socket: socket.detach() });
  passed(flags, TAKEN); // until then this thread is the owner, and its end would be the socket's
}

/** What a socket knows of itself after a move. */
export interface Known {
  localAddress: InetAddress | UnixAddress;
  remoteAddress: InetAddress | UnixAddress;
  bytesRead: number;
  bytesWritten: number;
  read: string;
  write: string;
}

function attempt(operation: () => number): string {
  try {
    return String(operation());
  } catch (error) {
    return (error as Error).name;
  }
}

export function tellAll({ say }: Context, moved: Moved): void {
  using socket = take(moved);
  const { localAddress, remoteAddress, bytesRead, bytesWritten } = socket;
  const read = attempt(() => socket.readSync(new Uint8Array(8)));
  const write = attempt(() => socket.writeSync("more"));
  say({ localAddress, remoteAddress, bytesRead, bytesWritten, read, write } satisfies Known);
}

/** Blocks in a read, and says the name and the cause of what ends it; twice if a message comes in between. */
export async function blockInRead({ say, aboutToBlock, flags }: Context, moved: Moved): Promise<void> {
  using socket = take(moved);
  using cancel = moved.cancel === undefined ? undefined : CancelSource.from(moved.cancel);
  reach(flags, TAKEN);
  for (let time = 0; time < 2; time++) {
    aboutToBlock();
    try {
      say({ text: `read ${socket.readSync(new Uint8Array(8), { cancel })}` });
    } catch (error) {
      const { name, cause } = error as Error;
      say({ name, cause });
    }
    if (time === 0) await new Promise((resolve) => parentPort!.once("message", resolve));
  }
}

/** Cancels the source once, from a thread that has neither made it nor the socket. */
export function cancelOnce({ say }: Context, { cancel }: { cancel: CancelHandle }): void {
  using source = CancelSource.from(cancel);
  say(source.cancel("from a third thread"));
}
