import { expect, test } from "bun:test";
import { SO_KEEPALIVE, SOL_SOCKET } from "../ffi/index.ts";
import { ClosedError, connectSync, listen, SystemError, type TcpListener, type TcpSocket } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { keeper, pair } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const buffer = new Uint8Array(100);

test("close is idempotent, and the descriptor is gone", () => {
  const { client } = pair(keep);
  const { fd } = client;
  expect(fd).toBeGreaterThan(2);
  expect(client.closed).toBe(false);
  expect(fdTable()[fd]).toStartWith("socket:");
  client.close();
  expect(client.closed).toBe(true);
  expect(client.fd).toBe(-1);
  expect(fdTable()[fd]).toBeUndefined();
  const calls = systemCalls(() => {
    client.close();
    client[Symbol.dispose]();
  });
  expect(calls).toEqual([]);
});

const uses: Record<string, (socket: TcpSocket) => unknown> = {
  readSync: (socket) => socket.readSync(buffer),
  "readSync of nothing": (socket) => socket.readSync(new Uint8Array(0)),
  tryRead: (socket) => socket.tryRead(buffer),
  writeSync: (socket) => socket.writeSync("x"),
  "writeSync of nothing": (socket) => socket.writeSync(""),
  writevSync: (socket) => socket.writevSync([buffer]),
  tryWrite: (socket) => socket.tryWrite(buffer),
  setDeadline: (socket) => socket.setDeadline(1000),
  setReadDeadline: (socket) => socket.setReadDeadline(null),
  setWriteDeadline: (socket) => socket.setWriteDeadline(1000),
  closeRead: (socket) => socket.closeRead(),
  closeWrite: (socket) => socket.closeWrite(),
  setNoDelay: (socket) => socket.setNoDelay(),
  setKeepAlive: (socket) => socket.setKeepAlive(),
  getOption: (socket) => socket.getOption(SOL_SOCKET, SO_KEEPALIVE),
  setOption: (socket) => socket.setOption(SOL_SOCKET, SO_KEEPALIVE, 1),
  cancelSource: (socket) => socket.cancelSource,
};
for (const [name, use] of Object.entries(uses)) {
  test(`${name} after close fails with ClosedError, before any system call`, () => {
    const { client } = pair(keep);
    client.close();
    const calls = systemCalls(() => {
      const error = thrown(() => use(client));
      expect(error).toBeInstanceOf(ClosedError);
      expect(error).toMatchObject({ name: "ClosedError", code: "ERR_SOCKET_CLOSED" });
    });
    expect(calls).toEqual([]);
  });
}

const listenerUses: Record<string, (listener: TcpListener) => unknown> = {
  acceptSync: (listener) => listener.acceptSync(),
  tryAccept: (listener) => listener.tryAccept(),
  handle: (listener) => listener.handle,
  address: (listener) => listener.address,
  setDeadline: (listener) => listener.setDeadline(1000),
  getOption: (listener) => listener.getOption(SOL_SOCKET, SO_KEEPALIVE),
  cancelSource: (listener) => listener.cancelSource,
};
for (const [name, use] of Object.entries(listenerUses)) {
  test(`${name} of a closed listener fails with ClosedError, before any system call`, () => {
    const listener = listen({ hostname: "127.0.0.1" });
    listener.close();
    const calls = systemCalls(() => expect(thrown(() => use(listener))).toBeInstanceOf(ClosedError));
    expect(calls).toEqual([]);
  });
}

test("cancel after close does nothing", () => {
  const { client, listener } = pair(keep);
  client.close();
  client.cancel("late");
  listener.close();
  listener.cancel("late");
});

test("`using` closes at the end of the block, and the peer reads the end", () => {
  const { server, client } = pair(keep);
  {
    using socket = client;
    socket.writeSync("in the block");
  }
  expect(client.closed).toBe(true);
  expect(server.readSync(buffer)).toBe("in the block".length);
  expect(server.readSync(buffer, { timeout: 5000 })).toBe(0);
});

test("a closed socket leaves nothing in the descriptor table: not its epoll set, nor its source's doorbell", () => {
  const before = fdTable();
  {
    using listener = listen({ hostname: "127.0.0.1" });
    using client = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
    using server = listener.acceptSync({ timeout: 5000 });
    void server.cancelSource.handle;
    thrown(() => client.readSync(buffer, { timeout: 1 }));
    thrown(() => server.readSync(buffer, { timeout: 1 }));
    thrown(() => listener.acceptSync({ timeout: 1 }));
  }
  expect(fdTable()).toEqual(before);
});

test("a port can be listened on again right after close, with connections that are open, ended and in TIME_WAIT", () => {
  const first = listen({ hostname: "127.0.0.1" });
  const { port } = first.address;
  first.close();
  for (let i = 0; i < 20; i++) {
    const listener = listen({ hostname: "127.0.0.1", port });
    const open = keep(connectSync({ hostname: "127.0.0.1", port }));
    keep(listener.acceptSync({ timeout: 5000 }));
    const ended = connectSync({ hostname: "127.0.0.1", port });
    listener.acceptSync({ timeout: 5000 }).close(); // this side ends first, so TIME_WAIT is on the listener's port
    expect(ended.readSync(buffer, { timeout: 5000 })).toBe(0);
    ended.close();
    listener.close();
    expect(open.closed).toBe(false);
  }
});

test("after the listener has closed, a client is refused", () => {
  const listener = listen({ hostname: "127.0.0.1" });
  const { port } = listener.address;
  listener.close();
  const error = thrown(() => connectSync({ hostname: "127.0.0.1", port }));
  expect(error).toBeInstanceOf(SystemError);
  expect(error.code).toBe("ECONNREFUSED");
});
