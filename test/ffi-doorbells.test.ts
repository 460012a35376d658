import { expect, test } from "bun:test";
import { drain, ring } from "../ffi/eventfd.ts";
import { EventFd, Pipe, POLLERR, POLLHUP, POLLIN, POLLOUT } from "../ffi/index.ts";
import { flagsOf, has, isOpen, owner, reuse } from "./fds.ts";
import { keeper } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
const own = owner(keep);
const LARGEST = 2n ** 64n - 2n;

test("an eventfd counts what is written, and a read takes it all", () => {
  const bell = keep(new EventFd());
  expect(bell.read()).toBeNull();
  expect(bell.write()).toBe(true);
  expect(bell.write(2)).toBe(true);
  expect(bell.write(2n ** 40n)).toBe(true);
  expect(bell.read()).toBe(2n ** 40n + 3n);
  expect(bell.read()).toBeNull();
});

test("an eventfd begins with its initial value, 0 to 2^32 - 1", () => {
  expect(keep(new EventFd(5)).read()).toBe(5n);
  expect(keep(new EventFd(2 ** 32 - 1)).read()).toBe(2n ** 32n - 1n);
  for (const initial of [-1, 2 ** 32, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => new EventFd(initial)).toThrow(RangeError);
  }
});

test("a semaphore gives back 1 a read", () => {
  const bell = keep(new EventFd(2, { semaphore: true }));
  bell.write(1);
  expect([bell.read(), bell.read(), bell.read(), bell.read()]).toEqual([1n, 1n, 1n, null]);
});

test("a saturated eventfd takes no more, keeps what it has, and is still readable", () => {
  const bell = keep(new EventFd());
  expect(has(bell.fd, POLLOUT)).toBe(true);
  expect(bell.write(LARGEST)).toBe(true);
  expect(has(bell.fd, POLLOUT)).toBe(false);
  expect(has(bell.fd, POLLIN)).toBe(true);
  expect(bell.write(1)).toBe(false);
  expect(ring(bell.fd)).toBe(false);
  expect(bell.write(0)).toBe(true);
  expect(bell.read()).toBe(LARGEST);
  expect(bell.write(1)).toBe(true);
});

test("a write that does not fit adds nothing at all", () => {
  const bell = keep(new EventFd());
  bell.write(LARGEST - 1n);
  expect(bell.write(2)).toBe(false);
  expect(bell.write(1)).toBe(true);
  expect(bell.read()).toBe(LARGEST);
});

test("an eventfd that 0 is written to is not readable", () => {
  const bell = keep(new EventFd());
  expect(bell.write(0)).toBe(true);
  expect(has(bell.fd, POLLIN)).toBe(false);
  expect(bell.read()).toBeNull();
});

test("what an eventfd cannot add is a RangeError, and nothing is added", () => {
  const bell = keep(new EventFd());
  for (const value of [-1, -1n, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2n ** 64n - 1n, 2n ** 64n, 2n ** 70n]) {
    expect(() => bell.write(value)).toThrow(RangeError);
  }
  expect(bell.read()).toBeNull();
});

test("ring adds 1 and drain takes it all, whatever was written and read before", () => {
  const bell = keep(new EventFd());
  bell.write(41);
  expect(ring(bell.fd)).toBe(true);
  expect(bell.read()).toBe(42n);
  expect(() => bell.write(-7)).toThrow(RangeError);
  ring(bell.fd);
  ring(bell.fd);
  expect(bell.read()).toBe(2n);
  bell.write(9);
  drain(bell.fd);
  drain(bell.fd);
  expect(bell.read()).toBeNull();
});

test("an eventfd is non-blocking and close-on-exec, and closing it twice is once", () => {
  const bell = new EventFd();
  expect(flagsOf(bell.fd)).toEqual({ nonBlocking: true, closeOnExec: true });
  const { fd } = bell;
  bell.close();
  expect(bell.fd).toBe(-1);
  reuse(own, fd);
  bell.close();
  expect(isOpen(fd)).toBe(true);
  expect(thrown(() => bell.write())).toMatchObject({ name: "SystemError", code: "EBADF", syscall: "write" });
  expect(thrown(() => bell.read())).toMatchObject({ name: "SystemError", code: "EBADF", syscall: "read" });
});

test("`using` closes an eventfd and both ends of a pipe", () => {
  const fds: number[] = [];
  {
    using bell = new EventFd();
    using pipe = new Pipe();
    fds.push(bell.fd, pipe.readFd, pipe.writeFd);
  }
  expect(fds.filter(isOpen)).toEqual([]);
});

