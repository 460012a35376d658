import { expect, test } from "bun:test";
import {
  AF_UNIX,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLRDHUP,
  Epoll,
  EventFd,
  Pipe,
  SHUT_WR,
  SOCK_STREAM,
  send,
  shutdown,
  socket,
} from "../ffi/index.ts";
import { connected, flagsOf, has, isOpen, owner, reuse, waitFor } from "./fds.ts";
import { keeper } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
const own = owner(keep);

test("a wait returns what is ready, with the descriptor as its data unless another was given", () => {
  const epoll = keep(new Epoll());
  const [plain, tagged, quiet] = [keep(new EventFd(1)), keep(new EventFd(1)), keep(new EventFd())];
  epoll.add(plain.fd, EPOLLIN);
  epoll.add(tagged.fd, EPOLLIN, 7_000_000_000);
  epoll.add(quiet.fd, EPOLLIN);
  expect(epoll.wait(8, 0)).toEqual([
    { events: EPOLLIN, data: plain.fd },
    { events: EPOLLIN, data: 7_000_000_000 },
  ]);
});

test("data is any integer from 0 to 2^53 - 1, and comes back exactly", () => {
  const epoll = keep(new Epoll());
  const bell = keep(new EventFd(1));
  epoll.add(bell.fd, EPOLLIN);
  for (const data of [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]) {
    epoll.modify(bell.fd, EPOLLIN, data);
    expect(epoll.wait(1, 0)).toEqual([{ events: EPOLLIN, data }]);
  }
  for (const data of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => epoll.modify(bell.fd, EPOLLIN, data)).toThrow(RangeError);
    expect(() => epoll.add(bell.fd, EPOLLIN, data)).toThrow(RangeError);
  }
});

test("what is registered twice is EEXIST, what is not there is ENOENT, what is no descriptor never reaches the kernel", () => {
  const epoll = keep(new Epoll());
  const bell = keep(new EventFd());
  epoll.add(bell.fd, EPOLLIN);
  expect(thrown(() => epoll.add(bell.fd, EPOLLIN))).toMatchObject({ code: "EEXIST", syscall: "epoll_ctl" });
  epoll.delete(bell.fd);
  expect(thrown(() => epoll.delete(bell.fd))).toMatchObject({ code: "ENOENT", syscall: "epoll_ctl" });
  expect(thrown(() => epoll.modify(bell.fd, EPOLLIN))).toMatchObject({ code: "ENOENT", syscall: "epoll_ctl" });
  expect(thrown(() => epoll.add(epoll.fd, EPOLLIN))).toMatchObject({ code: "EINVAL", syscall: "epoll_ctl" });
  expect(thrown(() => epoll.add(0x7fff_ffff, EPOLLIN))).toMatchObject({ code: "EBADF", syscall: "epoll_ctl" });
  for (const fd of [-1, 1.5, Number.NaN, 2 ** 31]) {
    expect(() => epoll.add(fd, EPOLLIN)).toThrow(TypeError);
    expect(() => epoll.modify(fd, EPOLLIN)).toThrow(TypeError);
    expect(() => epoll.delete(fd)).toThrow(TypeError);
  }
});

test("a level-triggered descriptor is reported as long as it is ready, an edge-triggered one once", () => {
  const epoll = keep(new Epoll());
  const [level, edge] = [keep(new EventFd(1)), keep(new EventFd(1))];
  epoll.add(level.fd, EPOLLIN);
  epoll.add(edge.fd, EPOLLIN | EPOLLET);
  expect(epoll.wait(8, 0).map(({ data }) => data)).toEqual([level.fd, edge.fd]);
  expect(epoll.wait(8, 0).map(({ data }) => data)).toEqual([level.fd]);
  epoll.delete(level.fd);

  // A further write is a new edge although nobody has read, and `modify` looks again.
  edge.write();
  expect(epoll.wait(8, 0)).toHaveLength(1);
  expect(epoll.wait(8, 0)).toEqual([]);
  epoll.modify(edge.fd, EPOLLIN | EPOLLET);
  expect(epoll.wait(8, 0)).toHaveLength(1);
  expect(epoll.wait(8, 0)).toEqual([]);
});

test("a one-shot descriptor is reported once, and again after modify", () => {
  const epoll = keep(new Epoll());
  const bell = keep(new EventFd(1));
  epoll.add(bell.fd, EPOLLIN | EPOLLONESHOT);
  expect(epoll.wait(8, 0)).toHaveLength(1);
  bell.write();
  expect(epoll.wait(8, 0)).toEqual([]);
  epoll.modify(bell.fd, EPOLLIN | EPOLLONESHOT);
  expect(epoll.wait(8, 0)).toEqual([{ events: EPOLLIN, data: bell.fd }]);
});

test("modify changes what is awaited", () => {
  const epoll = keep(new Epoll());
  const bell = keep(new EventFd(1));
  epoll.add(bell.fd, EPOLLIN);
  epoll.modify(bell.fd, EPOLLOUT, 5);
  expect(epoll.wait(8, 0)).toEqual([{ events: EPOLLOUT, data: 5 }]);
  epoll.modify(bell.fd, 0);
  expect(epoll.wait(8, 0)).toEqual([]);
});

