/** Answers "?" with "ok", once, and blocks its thread for it. */
import type { Handler, TcpSocket } from "../../../src/index.ts";

const answer: Handler<TcpSocket> = (socket) => {
  const request = new Uint8Array(1);
  if (socket.readSync(request, { timeout: 30_000 }) === 1) socket.writeSync("ok");
};
export default answer;

/** A client that has given up before it was accepted is none of the server's errors. */
export function onError(): void {}
