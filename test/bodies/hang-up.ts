/** A server that closes each connection as soon as it has it, until flag 1 is set. */
import { type ListenerHandle, TcpListener } from "../../src/index.ts";
import type { Context } from "../thread.ts";

export function hangUp({ flags }: Context, handle: ListenerHandle): void {
  using listener = TcpListener.from(handle);
  while (Atomics.load(flags, 1) === 0) listener.acceptSync({ timeout: 30_000 }).close();
}
