import { expect, test } from "bun:test";
import { ClosedError, connectSync, listen } from "../src/index.ts";
import { keeper, pair, readAll } from "./setup.ts";
import { thrown } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();

for (const [family, hostname] of [
  ["IPv4", "127.0.0.1"],
  ["IPv6", "::1"],
] as const) {
  test(`over ${family} each end's local address is the other's remote address`, () => {
    const { client, server, listener } = pair(keep, { hostname });
    const { port } = listener.address;
    expect(listener.address).toEqual({ address: hostname, port, family });
    expect(client.remoteAddress).toEqual({ address: hostname, port, family });
    expect(server.localAddress).toEqual({ address: hostname, port, family });
    expect(server.remoteAddress).toEqual(client.localAddress);
    expect(client.localAddress).toMatchObject({ address: hostname, family });
    expect(client.localAddress.port).toBeGreaterThan(0);
    expect(client.localAddress.port).not.toBe(port);
  });
}

test("an IPv4 client of a dual-stack listener has an address of the form ::ffff:a.b.c.d", () => {
  const listener = keep(listen());
  const { port } = listener.address;
  const client = keep(connectSync({ hostname: "127.0.0.1", port }));
  const server = keep(listener.acceptSync({ timeout: 5000 }));
  expect(client.remoteAddress).toEqual({ address: "127.0.0.1", port, family: "IPv4" });
  expect(server.localAddress).toEqual({ address: "::ffff:127.0.0.1", port, family: "IPv6" });
  expect(server.remoteAddress).toEqual({
    address: "::ffff:127.0.0.1",
    port: client.localAddress.port,
    family: "IPv6",
  });
});

test("a ::ffff: address can be connected to", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  const client = keep(connectSync({ hostname: "::ffff:127.0.0.1", port }));
  expect(client.remoteAddress).toEqual({ address: "::ffff:127.0.0.1", port, family: "IPv6" });
  const server = keep(listener.acceptSync({ timeout: 5000 }));
  expect(server.remoteAddress.address).toBe("127.0.0.1");
});

test("what was known before close is known after it, and the rest is a ClosedError", () => {
  const { client, server, listener } = pair(keep);
  const { address } = listener;
  const { localAddress, remoteAddress } = client;
  for (const object of [client, server, listener]) object.close();
  expect(client.localAddress).toEqual(localAddress);
  expect(client.remoteAddress).toEqual(remoteAddress);
  expect(listener.address).toEqual(address);
  expect(server.remoteAddress).toEqual(localAddress); // accept said it
  expect(thrown(() => server.localAddress)).toBeInstanceOf(ClosedError); // nobody asked in time
});

test("addresses stay known once the peer has reset the connection", () => {
  const { client, server, listener } = pair(keep);
  const { port } = listener.address;
  server.resetAndDestroy();
  expect(thrown(() => client.readSync(new Uint8Array(1), { timeout: 5000 })).code).toBe("ECONNRESET");
  expect(client.remoteAddress).toEqual({ address: "127.0.0.1", port, family: "IPv4" });
  expect(client.localAddress.address).toBe("127.0.0.1");
});

needs("python3")("a Python peer sees the same addresses", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  const script = `
import socket
peer = socket.create_connection(("127.0.0.1", ${port}))
peer.sendall(repr([peer.getsockname(), peer.getpeername()]).encode())
peer.shutdown(socket.SHUT_WR)
peer.recv(1)`;
  const program = keep(Program.start(["python3", "-c", script]));
  const socket = keep(listener.acceptSync({ timeout: 20_000 }));
  const theirs = readAll(socket).toString();
  expect(theirs).toBe(`[('127.0.0.1', ${socket.remoteAddress.port}), ('127.0.0.1', ${port})]`);
  expect(socket.localAddress.port).toBe(port);
  socket.close();
  await program.done();
});
