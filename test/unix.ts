/** Unix sockets of one thread: a client, what is at a path, and whether a listener is well. */
import { lstatSync } from "node:fs";
import { connectSync, type UnixListener, type UnixSocket } from "../src/index.ts";

export function dial(path: string): UnixSocket {
  return connectSync({ path, timeout: 20_000 });
}

export function kindOf(path: string): "socket" | "file" | "folder" | "nothing" {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return "nothing";
  return stat.isSocket() ? "socket" : stat.isDirectory() ? "folder" : "file";
}

/** Whether a client at this path comes out at this listener. */
export function answers(listener: UnixListener, path: string): boolean {
  using client = dial(path);
  using accepted = listener.acceptSync({ timeout: 20_000 });
  accepted.writeSync("who is there");
  return client.readSync(new Uint8Array(16), { timeout: 20_000 }) === 12;
}
