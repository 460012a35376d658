/** A module that serves in the first thread that loads it, and is never loaded in the next. LATE_FLAG is a path to be used for that. */
import { mkdirSync } from "node:fs";
import type { Handler, TcpSocket } from "../../../src/index.ts";

try {
  mkdirSync(process.env.LATE_FLAG!);
} catch {
  await new Promise(() => setInterval(() => {}, 1000)); // it is there: this is not the first
}

const handler: Handler<TcpSocket> = async (socket, { cancel }) => {
  await socket.write("first");
  await socket.read(new Uint8Array(1), { cancel });
};
export default handler;
