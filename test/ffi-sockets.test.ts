import { expect, test } from "bun:test";
import {
  AF_INET,
  AF_UNIX,
  accept4,
  bind,
  close,
  connect,
  EADDRINUSE,
  ECONNREFUSED,
  F_GETFD,
  F_GETFL,
  FD_CLOEXEC,
  fcntl,
  getpeername,
  getsockname,
  getsockopt,
  IPPROTO_TCP,
  listen,
  O_NONBLOCK,
  POLLIN,
  POLLOUT,
  recv,
  SO_ACCEPTCONN,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_RCVBUF,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
  Sockaddr,
  SystemError,
  send,
  sendmsg,
  setsockopt,
  socket,
  TCP_NODELAY,
} from "../ffi/index.ts";
import { systemCalls } from "./faults.ts";
import { connected, flagsOf, listening, owner, waitFor } from "./fds.ts";
import { keeper } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
const own = owner(keep);

test("socket, bind, listen, connect and accept make a connection, and each end knows both addresses", () => {
  const listener = listening(own);
  expect(listener.address).toEqual({ address: "127.0.0.1", port: expect.any(Number), family: "IPv4" });
  expect(getsockopt(listener.fd, SOL_SOCKET, SO_ACCEPTCONN)).toBe(1);
  expect(accept4(listener.fd)).toBeNull();

  const client = own(socket(AF_INET, SOCK_STREAM));
  expect(getpeername(client)).toBeNull();
  expect(connect(client, listener.address)).toBe(false); // in progress, as always for non-blocking TCP
  waitFor(client, POLLOUT);
  expect(getsockopt(client, SOL_SOCKET, SO_ERROR)).toBe(0);
  // The first call after the handshake succeeds, the second says EISCONN: connected, either way.
  expect(connect(client, listener.address)).toBe(true);
  expect(connect(client, listener.address)).toBe(true);

  waitFor(listener.fd, POLLIN);
  const peer = new Sockaddr();
  const server = own(accept4(listener.fd, peer));
  expect(accept4(listener.fd, peer)).toBeNull();
  expect(getpeername(server)).toEqual(getsockname(client));
  expect(getpeername(client)).toEqual(listener.address);
  expect(getsockname(server)).toEqual(listener.address);
});

test("accept tells the client's address, also of one that has reset: getpeername no longer knows it", () => {
  const listener = listening(own);
  const client = socket(AF_INET, SOCK_STREAM);
  connect(client, listener.address);
  waitFor(listener.fd, POLLIN);
  const address = getsockname(client);
  setsockopt(client, SOL_SOCKET, SO_LINGER, new Uint8Array(new Int32Array([1, 0]).buffer));
  close(client);
  const peer = new Sockaddr();
  const server = own(accept4(listener.fd, peer));
  expect(peer.decode()).toEqual(address);
  expect(getpeername(server)).toBeNull();
  expect(thrown(() => recv(server, new Uint8Array(1)))).toMatchObject({ code: "ECONNRESET", syscall: "recv" });
});

test("a refused connection is in progress first, and SO_ERROR says ECONNREFUSED once", () => {
  // Bound and not listening: the port is taken, and nobody answers there.
  const taken = own(socket(AF_INET, SOCK_STREAM));
  bind(taken, { address: "127.0.0.1", port: 0, family: "IPv4" });
  const client = own(socket(AF_INET, SOCK_STREAM));
  expect(connect(client, getsockname(taken))).toBe(false);
  waitFor(client, POLLOUT);
  expect(getsockopt(client, SOL_SOCKET, SO_ERROR)).toBe(ECONNREFUSED);
  expect(getsockopt(client, SOL_SOCKET, SO_ERROR)).toBe(0);
});

