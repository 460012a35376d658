/** An echo server on the binding alone: `bun run raw-epoll.ts [port]`. In your own program, import "cancelfd/ffi". */
import * as ffi from "../ffi/index.ts";

const server = ffi.socket(ffi.AF_INET, ffi.SOCK_STREAM);
ffi.setsockopt(server, ffi.SOL_SOCKET, ffi.SO_REUSEADDR, 1);
ffi.bind(server, { address: "127.0.0.1", port: Number(process.argv[2] ?? 0), family: "IPv4" });
ffi.listen(server, 511);
console.log(`listening on ${(ffi.getsockname(server) as ffi.InetAddress).port}`);
const epoll = new ffi.Epoll();
epoll.add(server, ffi.EPOLLIN);
const buffer = new Uint8Array(65536);
/** What a client has yet to take back. Until it has, nothing more is read from it, and its own sends come to a stop. */
const unsent = new Map<number, Uint8Array>();

/** One read and one write, so that a busy client does not keep the others waiting. False: the client has ended. */
function echo(client: number): boolean {
  const held = unsent.get(client);
  const count = held?.length ?? ffi.recv(client, buffer);
  if (count === null || count === 0) return count === null;
  const bytes = held ?? buffer.subarray(0, count);
  const rest = bytes.slice(ffi.send(client, bytes) ?? 0);
  if (rest.length > 0) unsent.set(client, rest);
  else unsent.delete(client);
  if (held !== undefined || rest.length > 0) epoll.modify(client, rest.length > 0 ? ffi.EPOLLOUT : ffi.EPOLLIN);
  return true;
}

for (;;) {
  for (const { data: fd } of epoll.wait(64)) {
    try {
      const client = fd === server ? ffi.accept4(server) : null;
      if (client !== null) epoll.add(client, ffi.EPOLLIN);
      if (fd === server || echo(fd)) continue;
    } catch (error) {
      if (fd === server || !(error instanceof ffi.SystemError)) throw error; // else the client reset its connection
    }
    unsent.delete(fd);
    ffi.close(fd);
  }
}
