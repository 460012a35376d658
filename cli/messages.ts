/** What both forms of the netcat say on standard error, and the exit code that says the rest. */
import { writeSync } from "node:fs";
import { CancelledError, type TcpSocket, TimeoutError, type UnixSocket } from "../src/index.ts";
import type { NetcatOptions } from "./arguments.ts";

const MESSAGES = 2;
/** Milliseconds without input after which a peer that has ended ends us, as socat has it. */
export const LINGER = 500;

/** Nobody reads our output any more. */
export class BrokenOutput extends Error {}

function say(text: string): void {
  try {
    writeSync(MESSAGES, `${text}\n`);
  } catch {
    // Nobody listens to messages; the exit code still says it.
  }
}

export function note({ verbose }: NetcatOptions, text: string): void {
  if (verbose) say(text);
}

/** Says what a transfer failed with; its exit code. */
export function exitCode(options: NetcatOptions, error: unknown): number {
  if (error instanceof BrokenOutput) return 0;
  if (error instanceof CancelledError) {
    note(options, "interrupted");
    return 130;
  }
  say(error instanceof Error ? error.message : String(error));
  return error instanceof TimeoutError ? 124 : 1;
}

type Address = { path: string } | { hostname?: string | undefined; address?: string; port: number };

export function describe(to: Address): string {
  return "path" in to ? to.path || "(unnamed)" : `${to.address ?? to.hostname} port ${to.port}`;
}

export function peerName({ listen, address }: NetcatOptions, socket: TcpSocket | UnixSocket): string {
  // A client of a Unix socket has no name; the path says more.
  return describe(listen && !("path" in address) ? socket.remoteAddress : address);
}
