/**
 * A module whose second thread begins when LATE_FLAG/go is there, and says that it is up when LATE_FLAG/up is: what it posts
 * before is held back. A handler says where its thread is in /proc, reads once, and says goodbye.
 */
import { existsSync, mkdirSync, readlinkSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import type { Handler, TcpSocket } from "../../../src/index.ts";

const flag = process.env.LATE_FLAG!;
const there = async (name: string) => {
  while (!existsSync(`${flag}/${name}`)) await Bun.sleep(1);
};
try {
  mkdirSync(flag);
} catch {
  await there("go"); // it is there: this is not the first
  const port = parentPort!;
  const post = port.postMessage.bind(port);
  port.postMessage = (message: unknown) => {
    if (existsSync(`${flag}/up`)) post(message);
    else void there("up").then(() => post(message));
  };
}

const handler: Handler<TcpSocket> = async (socket) => {
  await socket.write(readlinkSync("/proc/thread-self"));
  await socket.read(new Uint8Array(1));
  await socket.write("bye");
};
export default handler;
