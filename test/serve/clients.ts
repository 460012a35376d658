/** Clients and servers for the tests of `serve`. */
export { rejection } from "../promise/outcome.ts";

import { connect, type OperationOptions, type TcpListener, type TcpSocket, TimeoutError } from "../../src/index.ts";

export const hostname = "127.0.0.1";
/** Beyond what anything here takes: a busy machine is no failure. */
export const LIMIT = 30_000;

export function dial(listener: TcpListener | number, options: OperationOptions = {}): Promise<TcpSocket> {
  const port = typeof listener === "number" ? listener : listener.address.port;
  return connect({ hostname, port, timeout: LIMIT, ...options });
}

/** What is read to the peer's end, and how that came: "end", or the code of the error. */
export async function hear(socket: Pick<TcpSocket, "read" | "close">): Promise<{ text: string; end: string }> {
  const buffer = new Uint8Array(4096);
  let text = "";
  try {
    for (let count: number; (count = await socket.read(buffer, { timeout: LIMIT })) > 0; ) {
      text += Buffer.from(buffer.subarray(0, count)).toString();
    }
    return { text, end: "end" };
  } catch (error) {
    return { text, end: (error as { code: string }).code };
  } finally {
    socket.close();
  }
}

/** Reads once, as text. */
export async function readText(socket: Pick<TcpSocket, "read">, options: OperationOptions = {}): Promise<string> {
  const buffer = new Uint8Array(4096);
  return Buffer.from(buffer.subarray(0, await socket.read(buffer, { timeout: LIMIT, ...options }))).toString();
}

/** A promise, and how to settle it. */
export function gate<T = void>(): PromiseWithResolvers<T> {
  return Promise.withResolvers<T>();
}

/** Milliseconds for a SYN to be answered over loopback, and for one that is dropped to stay without an answer. */
const UNANSWERED = 200;

/** Whether a client gets in now. */
export async function getsIn(listener: TcpListener): Promise<boolean> {
  try {
    (await dial(listener, { timeout: UNANSWERED })).close();
    return true;
  } catch (error) {
    if (error instanceof TimeoutError) return false;
    throw error;
  }
}
