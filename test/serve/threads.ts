/** Servers of many threads, for the tests of `serveThreads`. */
import { expect } from "bun:test";
import {
  type ServeThreadsOptions,
  serveThreads,
  type TcpSocket,
  type ThreadedServer,
  type UnixSocket,
} from "../../src/index.ts";
import type { Keep } from "../setup.ts";
import { until } from "../thread.ts";
import { dial, hostname, LIMIT } from "./clients.ts";

/** A module of handlers/. */
export function handlers(name: string): URL {
  return new URL(`./handlers/${name}.ts`, import.meta.url);
}

export type Crash = { error: unknown; id: number };

/** A server of commands.ts, and what its threads crashed with. It is joined after the test: `keep` closes it. */
export function commandServer(
  keep: Keep,
  threads: number,
  options: Partial<ServeThreadsOptions> = {},
): { server: ThreadedServer; port: number; crashes: Crash[] } {
  const crashes: Crash[] = [];
  const server = serveThreads(handlers("commands"), {
    listen: { hostname },
    threads,
    onCrash: (error, { id }) => crashes.push({ error, id }),
    ...options,
  });
  keep({
    [Symbol.asyncDispose]: async () => {
      server.close();
      await server.finished;
    },
  });
  return { server, port: (server.address as { port: number }).port, crashes };
}

/** Reads one line, without its end. */
export async function line(socket: TcpSocket | UnixSocket): Promise<string> {
  const letter = new Uint8Array(1);
  let text = "";
  for (;;) {
    if ((await socket.read(letter, { timeout: LIMIT })) === 0) throw new Error(`the end after ${JSON.stringify(text)}`);
    if (letter[0] === 10) return text;
    text += String.fromCharCode(letter[0]!);
  }
}

/** A client, and the thread that serves it. */
export async function client(keep: Keep, port: number): Promise<{ socket: TcpSocket; thread: number }> {
  const socket = keep(await dial(port));
  return { socket, thread: Number(await line(socket)) };
}

/** Has the handler do something; it has begun when this resolves. */
export async function order(socket: TcpSocket | UnixSocket, command: string): Promise<void> {
  await socket.write(command);
  expect(await line(socket)).toBe(`begins ${command}`);
}

/** A client of each thread, and no others. */
export async function clientsInEachThread(
  keep: Keep,
  server: ThreadedServer,
  port: number,
): Promise<Map<number, TcpSocket>> {
  const found = new Map<number, TcpSocket>();
  const end = Date.now() + LIMIT;
  while (found.size < server.threads.length) {
    if (Date.now() > end) throw new Error(`only ${found.size} of ${server.threads.length} threads serve`);
    const one = await client(keep, port);
    if (found.has(one.thread)) one.socket.close();
    else found.set(one.thread, one.socket);
  }
  await until("those that were too many to be gone", () => server.active === found.size);
  expect([...found.keys()].sort()).toEqual(server.threads.map(({ id }) => id).sort());
  return found;
}
