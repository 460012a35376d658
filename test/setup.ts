/** What nearly every test needs: resources that are closed after it, two ends of a connection, places to fail at. */
import { afterEach, setDefaultTimeout } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connectSync,
  type InetListenOptions,
  listen,
  type TcpListener,
  type TcpSocket,
  type UnixSocket,
} from "../src/index.ts";

export type Keep = <T extends Disposable | AsyncDisposable>(resource: T) => T;

/** Call it once at the top of a file; what is given to its result is closed after the test, the last one first. */
export function keeper(): Keep {
  // Far beyond what any test takes: a busy machine is no failure. Bun 1.4.5 reads no such setting from bunfig.toml.
  setDefaultTimeout(60_000);
  const kept: (Disposable | AsyncDisposable)[] = [];
  afterEach(async () => {
    for (const resource of kept.splice(0).reverse()) {
      // At once, where there is the choice: a socket's other end may be kept here as well, and ends only after it.
      if (Symbol.dispose in resource) resource[Symbol.dispose]();
      else await resource[Symbol.asyncDispose]();
    }
  });
  return (resource) => {
    kept.push(resource);
    return resource;
  };
}

/** Both ends of a TCP connection over loopback. */
export function pair(
  keep: Keep,
  options: InetListenOptions = { hostname: "127.0.0.1" },
): { client: TcpSocket; server: TcpSocket; listener: TcpListener } {
  const listener = keep(listen(options));
  const { address, port, family } = listener.address;
  const hostname = family === "IPv6" ? "::1" : address === "0.0.0.0" ? "127.0.0.1" : address;
  const client = keep(connectSync({ hostname, port }));
  const server = keep(listener.acceptSync({ timeout: 5000 }));
  return { client, server, listener };
}

/** The port of a listener whose backlog is full: a further connect stays in progress for ever. */
export function blackHole(keep: Keep, hostname = "127.0.0.1"): { port: number; listener: TcpListener } {
  const listener = keep(listen({ hostname, backlog: 0 }));
  keep(connectSync({ hostname, port: listener.address.port }));
  return { port: listener.address.port, listener };
}

/** A port that nobody listens on: one that the kernel gave out a moment ago. */
export function refusedPort(hostname = "127.0.0.1"): number {
  using listener = listen({ hostname });
  return listener.address.port;
}

/** Reads to the peer's end. */
export function readAll(socket: TcpSocket | UnixSocket, timeout = 10_000): Buffer {
  const chunks: Buffer[] = [];
  const buffer = new Uint8Array(1 << 16);
  for (let count: number; (count = socket.readSync(buffer, { timeout })) > 0; ) {
    chunks.push(Buffer.from(buffer.subarray(0, count)));
  }
  return Buffer.concat(chunks);
}

/** Reads once, as text. */
export function readText(socket: TcpSocket | UnixSocket, timeout = 5000): string {
  const buffer = new Uint8Array(1 << 16);
  return Buffer.from(buffer.subarray(0, socket.readSync(buffer, { timeout }))).toString();
}

/** A directory of the test's own, gone when it is disposed. */
export function temporaryDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "cancelfd-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
