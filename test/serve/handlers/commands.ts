/** A handler for `serveThreads` that does what its client says, and names its thread first. */
import { threadId } from "node:worker_threads";
import type { Handler, TcpSocket, UnixSocket } from "../../../src/index.ts";

const commands: Handler<TcpSocket | UnixSocket> = async (socket, { cancel, signal }) => {
  const buffer = new Uint8Array(256);
  await socket.write(`${threadId}\n`);
  for (let count: number; (count = await socket.read(buffer, { cancel })) > 0; ) {
    const command = Buffer.from(buffer.subarray(0, count)).toString();
    await socket.write(`begins ${command}\n`);
    if (command === "throw-when-told") await socket.read(buffer);
    if (command.startsWith("throw")) {
      setTimeout(() => {
        throw new Error("thrown where nobody catches it");
      });
      await new Promise(() => {});
    }
    if (command === "reject") void Promise.reject(new TypeError("rejected where nobody looks"));
    if (command === "exit") process.exit(3);
    if (command === "fail") throw new RangeError("the handler's own");
    if (command === "close-and-fail") {
      socket.close();
      while (!cancel.cancelled) Bun.sleepSync(1); // in the same turn: what it was counted as can still be taken back
      throw new RangeError("too late");
    }
    if (command === "signal") {
      // The stop may have come with the answer above, before anybody listened.
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      await socket.write(`${(signal.reason as Error).name}\n`);
      throw signal.reason;
    }
    if (command === "stuck") await new Promise(() => {});
    if (command === "block") socket.readSync(buffer, { cancel });
    if (command === "block-for-ever") socket.readSync(buffer);
    if (command === "slow") await socket.read(buffer); // until the client says so: it has begun, and is not to be stopped
    await socket.write(`did ${command}\n`);
  }
};
export default commands;

export function onError(error: unknown): void {
  new BroadcastChannel("errors of commands.ts").postMessage(String(error));
}
