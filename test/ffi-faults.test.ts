import { expect, test } from "bun:test";
import { ring } from "../ffi/eventfd.ts";
import {
  AF_INET,
  accept4,
  close,
  connect,
  EADDRINUSE,
  ECONNABORTED,
  ECONNREFUSED,
  EINPROGRESS,
  EINTR,
  EINVAL,
  EMFILE,
  ENFILE,
  ENOSYS,
  Epoll,
  EventFd,
  errnoName,
  getsockname,
  getsockopt,
  Pipe,
  POLLIN,
  POLLOUT,
  recv,
  SO_ERROR,
  SOCK_STREAM,
  SOL_SOCKET,
  Sockaddr,
  SystemError,
  send,
  sendmsg,
  socket,
  TimerFd,
} from "../ffi/index.ts";
import type { libc } from "../ffi/libc.ts";
import { constants } from "../ffi/platform/index.ts";
import { failWith, faults, systemCalls } from "./faults.ts";
import { changes, connected, descriptors, flagsOf, has, isOpen, listening, owner, waitFor } from "./fds.ts";
import { keeper } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
const own = owner(keep);
const replace = faults();
const nothing = { opened: {}, closed: {} };
type Name = keyof typeof libc;
type AnyCall = (...args: never[]) => number;

/** Makes the next `times` calls of `name` fail with `errno`; the count of all its calls from then on. */
function failing(name: Name, errno: number, times = Number.POSITIVE_INFINITY): { count: number } {
  const calls = { count: 0 };
  (replace as (name: Name, replacement: (call: AnyCall) => AnyCall) => void)(
    name,
    (call) =>
      (...args) =>
        ++calls.count <= times ? failWith(errno) : call(...args),
  );
  return calls;
}

/** A listener with a client in its queue. */
function queued(): { listener: number; client: number } {
  const { fd, address } = listening(own);
  const client = own(socket(AF_INET, SOCK_STREAM));
  connect(client, address);
  waitFor(fd, POLLIN);
  return { listener: fd, client };
}

test("without accept4, accept and fcntl make the same descriptor, and tell the peer's address", () => {
  const { listener, client } = queued();
  failing("accept4", ENOSYS);
  const peer = new Sockaddr();
  const server = own(accept4(listener, peer));
  expect(flagsOf(server)).toEqual({ nonBlocking: true, closeOnExec: true });
  expect(peer.decode()).toEqual(getsockname(client));
  expect(accept4(listener, peer)).toBeNull();
});

test("without pipe2, pipe and fcntl make the same two descriptors", () => {
  failing("pipe2", ENOSYS);
  const pipe = keep(new Pipe());
  expect(flagsOf(pipe.readFd)).toEqual({ nonBlocking: true, closeOnExec: true });
  expect(flagsOf(pipe.writeFd)).toEqual({ nonBlocking: true, closeOnExec: true });
  expect([pipe.write(Buffer.from("x")), pipe.read(new Uint8Array(2))]).toEqual([1, 1]);
});

/** Makes the `nth` call of fcntl fail. */
function failingFcntl(nth: number): void {
  let calls = 0;
  replace(
    "fcntl",
    (call) => (fd, command, argument) => (++calls === nth ? failWith(EINVAL) : call(fd, command, argument)),
  );
}

for (const nth of [1, 2, 3]) {
  test(`an accepted descriptor whose fcntl number ${nth} fails is closed`, () => {
    const { listener } = queued();
    const before = descriptors();
    failing("accept4", ENOSYS);
    failingFcntl(nth);
    expect(thrown(() => accept4(listener))).toMatchObject({ name: "SystemError", code: "EINVAL", syscall: "fcntl" });
    expect(changes(before)).toEqual(nothing);
  });
}

for (const nth of [1, 2, 3, 4, 5, 6]) {
  test(`a pipe whose fcntl number ${nth} fails leaves neither end open`, () => {
    const before = descriptors();
    failing("pipe2", ENOSYS);
    failingFcntl(nth);
    expect(thrown(() => new Pipe())).toMatchObject({ name: "SystemError", code: "EINVAL", syscall: "fcntl" });
    expect(changes(before)).toEqual(nothing);
  });
}

test("when both ways to make a pipe fail, the second one's error is told", () => {
  failing("pipe2", ENOSYS);
  failing("pipe", EMFILE);
  expect(thrown(() => new Pipe())).toMatchObject({ code: "EMFILE", syscall: "pipe" });
});

test("a close that says EINTR has closed, and is not tried again", () => {
  const fd = socket(AF_INET, SOCK_STREAM);
  let calls = 0;
  replace("close", (call) => (descriptor) => {
    calls++;
    call(descriptor);
    return failWith(EINTR);
  });
  expect(close(fd)).toBeUndefined();
  expect(calls).toBe(1);
  expect(isOpen(fd)).toBe(false);
});

test("closing what is not open is EBADF", () => {
  const fd = socket(AF_INET, SOCK_STREAM);
  close(fd);
  expect(thrown(() => close(fd))).toMatchObject({ code: "EBADF", syscall: "close" });
});

