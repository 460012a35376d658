import { expect, test } from "bun:test";
import {
  ENOSYS,
  F_GETFD,
  F_GETFL,
  FD_CLOEXEC,
  fcntl,
  IPPROTO_TCP,
  O_NONBLOCK,
  Pipe,
  TCP_NODELAY,
} from "../ffi/index.ts";
import { CancelSource, connectSync, listen } from "../src/index.ts";
import { failWith, faults } from "./faults.ts";
import { keeper, pair } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();
const nonBlocking = (fd: number) => (fcntl(fd, F_GETFL) & O_NONBLOCK) !== 0;
const closeOnExec = (fd: number) => (fcntl(fd, F_GETFD) & FD_CLOEXEC) !== 0;

test("sockets and listeners are born non-blocking and close-on-exec", () => {
  for (const { fd } of Object.values(pair(keep))) expect([nonBlocking(fd), closeOnExec(fd)]).toEqual([true, true]);
});

test("so they are where accept4 is missing", () => {
  fault("accept4", () => () => failWith(ENOSYS));
  const { server } = pair(keep);
  expect([nonBlocking(server.fd), closeOnExec(server.fd)]).toEqual([true, true]);
  expect(server.getOption(IPPROTO_TCP, TCP_NODELAY)).not.toBe(0);
});

test("so are the ends of a pipe where pipe2 is missing", () => {
  fault("pipe2", () => () => failWith(ENOSYS));
  using pipe = new Pipe();
  for (const fd of [pipe.readFd, pipe.writeFd]) expect([nonBlocking(fd), closeOnExec(fd)]).toEqual([true, true]);
});

test("everything that waits and cancels open is close-on-exec: epoll sets and doorbells", () => {
  const before = new Set(Object.keys(fdTable()));
  const { client, server, listener } = pair(keep);
  const cancel = keep(new CancelSource());
  void keep(cancel.child()).handle;
  void client.cancelSource.handle;
  for (const wait of [
    () => client.readSync(new Uint8Array(1), { cancel, timeout: 1 }),
    () => server.readSync(new Uint8Array(1), { cancel, timeout: 1 }),
    () => listener.acceptSync({ cancel, timeout: 1 }),
  ]) {
    expect(thrown(wait).name).toBe("TimeoutError");
  }
  const opened = Object.keys(fdTable()).filter((fd) => !before.has(fd));
  expect(opened.length).toBeGreaterThanOrEqual(3);
  for (const fd of opened) expect([fd, closeOnExec(Number(fd))]).toEqual([fd, true]);
});

test("a connect that is under way is close-on-exec before anybody could fork", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  const flags: boolean[] = [];
  fault("connect", (connect) => (fd, address, length) => {
    flags.push(nonBlocking(fd), closeOnExec(fd));
    return connect(fd, address, length);
  });
  keep(connectSync({ hostname: "127.0.0.1", port }));
  expect(flags).toEqual([true, true]);
});