test("what the kernel refuses carries code, errno, syscall, address and port", () => {
  const taken = listening(own).address;
  const late = own(socket(AF_INET, SOCK_STREAM));
  const { address, port } = taken;
  const error = thrown(() => bind(late, taken));
  expect(error).toBeInstanceOf(SystemError);
  expect(error).toMatchObject({ code: "EADDRINUSE", errno: -EADDRINUSE, syscall: "bind", address, port });
  expect(error.message).toStartWith(`bind EADDRINUSE 127.0.0.1:${port}: the address is taken`);
});

test("what is no descriptor or no bytes is a TypeError and reaches no kernel", () => {
  const { client } = connected(own);
  const into = new Uint8Array(1);
  const gone = new Uint8Array(4);
  structuredClone(gone, { transfer: [gone.buffer] });
  const made = systemCalls(() => {
    for (const fd of [-1, 0.5, Number.NaN, 2 ** 31]) {
      for (const call of [recv, send, getsockname, getpeername, accept4, close]) {
        expect(() => call(fd, into as never)).toThrow(TypeError);
      }
    }
    for (const wrong of ["text", new ArrayBuffer(1), [1], null, gone] as Uint8Array[]) {
      expect(() => recv(client, wrong)).toThrow(TypeError);
      expect(() => send(client, wrong)).toThrow(TypeError);
      expect(() => sendmsg(client, [into, wrong])).toThrow(TypeError);
    }
  });
  expect(made).toEqual([]);
});

test("options are set and read back, as an int or as bytes", () => {
  const { client, server } = connected(own);
  expect(getsockopt(client, SOL_SOCKET, SO_TYPE)).toBe(SOCK_STREAM);
  expect(getsockopt(client, IPPROTO_TCP, TCP_NODELAY)).toBe(0);
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, 1);
  expect(getsockopt(client, IPPROTO_TCP, TCP_NODELAY)).not.toBe(0);
  expect(getsockopt(server, IPPROTO_TCP, TCP_NODELAY)).toBe(0);
  setsockopt(client, SOL_SOCKET, SO_RCVBUF, new Uint8Array(new Int32Array([50_000]).buffer));
  expect(getsockopt(client, SOL_SOCKET, SO_RCVBUF)).toBe(100_000); // Linux counts its own overhead: socket(7)
  expect(thrown(() => setsockopt(client, IPPROTO_TCP, 12_345, 1))).toMatchObject({ code: "ENOPROTOOPT" });
  expect(thrown(() => getsockopt(client, IPPROTO_TCP, 12_345))).toMatchObject({ syscall: "getsockopt" });
});

test("what an option cannot be is refused before it would turn the option off", () => {
  const { client } = connected(own);
  setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, 1);
  const made = systemCalls(() => {
    for (const value of [Number.NaN, 0.5, Number.POSITIVE_INFINITY]) {
      expect(() => setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, value)).toThrow(RangeError);
    }
    for (const value of ["1", true, null, undefined, new ArrayBuffer(4)] as unknown[]) {
      expect(() => setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, value as number)).toThrow(TypeError);
    }
  });
  expect(made).toEqual([]);
  expect(getsockopt(client, SOL_SOCKET, SO_KEEPALIVE)).toBe(1);
});

test("every socket is born non-blocking and close-on-exec, accepted ones too", () => {
  const listener = listening(own);
  const { client, server } = connected(own);
  const others = [
    own(socket(AF_INET, SOCK_DGRAM)),
    own(socket(AF_UNIX, SOCK_STREAM)),
    own(socket(AF_UNIX, SOCK_SEQPACKET)),
  ];
  for (const fd of [listener.fd, client, server, ...others]) {
    expect(flagsOf(fd)).toEqual({ nonBlocking: true, closeOnExec: true });
    expect(fcntl(fd, F_GETFL) & O_NONBLOCK).toBe(O_NONBLOCK);
    expect(fcntl(fd, F_GETFD)).toBe(FD_CLOEXEC);
  }
  const full = own(socket(AF_UNIX, SOCK_STREAM));
  expect(thrown(() => listen(full, 1)).code).toBe("EINVAL"); // a Unix socket needs a name first
});
