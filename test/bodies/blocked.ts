/** One blocking operation each; what came of it is said, with the error taken apart. */
import { type CancelHandle, CancelSource, connectSync, type ListenerHandle, TcpListener } from "../../src/index.ts";
import type { Context } from "../thread.ts";

export interface Job {
  cancel: CancelHandle;
  port?: number;
  listener?: ListenerHandle;
  /** How often to do it; each outcome is said. */
  times?: number;
}

export interface Outcome {
  result?: number;
  name?: string;
  code?: string;
  cause?: unknown;
  bytesWritten?: number;
}

function outcome(operation: () => number): Outcome {
  try {
    return { result: operation() };
  } catch (error) {
    const { name, code, cause, bytesWritten } = error as Outcome;
    return { ...(name && { name }), ...(code && { code }), cause, ...(bytesWritten !== undefined && { bytesWritten }) };
  }
}

function repeat({ say, aboutToBlock }: Context, times: number, operation: () => number): void {
  for (let i = 0; i < times; i++) {
    aboutToBlock();
    say(outcome(operation));
  }
}

export function read(context: Context, { cancel, port, times = 1 }: Job): void {
  using source = CancelSource.from(cancel);
  using socket = connectSync({ hostname: "127.0.0.1", port: port! });
  repeat(context, times, () => socket.readSync(new Uint8Array(64), { cancel: source }));
}

export function write(context: Context, { cancel, port, times = 1 }: Job): void {
  using source = CancelSource.from(cancel);
  using socket = connectSync({ hostname: "127.0.0.1", port: port! });
  repeat(context, times, () => socket.writeSync(new Uint8Array(64 << 20), { cancel: source }));
}

export function accept(context: Context, { cancel, listener, times = 1 }: Job): void {
  using source = CancelSource.from(cancel);
  using copy = TcpListener.from(listener!);
  repeat(context, times, () => {
    using socket = copy.acceptSync({ cancel: source });
    return socket.fd;
  });
}

export function connect(context: Context, { cancel, port, times = 1 }: Job): void {
  using source = CancelSource.from(cancel);
  repeat(context, times, () => {
    using socket = connectSync({ hostname: "127.0.0.1", port: port!, cancel: source });
    return socket.fd;
  });
}