test("recv, send and sendmsg that a signal interrupts are called again", () => {
  const { client, server } = connected(own);
  const counts = (["recv", "send", "sendmsg"] as const).map((name) => failing(name, EINTR, 3));
  expect(send(client, Buffer.from("one "))).toBe(4);
  expect(sendmsg(client, [Buffer.from("two "), Buffer.from("three")])).toBe(9);
  waitFor(server, POLLIN);
  const into = new Uint8Array(32);
  const count = recv(server, into)!;
  expect(Buffer.from(into.subarray(0, count)).toString()).toBe("one two three");
  expect(counts.map(({ count }) => count)).toEqual([4, 4, 4]);
});

for (const name of ["accept4", "accept"] as const) {
  test(`${name} that a signal interrupts is called again`, () => {
    const { listener, client } = queued();
    if (name === "accept") failing("accept4", ENOSYS);
    const calls = failing(name, EINTR, 3);
    const peer = new Sockaddr();
    own(accept4(listener, peer));
    expect(peer.decode()).toEqual(getsockname(client));
    expect(calls.count).toBe(4);
  });
}

test("read and write of an eventfd and of a pipe that a signal interrupts are called again", () => {
  const bell = keep(new EventFd());
  const pipe = keep(new Pipe());
  const writes = failing("write", EINTR, 2);
  expect(bell.write(5)).toBe(true);
  expect(ring(bell.fd)).toBe(true);
  expect(pipe.write(Buffer.from("abc"))).toBe(3);
  const reads = failing("read", EINTR, 2);
  expect(bell.read()).toBe(6n);
  expect(pipe.read(new Uint8Array(8))).toBe(3);
  expect([writes.count, reads.count]).toEqual([5, 4]);
});

test("a timer's read that a signal interrupts is called again", () => {
  const timer = keep(new TimerFd());
  timer.set(0);
  waitFor(timer.fd, POLLIN);
  failing("read", EINTR, 2);
  expect(timer.read()).toBe(true);
});

test("a connect that a signal interrupts goes on in the kernel, and is not called again", () => {
  const { fd, address } = listening(own);
  const client = own(socket(AF_INET, SOCK_STREAM));
  let calls = 0;
  replace("connect", (call) => (socket, bytes, length) => {
    calls++;
    expect(call(socket, bytes, length)).toBe(-1);
    return failWith(EINTR);
  });
  expect(connect(client, address)).toBe(false);
  expect(calls).toBe(1);
  waitFor(client, POLLOUT);
  expect(getsockopt(client, SOL_SOCKET, SO_ERROR)).toBe(0);
  expect(has(fd, POLLIN)).toBe(true);
});

test("what accept fails with is told as it is: retrying is for those who know the listener", () => {
  const { listener } = queued();
  for (const errno of [ECONNABORTED, EMFILE, ENFILE]) {
    failing("accept4", errno, 1);
    expect(thrown(() => accept4(listener))).toMatchObject({ code: errnoName(errno), errno: -errno, syscall: "accept" });
  }
  own(accept4(listener));
});

for (const [name, make] of [
  ["epoll_create1", () => new Epoll()],
  ["eventfd", () => new EventFd()],
  ["timerfd_create", () => new TimerFd()],
  ["pipe2", () => new Pipe()],
  ["socket", () => socket(AF_INET, SOCK_STREAM)],
] as const) {
  test(`${name} without a free descriptor is a SystemError that says what to do`, () => {
    failing(name, EMFILE);
    const error = thrown(make);
    expect(error).toBeInstanceOf(SystemError);
    expect(error).toMatchObject({ name: "SystemError", code: "EMFILE", errno: -EMFILE, syscall: name });
    expect(error.message).toBe(
      `${name} EMFILE: this process has too many files open; close some or raise \`ulimit -n\``,
    );
  });
}

test("every error number of this platform has its C name", () => {
  const numbers = Object.entries(constants).filter(
    ([name, number]) => /^E(?!POLL)[A-Z0-9]+$/.test(name) && !Number.isNaN(number),
  );
  expect(numbers.length).toBeGreaterThan(40);
  const wrong = numbers.filter(([name, number]) => errnoName(number) !== name);
  expect(wrong.map(([name, number]) => `${name}: ${errnoName(number)}`)).toEqual([]);
  expect([ECONNREFUSED, EINPROGRESS, EADDRINUSE].map(errnoName)).toEqual(["ECONNREFUSED", "EINPROGRESS", "EADDRINUSE"]);
  expect(errnoName(9999)).toBe("E9999");
});

test("every descriptor is made in one call into the kernel", () => {
  const made = systemCalls(() => {
    keep(new Pipe());
    own(socket(AF_INET, SOCK_STREAM));
    keep(new Epoll());
    keep(new EventFd());
    keep(new TimerFd());
  });
  expect(made).toEqual(["pipe2", "socket", "epoll_create1", "eventfd", "timerfd_create"]);
});
