/** What becomes of promises, for the tests of the promise forms. */
import type { TcpSocket, UnixSocket } from "../../src/index.ts";

/** One turn of Bun's loop. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A few turns of Bun's loop: what only needs to be looked at has been looked at by then. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

/** What `promise` is rejected with; fails if it is fulfilled. */
export async function rejection<E = Error & { code?: string; bytesWritten?: number }>(
  promise: Promise<unknown>,
): Promise<E> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error as E;
  }
  throw new Error(`expected it to be rejected, and it was fulfilled with ${String(value)}`);
}

/** The names of promises in the order in which they settle, each with its value or the name of its error. */
export class Log {
  readonly entries: string[] = [];
  add<T>(name: string, promise: Promise<T>): Promise<void> {
    return promise.then(
      (value) => void this.entries.push(`${name}: ${String(value)}`),
      (error) => void this.entries.push(`${name}: ${(error as Error)?.name ?? String(error)}`),
    );
  }
}

/** More than the kernel ever buffers: a write of it waits, wherever the peer does not read. */
export const BULK = new Uint8Array(64 << 20);

/** Reads to the peer's end; how many bytes that were. */
export async function drain(socket: TcpSocket | UnixSocket): Promise<number> {
  const into = new Uint8Array(1 << 16);
  let received = 0;
  for (let count: number; (count = await socket.read(into, { timeout: 20_000 })) > 0; ) received += count;
  return received;
}
