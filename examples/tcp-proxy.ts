/**
 * A TCP proxy: `bun run tcp-proxy.ts [--idle SECONDS] PORT HOST PORT` listens on PORT of 127.0.0.1 (0: any free one) and
 * connects each client to HOST PORT. In your own program, import "cancelfd".
 *
 * A direction is one loop: read, then write. It reads no more than the other side takes, and when one side has ended, the
 * other is told so and may still answer. Anything but two such ends is a reset: nobody takes a part for the whole.
 * Ctrl-C cancels everything: exit code 130.
 */
import { parseArgs } from "node:util";
import { CancelledError, CancelSource, connect, listen, type TcpSocket } from "../src/index.ts";

interface Command {
  port: number;
  target: { hostname: string; port: number };
  /** Milliseconds. */
  idle: number;
}

const stop = new CancelSource();

function command(): Command {
  const { values, positionals } = parseArgs({ options: { idle: { type: "string" } }, allowPositionals: true });
  const [near, hostname, far, ...rest] = positionals;
  const idle = Number(values.idle ?? Number.POSITIVE_INFINITY) * 1000;
  if (!(idle > 0)) throw new TypeError(`--idle takes seconds, more than 0, not "${values.idle}"`);
  if (!near || !hostname || !far || rest.length > 0) throw new TypeError("give PORT HOST PORT");
  return { port: Number(near), target: { hostname, port: Number(far) }, idle };
}

/** One direction. */
async function relay(from: TcpSocket, to: TcpSocket, moved: () => void): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (let count: number; (count = await from.read(buffer, { cancel: stop })) > 0; ) {
    moved();
    await to.write(buffer.subarray(0, count), { cancel: stop });
    moved();
  }
  to.closeWrite();
}

async function serve(near: TcpSocket, { target, idle }: Command): Promise<void> {
  using client = near;
  try {
    using server = await connect({ ...target, timeout: idle, cancel: stop });
    /** Something moves in one direction: both may wait anew. */
    const moved = () => {
      client.setDeadline(idle);
      server.setDeadline(idle);
    };
    moved();
    try {
      await Promise.all([relay(client, server, moved), relay(server, client, moved)]);
    } catch (error) {
      server.resetAndDestroy();
      throw error;
    }
  } catch (error) {
    client.resetAndDestroy();
    if (!(error instanceof CancelledError)) console.error((error as Error).message);
  }
}

process.once("SIGINT", () => stop.cancel("Ctrl-C"));
try {
  const options = command();
  using listener = listen({ hostname: "127.0.0.1", port: options.port });
  console.log(`listening on ${listener.address.port}`);
  for (;;) void serve(await listener.accept({ cancel: stop }), options);
} catch (error) {
  if (!(error instanceof CancelledError)) console.error((error as Error).message);
  const usage = error instanceof TypeError || error instanceof RangeError;
  if (usage) console.error("usage: bun run tcp-proxy.ts [--idle SECONDS] PORT HOST PORT");
  process.exitCode = usage ? 2 : error instanceof CancelledError ? 130 : 1;
}
