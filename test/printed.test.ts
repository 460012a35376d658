/** What `console.log` prints of sockets, listeners and sources. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { inspect } from "node:util";
import { close } from "../ffi/index.ts";
import {
  CancelSource,
  CancelToken,
  ClosedError,
  connectSync,
  listen,
  Poller,
  serve,
  serveThreads,
  TcpListener,
  TcpSocket,
  UnixListener,
  UnixSocket,
  WakeQueue,
} from "../src/index.ts";
import { keeper, pair, temporaryDirectory } from "./setup.ts";
import { fdTable, until } from "./thread.ts";

const keep = keeper();

/** By Bun, and as a member of something, by Node's own. */
function printed(object: object): string {
  const text = Bun.inspect(object);
  expect(inspect({ object })).toContain(text);
  return text;
}

test("a TCP socket, connected or accepted, in a line with its addresses; closed, with those that it was asked for", () => {
  const { client, server } = pair(keep);
  const [near, far] = [client.localAddress.port, client.remoteAddress.port];
  const addresses = `localAddress: 127.0.0.1:${near}, remoteAddress: 127.0.0.1:${far}`;
  expect(printed(client)).toBe(`TcpSocket { fd: ${client.fd}, ${addresses}, closed: false }`);
  expect(printed(server)).toBe(
    `TcpSocket { fd: ${server.fd}, localAddress: 127.0.0.1:${far}, remoteAddress: 127.0.0.1:${near}, closed: false }`,
  );
  client.close();
  server.close();
  expect(printed(client)).toBe(`TcpSocket { fd: -1, ${addresses}, closed: true }`);
  expect(printed(server)).toBe(`TcpSocket { fd: -1, remoteAddress: 127.0.0.1:${near}, closed: true }`);
});

test("an IPv6 address in brackets", () => {
  const { client } = pair(keep, { hostname: "::1" });
  expect(printed(client)).toContain(`remoteAddress: [::1]:${client.remoteAddress.port}`);
});

test("a Unix socket and its listener, with paths", () => {
  const path = join(keep(temporaryDirectory()).path, "socket");
  const listener = keep(listen({ path }));
  const client = keep(connectSync({ path }));
  const quoted = JSON.stringify(path);
  expect(printed(listener)).toBe(`UnixListener { fd: ${listener.fd}, address: ${quoted}, closed: false }`);
  expect(printed(client)).toBe(
    `UnixSocket { fd: ${client.fd}, localAddress: "", remoteAddress: ${quoted}, closed: false }`,
  );
  client.close();
  expect(printed(client)).toBe("UnixSocket { fd: -1, closed: true }");
});

test("a listener, open and closed", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  expect(printed(listener)).toBe(`TcpListener { fd: ${listener.fd}, address: 127.0.0.1:${port}, closed: false }`);
  listener.close();
  expect(printed(listener)).toBe(`TcpListener { fd: -1, address: 127.0.0.1:${port}, closed: true }`);
  const other = listen();
  other.close();
  expect(printed(other)).toBe("TcpListener { fd: -1, closed: true }");
});

test("a source and its token: running, cancelled, timed out, disposed", async () => {
  const source = new CancelSource();
  expect(printed(source)).toBe("CancelSource { cancelled: false }");
  expect(printed(source.token)).toBe("CancelToken { cancelled: false }");
  source.cancel();
  expect(printed(source)).toBe("CancelSource { cancelled: true }");
  expect(printed(source.token)).toBe("CancelToken { cancelled: true }");
  source.dispose();
  expect(printed(source)).toBe("CancelSource { cancelled: true, disposed: true }");
  const shared = new CancelSource();
  void shared.handle;
  shared.dispose();
  expect(printed(shared)).toBe("CancelSource { cancelled: false, disposed: true }");
  const timed = keep(CancelSource.timeout(1));
  await until("the timeout", () => timed.cancelled);
  expect(printed(timed)).toBe("CancelSource { cancelled: true, timedOut: true }");
});

test("nothing is made for it: no descriptor, no source, no address that is known from then on", () => {
  const { client, server, listener } = pair(keep);
  const fresh = keep(listen({ hostname: "127.0.0.1" }));
  const source = keep(new CancelSource());
  const objects = [client, server, listener, fresh, source, source.token];
  const before = fdTable();
  for (const object of objects) printed(object);
  expect(fdTable()).toEqual(before);
  for (const one of [client, server, fresh]) one.close();
  expect(() => server.localAddress).toThrow(ClosedError);
  expect(() => fresh.address).toThrow(ClosedError);
  for (const one of [client, server, fresh]) expect(() => one.cancelSource).toThrow(ClosedError);
});

test("it never throws: a peer that has reset, a descriptor that is gone, a prototype", () => {
  const { client, server, listener } = pair(keep);
  server.resetAndDestroy();
  expect(printed(client)).toStartWith(`TcpSocket { fd: ${client.fd}, localAddress: 127.0.0.1:`);
  const { port } = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port })).localAddress;
  const stolen = listener.acceptSync({ timeout: 20_000 });
  close(stolen.fd);
  expect(printed(stolen)).toBe(`TcpSocket { fd: ${stolen.fd}, remoteAddress: 127.0.0.1:${port}, closed: false }`);
  try {
    stolen.close();
  } catch {
    // It says that the descriptor is gone.
  }
  for (const type of [TcpSocket, UnixSocket, TcpListener, UnixListener, CancelSource, CancelToken]) {
    expect(Bun.inspect(type.prototype)).toBe(`${type.name} {}`);
  }
});

test("servers, queues and pollers, with what one wants to know of them", async () => {
  const server = keep(serve(listen({ hostname: "127.0.0.1" }), () => {}));
  expect(printed(server)).toBe("Server { active: 0, finished: false }");
  server.close();
  await server.finished;
  expect(printed(server)).toBe("Server { active: 0, finished: true }");

  const threads = serveThreads(new URL("./serve/handlers/answer.ts", import.meta.url), {
    listen: { hostname: "127.0.0.1" },
    threads: 2,
  });
  const address = `127.0.0.1:${threads.address.port}`;
  expect(printed(threads)).toBe(`ThreadedServer { address: ${address}, threads: 2, active: 0, finished: false }`);
  threads.close();
  await threads.finished;

  const queue = keep(new WakeQueue());
  const poller = keep(new Poller());
  poller.add(queue, { readable: true });
  expect(printed(queue)).toBe("WakeQueue { closed: false }");
  expect(printed(poller)).toBe("Poller { sources: 1, closed: false }");
});
