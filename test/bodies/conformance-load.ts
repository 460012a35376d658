/** Threads of Go's tests that have deadlines under load. */
import { monotonic } from "../../ffi/index.ts";
import { connectSync, type ListenerHandle, TcpListener, TimeoutError } from "../../src/index.ts";
import type { Context } from "../thread.ts";

const limits = { timeout: 30_000 };

/** Writes without a pause to each client, one after the other, until it goes; so many. */
export function pourToClients(_context: Context, { listener, clients }: { listener: ListenerHandle; clients: number }) {
  using copy = TcpListener.from(listener);
  const chunk = new Uint8Array(65_536);
  for (let i = 0; i < clients; i++) {
    using client = copy.acceptSync(limits);
    try {
      for (;;) client.writeSync(chunk, limits);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code !== "ECONNRESET" && code !== "EPIPE") throw error;
    }
  }
}

export interface Ending {
  deadline: number;
  took: number;
  /** The name of what ended it. */
  name: string;
}

/** What ends reading from a server that never pauses, under each of these deadlines, and after how long. */
export function readUnderDeadlines({ say }: Context, { port, deadlines }: { port: number; deadlines: number[] }): void {
  const buffer = new Uint8Array(65_536);
  const endings: Ending[] = [];
  for (const deadline of deadlines) {
    using socket = connectSync({ hostname: "127.0.0.1", port, ...limits });
    const begin = monotonic();
    socket.setReadDeadline(deadline);
    let name = "the end of the stream";
    try {
      while (socket.readSync(buffer) > 0);
    } catch (error) {
      name = error instanceof TimeoutError && error.timeout ? "TimeoutError" : String(error);
    }
    endings.push({ deadline, took: monotonic() - begin, name });
  }
  say(endings);
}