test("maxEvents bounds a wait, and the others have their turn in the next ones", () => {
  const epoll = keep(new Epoll());
  const bells = Array.from({ length: 100 }, () => keep(new EventFd(1)));
  for (const { fd } of bells) epoll.add(fd, EPOLLIN);
  expect(epoll.wait(1000, 0)).toHaveLength(100);
  expect(epoll.waitUntil(Number.NEGATIVE_INFINITY, false)).toBe(8);
  const seen = new Set<number>();
  for (let i = 0; i < 10; i++) {
    const some = epoll.wait(10, 0);
    expect(some).toHaveLength(10);
    for (const { data } of some) seen.add(data);
  }
  expect(seen.size).toBe(100);
  for (const maxEvents of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => epoll.wait(maxEvents, 0)).toThrow(RangeError);
  }
});

test("the end of a stream and a dead pipe are events, asked for or not", () => {
  const epoll = keep(new Epoll());
  const { client, server } = connected(own);
  epoll.add(server, EPOLLIN | EPOLLRDHUP);
  send(client, Buffer.from("last words"));
  shutdown(client, SHUT_WR);
  waitFor(server, EPOLLRDHUP);
  expect(epoll.wait(8, 0)).toEqual([{ events: EPOLLIN | EPOLLRDHUP, data: server }]);
  epoll.delete(server);

  const pipe = keep(new Pipe());
  epoll.add(pipe.readFd, 0);
  epoll.add(pipe.writeFd, 0);
  pipe.closeWrite();
  expect(epoll.wait(8, 0)).toEqual([{ events: EPOLLHUP, data: pipe.readFd }]);
  const other = keep(new Pipe());
  epoll.add(other.writeFd, 0);
  other.closeRead();
  expect(epoll.wait(8, 0)).toContainEqual({ events: EPOLLERR, data: other.writeFd });
});

test("a socket that was never connected says so: watch it after connect, not before", () => {
  const epoll = keep(new Epoll());
  epoll.add(own(socket(AF_UNIX, SOCK_STREAM)), EPOLLOUT);
  expect(epoll.wait(8, 0)[0]!.events & EPOLLHUP).toBe(EPOLLHUP);
});

test("an epoll set is a descriptor that another one can watch", () => {
  const [outer, inner] = [keep(new Epoll()), keep(new Epoll())];
  const bell = keep(new EventFd());
  inner.add(bell.fd, EPOLLIN);
  outer.add(inner.fd, EPOLLIN);
  expect(outer.wait(8, 0)).toEqual([]);
  bell.write();
  expect(has(inner.fd, EPOLLIN)).toBe(true);
  expect(outer.wait(8, 0)).toEqual([{ events: EPOLLIN, data: inner.fd }]);
  bell.read();
  expect(outer.wait(8, 0)).toEqual([]);
});

test("a closed descriptor leaves the set by itself", () => {
  const epoll = keep(new Epoll());
  const bell = new EventFd(1);
  epoll.add(bell.fd, EPOLLIN);
  bell.close();
  expect(epoll.wait(8, 0)).toEqual([]);
});

test("two sets do not share what they read", () => {
  const bells = [keep(new EventFd(1)), keep(new EventFd(1))];
  const sets = bells.map((bell, index) => {
    const epoll = keep(new Epoll());
    epoll.add(bell.fd, EPOLLIN, index);
    return epoll;
  });
  expect(sets.map((epoll) => epoll.waitUntil(Number.NEGATIVE_INFINITY, false))).toEqual([1, 1]);
  expect(sets.map((epoll) => epoll.dataAt(0))).toEqual([0, 1]);
});

test("the set is close-on-exec; closing it twice is once, closes nothing in it, and what follows fails", () => {
  const bell = keep(new EventFd(1));
  const epoll = new Epoll();
  epoll.add(bell.fd, EPOLLIN);
  expect(flagsOf(epoll.fd).closeOnExec).toBe(true);
  const { fd } = epoll;
  epoll.close();
  expect(epoll.fd).toBe(-1);
  reuse(own, fd);
  epoll.close();
  expect(isOpen(fd)).toBe(true);
  expect(bell.read()).toBe(1n);
  expect(thrown(() => epoll.add(bell.fd, EPOLLIN))).toMatchObject({ name: "SystemError", code: "EBADF" });
  expect(thrown(() => epoll.modify(bell.fd, EPOLLIN))).toMatchObject({ name: "SystemError", code: "EBADF" });
  expect(thrown(() => epoll.delete(bell.fd))).toMatchObject({ name: "SystemError", code: "EBADF" });
  expect(thrown(() => epoll.wait(1, 0))).toMatchObject({ name: "SystemError", code: "EBADF", syscall: "epoll_wait" });
});

test("`using` closes the set", () => {
  let fd: number;
  {
    using epoll = new Epoll();
    fd = epoll.fd;
  }
  expect(isOpen(fd)).toBe(false);
});
