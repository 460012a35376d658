/** A module that serves in the first thread that loads it, and fails in the next, once the flag at the path in LATE_FLAG is there. */
import { existsSync, mkdirSync } from "node:fs";
import type { Handler, TcpSocket } from "../../../src/index.ts";

const flag = process.env.LATE_FLAG!;
let isFirst = true;
try {
  mkdirSync(`${flag}.first`);
} catch {
  isFirst = false;
}
while (!isFirst && !existsSync(flag)) await Bun.sleep(1);
if (!isFirst) throw new Error("the second one fails");

const handler: Handler<TcpSocket> = async (socket, { cancel }) => {
  await socket.write("first");
  await socket.read(new Uint8Array(1), { cancel });
};
export default handler;
