import { expect, test } from "bun:test";
import {
  IPPROTO_TCP,
  SO_ACCEPTCONN,
  SO_KEEPALIVE,
  SO_NOSIGPIPE,
  SO_RCVBUF,
  SO_TYPE,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "../ffi/index.ts";
import { connectSync, type KeepAlive, SystemError, type TcpSocket } from "../src/index.ts";
import { keeper, pair } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
const noDelay = (socket: TcpSocket) => socket.getOption(IPPROTO_TCP, TCP_NODELAY) !== 0;
const keepAlive = (socket: TcpSocket) => ({
  on: socket.getOption(SOL_SOCKET, SO_KEEPALIVE) !== 0,
  idle: socket.getOption(IPPROTO_TCP, TCP_KEEPIDLE),
  interval: socket.getOption(IPPROTO_TCP, TCP_KEEPINTVL),
  count: socket.getOption(IPPROTO_TCP, TCP_KEEPCNT),
});

test("small writes go out at once from the start, on both sides", () => {
  for (const hostname of ["127.0.0.1", "::1", "::"]) {
    const { client, server } = pair(keep, { hostname });
    expect([noDelay(client), noDelay(server)]).toEqual([true, true]);
  }
});

test("setNoDelay turns it off and on", () => {
  const { client, server } = pair(keep);
  client.setNoDelay(false);
  expect([noDelay(client), noDelay(server)]).toEqual([false, true]);
  client.setNoDelay();
  expect(noDelay(client)).toBe(true);
  client.setNoDelay(false);
  client.setNoDelay(true);
  expect(noDelay(client)).toBe(true);
});

test("connectSync with noDelay: false leaves Nagle's algorithm on", () => {
  const { listener } = pair(keep);
  const open = (value: boolean | undefined) =>
    keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, noDelay: value }));
  expect([false, true, undefined].map((value) => noDelay(open(value)))).toEqual([false, true, true]);
});

test("setKeepAlive sets the figures that it is given, and leaves the system's others", () => {
  const { client } = pair(keep);
  const system = keepAlive(client);
  expect(system.on).toBe(false);
  client.setKeepAlive();
  expect(keepAlive(client)).toEqual({ ...system, on: true });
  client.setKeepAlive({ idle: 30, interval: 10, count: 3 });
  expect(keepAlive(client)).toEqual({ on: true, idle: 30, interval: 10, count: 3 });
  client.setKeepAlive({ idle: 60 });
  expect(keepAlive(client)).toEqual({ on: true, idle: 60, interval: 10, count: 3 });
  client.setKeepAlive(false);
  expect(keepAlive(client).on).toBe(false);
  client.setKeepAlive({});
  expect(keepAlive(client).on).toBe(true);
});

test("connectSync takes the same keepAlive", () => {
  const { listener } = pair(keep);
  const open = (value: KeepAlive) =>
    keepAlive(keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, keepAlive: value })));
  expect(open(false).on).toBe(false);
  expect(open(true).on).toBe(true);
  expect(open({ idle: 7, interval: 5, count: 2 })).toEqual({ on: true, idle: 7, interval: 5, count: 2 });
});

test("getOption and setOption reach the kernel", () => {
  const { client, listener } = pair(keep);
  expect(client.getOption(SOL_SOCKET, SO_TYPE)).toBe(SOCK_STREAM);
  expect(client.getOption(SOL_SOCKET, SO_ACCEPTCONN)).toBe(0);
  expect(listener.getOption(SOL_SOCKET, SO_ACCEPTCONN)).toBe(1);
  client.setOption(SOL_SOCKET, SO_RCVBUF, 10_000);
  expect(client.getOption(SOL_SOCKET, SO_RCVBUF)).toBeOneOf([10_000, 20_000]); // Linux doubles it: socket(7)
});

test("an option that the kernel refuses is a SystemError, and one that the platform lacks a RangeError", () => {
  const { client } = pair(keep);
  const error = thrown(() => client.setOption(IPPROTO_TCP, 0x7fff, 1));
  expect(error).toBeInstanceOf(SystemError);
  expect(error).toMatchObject({ code: "ENOPROTOOPT", syscall: "setsockopt" });
  expect(thrown(() => client.getOption(IPPROTO_TCP, 0x7fff))).toMatchObject({ syscall: "getsockopt" });
  if (Number.isNaN(SO_NOSIGPIPE)) {
    expect(thrown(() => client.setOption(SOL_SOCKET, SO_NOSIGPIPE, 1))).toBeInstanceOf(RangeError);
  }
});

for (const value of [{ idle: 0 }, { idle: 32_768 }, { interval: 1.5 }, { count: 128 }, { count: Number.NaN }]) {
  test(`keepAlive ${JSON.stringify(value)} is a RangeError, and nothing is changed`, () => {
    const { client } = pair(keep);
    const before = keepAlive(client);
    expect(thrown(() => client.setKeepAlive(value))).toBeInstanceOf(RangeError);
    expect(keepAlive(client)).toEqual(before);
  });
}
