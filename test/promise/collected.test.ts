/** A `ref`ed socket is kept for as long as it is open, and no longer. */
import { test } from "bun:test";
import { connectSync, listen, TcpSocket } from "../../src/index.ts";
import { keeper } from "../setup.ts";
import { until } from "../thread.ts";

const keep = keeper();
const COUNT = 60;

/** Ways for it to end. `peer` is the other end of the connection. */
const ends: Record<string, (socket: TcpSocket, peer: TcpSocket) => unknown> = {
  closed: (socket) => socket.close(),
  "closed gracefully": (socket, peer) => {
    peer.closeWrite();
    return socket.closeGracefully();
  },
  "closed gracefully, in vain": (socket) => socket.closeGracefully({ timeout: 0 }).catch(() => {}),
  reset: (socket) => socket.resetAndDestroy(),
  detached: (socket) => TcpSocket.from(socket.detach()).close(),
  "unref'ed and closed": (socket) => socket.unref().close(),
};

for (const [how, end] of Object.entries(ends)) {
  test(`ref'ed sockets that were ${how} are collected`, async () => {
    const sockets: WeakRef<TcpSocket>[] = [];
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const one = async () => {
      const client = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
      using server = listener.acceptSync({ timeout: 30_000 });
      sockets.push(new WeakRef(client.ref()));
      await end(client, server);
    };
    for (let i = 0; i < COUNT; i++) await one();
    // The stack may still refer to one or the other.
    await until("most of the sockets to be collected", () => {
      Bun.gc(true);
      return sockets.filter((socket) => socket.deref() === undefined).length > COUNT / 2;
    });
  });
}
