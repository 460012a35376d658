/** What every stream does, over Unix sockets: ends, deadlines, cancels, counters and addresses. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { SO_RCVBUF, SO_SNDBUF, SOL_SOCKET } from "../ffi/index.ts";
import { CancelSource, listen, TcpSocket, type UnixListener, type UnixSocket } from "../src/index.ts";
import type { ReadOutcome } from "./bodies/doorbells.ts";
import type { Moved } from "./bodies/movers.ts";
import { changes, changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";
import { dial } from "./unix.ts";
import { start } from "./victim.ts";

const keep = keeper();
const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
let paths = 0;
const into = new Uint8Array(64);
const limit = { timeout: 5000 };

/** Both ends of a connection. */
function ends(): { client: UnixSocket; server: UnixSocket; listener: UnixListener; path: string } {
  const path = join(directory.path, `${paths++}`);
  const listener = keep(listen({ path }));
  const client = keep(dial(path));
  return { client, server: keep(listener.acceptSync(limit)), listener, path };
}

function textOf(socket: UnixSocket): string {
  return Buffer.from(into.subarray(0, socket.readSync(into, limit))).toString();
}

test("bytes go both ways, are counted, and come as they were sent", () => {
  const { client, server } = ends();
  expect(client.writeSync("grün")).toBe(5);
  expect(server.writevSync([Buffer.from("a"), Buffer.from(""), Buffer.from("nswer")])).toBe(6);
  expect(textOf(server)).toBe("grün");
  expect(client.tryRead(into)).toBe(6);
  expect(client.tryRead(into)).toBeNull();
  expect(server.tryWrite(Buffer.from("x"))).toBe(1);
  expect([client.bytesRead, client.bytesWritten, server.bytesRead, server.bytesWritten]).toEqual([6, 5, 5, 7]);
});

test("addresses: the path of the listener on its side of each connection, an empty one on the other", () => {
  const { client, server, listener, path } = ends();
  expect(listener.address).toEqual({ path });
  expect([client.localAddress, client.remoteAddress]).toEqual([{ path: "" }, { path }]);
  expect([server.localAddress, server.remoteAddress]).toEqual([{ path }, { path: "" }]);
  for (const socket of [client, server]) {
    socket.close();
    expect(thrown(() => socket.localAddress)).toMatchObject({ name: "ClosedError" });
    expect(thrown(() => socket.remoteAddress)).toMatchObject({ name: "ClosedError" });
  }
});

test("a half-close lets the peer read to the end, and its answer still comes", () => {
  const { client, server } = ends();
  client.writeSync("question");
  client.closeWrite();
  client.closeWrite();
  expect(textOf(server)).toBe("question");
  expect(server.readSync(into, limit)).toBe(0);
  server.writeSync("answer");
  server.close();
  expect(textOf(client)).toBe("answer");
  expect(client.readSync(into, limit)).toBe(0);
  expect(thrown(() => client.writeSync("more"))).toMatchObject({ name: "ClosedError", bytesWritten: 0 });
});

test("after closeRead reads are 0, and what the peer writes is an error of the peer's, not a signal", () => {
  const { client, server } = ends();
  server.writeSync("there already");
  client.closeRead();
  expect(client.readSync(into)).toBe(0);
  expect(thrown(() => server.writeSync("too late"))).toMatchObject({ code: "EPIPE", bytesWritten: 0 });
  client.writeSync("this way it goes on");
  expect(textOf(server)).toBe("this way it goes on");
});

test("a peer that closes with our bytes unread, and one that resets, is an end or ECONNRESET, and then EPIPE", () => {
  for (const end of ["close", "resetAndDestroy"] as const) {
    const { client, server } = ends();
    client.writeSync("never read");
    server[end]();
    let code: string | number;
    try {
      code = client.readSync(into, limit);
    } catch (error) {
      code = (error as { code: string }).code;
    }
    expect([0, "ECONNRESET"]).toContain(code);
    expect(thrown(() => client.writeSync("x"))).toMatchObject({ code: "EPIPE" });
  }
});