test("bytes come out of a pipe as they went in; null when there are none", () => {
  const pipe = keep(new Pipe());
  const into = new Uint8Array(8);
  expect(pipe.read(into)).toBeNull();
  expect(pipe.write(Buffer.from("hello world"))).toBe(11);
  expect(pipe.read(into)).toBe(8);
  expect(Buffer.from(into).toString()).toBe("hello wo");
  expect(pipe.read(into.subarray(2, 4))).toBe(2);
  expect(Buffer.from(into).toString()).toBe("herlo wo");
  expect(pipe.read(into)).toBe(1);
  expect(pipe.read(into)).toBeNull();
});

test("a pipe is at its end once its write end is closed and all was read", () => {
  const pipe = keep(new Pipe());
  pipe.write(Buffer.from("last"));
  pipe.closeWrite();
  const into = new Uint8Array(8);
  expect(pipe.read(into)).toBe(4);
  expect(pipe.read(into)).toBe(0);
  expect(pipe.read(into)).toBe(0);
  expect(has(pipe.readFd, POLLHUP)).toBe(true);
});

test("a full pipe takes a part, then null, and has room again once somebody read", () => {
  const pipe = keep(new Pipe());
  const chunk = Buffer.alloc(50_000, "x");
  let total = 0;
  for (let count: number | null; (count = pipe.write(chunk)) !== null; ) {
    expect(count).toBeGreaterThan(0);
    total += count;
  }
  expect(total % chunk.length).not.toBe(0);
  expect(has(pipe.writeFd, POLLOUT)).toBe(false);
  expect(pipe.write(Buffer.from("x"))).toBeNull();

  const into = new Uint8Array(1 << 16);
  let received = 0;
  for (let count: number | null; (count = pipe.read(into)) !== null; ) received += count;
  expect(received).toBe(total);
  expect(pipe.write(Buffer.from("x"))).toBe(1);
});

test("writing to a pipe that nobody reads from is EPIPE, and kills nobody", () => {
  const pipe = keep(new Pipe());
  pipe.closeRead();
  expect(has(pipe.writeFd, POLLERR)).toBe(true);
  expect(thrown(() => pipe.write(Buffer.from("x")))).toMatchObject({
    name: "SystemError",
    code: "EPIPE",
    syscall: "write",
    message: expect.stringContaining("nothing more can be written"),
  });
});

test("what is no bytes is a TypeError, and so are bytes that were transferred away", () => {
  const pipe = keep(new Pipe());
  for (const wrong of ["text", new ArrayBuffer(4), new Uint16Array(4), [1, 2], null, undefined] as unknown[]) {
    expect(() => pipe.write(wrong as Uint8Array)).toThrow(TypeError);
    expect(() => pipe.read(wrong as Uint8Array)).toThrow(TypeError);
  }
  const gone = new Uint8Array(4);
  structuredClone(gone, { transfer: [gone.buffer] });
  expect(thrown(() => pipe.write(gone))).toMatchObject({
    name: "TypeError",
    message: expect.stringContaining("detached"),
  });
  expect(thrown(() => pipe.read(gone))).toMatchObject({
    name: "TypeError",
    message: expect.stringContaining("detached"),
  });
  expect(pipe.read(new Uint8Array(1))).toBeNull();
});

test("both ends of a pipe are non-blocking and close-on-exec, and each is closed once", () => {
  const pipe = new Pipe();
  const { readFd, writeFd } = pipe;
  expect(flagsOf(readFd)).toEqual({ nonBlocking: true, closeOnExec: true });
  expect(flagsOf(writeFd)).toEqual({ nonBlocking: true, closeOnExec: true });
  pipe.closeRead();
  pipe.closeRead();
  expect([pipe.readFd, pipe.writeFd]).toEqual([-1, writeFd]);
  pipe.close();
  expect([pipe.readFd, pipe.writeFd]).toEqual([-1, -1]);
  reuse(own, readFd);
  reuse(own, writeFd);
  pipe.closeRead();
  pipe.closeWrite();
  pipe.close();
  expect([readFd, writeFd].filter(isOpen)).toEqual([readFd, writeFd]);
  expect(thrown(() => pipe.write(Buffer.from("x")))).toMatchObject({ code: "EBADF", syscall: "write" });
  expect(thrown(() => pipe.read(new Uint8Array(1)))).toMatchObject({ code: "EBADF", syscall: "read" });
});
