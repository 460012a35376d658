/** A GET with a deadline, to a server that never answers: `bun run get-with-deadline.ts PORT`. */
import { connectSync, TimeoutError } from "../../src/index.ts";

using socket = connectSync({ hostname: "127.0.0.1", port: Number(process.argv[2]), timeout: 5000 });
socket.setDeadline(200);
socket.writeSync("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
try {
  socket.readSync(new Uint8Array(1024));
} catch (error) {
  if (!(error instanceof TimeoutError)) throw error;
}