test("deadlines: a direction each, expired until they are set anew, and not before their time", () => {
  const { client, server, listener } = ends();
  server.writeSync("bytes");
  client.setReadDeadline(0);
  expect(thrown(() => client.readSync(into))).toMatchObject({ name: "TimeoutError" });
  expect(client.writeSync("goes")).toBe(4);
  client.setDeadline(null);
  expect(textOf(client)).toBe("bytes");
  client.setWriteDeadline(0);
  expect(thrown(() => client.writeSync("does not"))).toMatchObject({ name: "TimeoutError", bytesWritten: 0 });
  for (const wait of [
    () => client.readSync(into, { timeout: 60 }),
    () => listener.acceptSync({ timeout: 60 }),
    () => client.writeSync(new Uint8Array(16 << 20), { timeout: 60 }),
  ]) {
    client.setDeadline(null);
    const begun = performance.now();
    expect(thrown(wait)).toMatchObject({ name: "TimeoutError" });
    expect(performance.now() - begun).toBeGreaterThanOrEqual(60);
  }
  listener.setDeadline(20);
  expect(thrown(() => listener.acceptSync())).toMatchObject({ name: "TimeoutError" });
});

test("a write that times out says how much went out, and so much arrives", () => {
  const { client, server } = ends();
  const error = thrown<{ bytesWritten: number }>(() => client.writeSync(new Uint8Array(16 << 20), { timeout: 50 }));
  client.close();
  let arrived = 0;
  const buffer = new Uint8Array(1 << 20);
  for (let count: number; (count = server.readSync(buffer, limit)) > 0; ) arrived += count;
  expect(arrived).toBe(error.bytesWritten);
  expect(arrived).toBeGreaterThan(0);
});

test("options are set and read; those of TCP are not there", () => {
  const { client, listener } = ends();
  client.setOption(SOL_SOCKET, SO_SNDBUF, 20_000);
  expect(client.getOption(SOL_SOCKET, SO_SNDBUF)).toBeGreaterThanOrEqual(20_000);
  expect(listener.getOption(SOL_SOCKET, SO_RCVBUF)).toBeGreaterThan(0);
  for (const name of ["setNoDelay", "setKeepAlive"]) expect(name in client).toBe(false);
  expect(client).not.toBeInstanceOf(TcpSocket);
});

for (const which of ["a source that it was given", "the socket's own"] as const) {
  test(`a thread that is blocked in a read of a Unix socket is cancelled by ${which}`, async () => {
    const before = await quietTable();
    const { client, server, listener } = ends();
    const own = client.cancelSource.handle;
    const given = keep(new CancelSource());
    const source = which === "the socket's own" ? keep(CancelSource.from(own)) : given;
    const moved: Moved = { kind: "UnixSocket", socket: client.detach(), cancel: given.handle };
    const thread = await start(keep, "movers", "blockInRead", moved);
    await thread.blocked();
    expect(source.cancel(which)).toBe(true);
    expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: which });
    source.reset();
    thread.worker.postMessage("once more");
    await thread.blocked();
    server.writeSync("bytes");
    expect(await thread.next<ReadOutcome>()).toMatchObject({ text: "read 5" });
    await thread.join();
    for (const one of [source, given]) one.dispose();
    for (const resource of [server, listener]) resource.close();
    expect(await changesSince(before)).toEqual(NONE);
  });
}

test("a listener that several threads accept on gives each client to one of them", async () => {
  const path = join(directory.path, `${paths++}`);
  const listener = keep(listen({ path }));
  const threads = await Promise.all([0, 1, 2].map(() => start(keep, "unix", "hold", { listener: listener.handle })));
  for (const thread of threads) await thread.blocked();
  const clients = Array.from({ length: 60 }, () => keep(dial(path)));
  for (const client of clients) expect(textOf(client)).toBe("hello");
  for (const thread of threads) await thread.terminate();
  listener.close();
});

test("1,000 connections that come and go leave nothing", () => {
  const path = join(directory.path, `${paths++}`);
  const open = fdTable();
  const listener = listen({ path });
  for (let i = 0; i < 1000; i++) {
    using client = dial(path);
    using server = listener.acceptSync(limit);
    client.writeSync("x");
    expect(server.readSync(into, limit)).toBe(1);
  }
  listener.close();
  expect(changes(open)).toEqual(NONE);
});
