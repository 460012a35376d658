/** A module that takes its time to load: until the flag at the path in LATE_FLAG is there. */
import { existsSync } from "node:fs";
import type { Handler, TcpSocket } from "../../../src/index.ts";

while (!existsSync(process.env.LATE_FLAG!)) await Bun.sleep(1);
const handler: Handler<TcpSocket> = async (socket) => {
  await socket.write("at last");
};
export default handler;
