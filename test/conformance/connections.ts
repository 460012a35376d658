/** The three kinds of connection that the behaviour tables are run over, with both ends here or one in a Worker. */
import { expect } from "bun:test";
import { readlinkSync } from "node:fs";
import { join } from "node:path";
import {
  connectSync,
  type InetAddress,
  listen,
  type SocketHandle,
  TcpListener,
  TcpSocket,
  UnixListener,
  type UnixSocket,
} from "../../src/index.ts";
import { type End, type Part, TAKEN } from "../bodies/conformance-peers.ts";
import { changes } from "../fds.ts";
import { reach } from "../gates.ts";
import { type Keep, temporaryDirectory } from "../setup.ts";
import type { Thread } from "../thread.ts";
import { start } from "../victim.ts";
import type { Form } from "./forms.ts";

export type Stream = TcpSocket | UnixSocket;

export const kinds = ["TCP", "Unix sockets", "a handed-over socket"] as const;
export type Kind = (typeof kinds)[number];

/** A path that nobody listens at. */
export function freshPath(keep: Keep): string {
  return join(keep(temporaryDirectory()).path, "socket");
}

export interface Ends {
  near: Stream;
  far: Stream;
}

/** Both ends in this thread. Those of a handed-over socket come from another thread, which has ended. */
export async function connected(keep: Keep, kind: Kind): Promise<Ends> {
  if (kind === "a handed-over socket") {
    const thread = await start(keep, "conformance-peers", "handOver");
    const [near, far] = await thread.next<[SocketHandle, SocketHandle]>();
    const ends = { near: keep(TcpSocket.from(near)), far: keep(TcpSocket.from(far)) };
    reach(thread.flags, TAKEN);
    await thread.join();
    return ends;
  }
  if (kind === "TCP") {
    using listener = listen({ hostname: "127.0.0.1" });
    const near = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, timeout: 20_000 }));
    return { near, far: keep(listener.acceptSync({ timeout: 20_000 })) };
  }
  const path = freshPath(keep);
  using listener = listen({ path });
  const near = keep(connectSync({ path, timeout: 20_000 }));
  return { near, far: keep(listener.acceptSync({ timeout: 20_000 })) };
}

/** One end in this thread; the other one plays a part in a Worker. */
export async function connectedTo(keep: Keep, kind: Kind, part: Part): Promise<{ near: Stream; peer: Thread }> {
  const playedBy = (end: End) => start(keep, "conformance-peers", "play", { part, end });
  if (kind === "a handed-over socket") {
    const { near, far } = await connected(keep, kind);
    return { near, peer: await playedBy({ socket: far.detach() }) };
  }
  if (kind === "TCP") {
    using listener = listen({ hostname: "127.0.0.1" });
    const peer = await playedBy({ port: listener.address.port });
    return { near: keep(listener.acceptSync({ timeout: 20_000 })), peer };
  }
  const path = freshPath(keep);
  using listener = listen({ path });
  const peer = await playedBy({ path });
  return { near: keep(listener.acceptSync({ timeout: 20_000 })), peer };
}

/** The kernel's name of this thread. */
export const mainThread = readlinkSync("/proc/thread-self").split("/").at(-1)!;

/** Opens what stays open in a thread from its first promise on, so that descriptor tables can be compared. */
export async function warmUp(keep: Keep): Promise<void> {
  const { near } = await connected(keep, "TCP");
  await near.read(new Uint8Array(1), { timeout: 5 }).catch(() => {});
  near.close();
}

/**
 * What a dial can leave behind is not there: a socket, or the epoll set of one. The rest of the table belongs to threads
 * that come up and go; and one epoll set more or less is the reactor's, which Bun's loop has, as it happens to wait.
 */
export async function unchangedSince(before: Record<string, string>): Promise<void> {
  const left = () => {
    const rows = Object.values(changes(before)).map((table) => Object.values(table));
    return rows.map((row) => [
      ...row.filter((what) => what.startsWith("socket:")),
      ...row.filter((what) => what === "anon_inode:[eventpoll]").slice(1),
    ]);
  };
  for (const end = Date.now() + 5000; left().flat().length > 0 && Date.now() < end; ) await Bun.sleep(5);
  expect(left()).toEqual([[], []]);
}

/** A listener, how to dial it, how to listen at its address again, and how to take it a second time. */
export function listenOver(keep: Keep, kind: "TCP" | "Unix sockets") {
  if (kind === "TCP") {
    const listener: TcpListener | UnixListener = keep(listen({ hostname: "127.0.0.1" }));
    const { port } = listener.address as InetAddress;
    const { handle } = listener;
    return {
      listener,
      dial: (form: Form): Promise<Stream> => form.connect({ hostname: "127.0.0.1", port, timeout: 20_000 }),
      again: (): TcpListener | UnixListener => listen({ hostname: "127.0.0.1", port }),
      copy: (): TcpListener | UnixListener => TcpListener.from(handle),
    };
  }
  const path = freshPath(keep);
  const listener: TcpListener | UnixListener = keep(listen({ path }));
  const { handle } = listener;
  return {
    listener,
    dial: (form: Form): Promise<Stream> => form.connectAt({ path, timeout: 20_000 }),
    again: (): TcpListener | UnixListener => listen({ path }),
    copy: (): TcpListener | UnixListener => UnixListener.from(handle),
  };
}
