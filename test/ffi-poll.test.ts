import { expect, test } from "bun:test";
import { EventFd, Pipe, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, PollSet } from "../ffi/index.ts";
import { keeper } from "./setup.ts";

const keep = keeper();
const now = (set: PollSet) => set.waitUntil(Number.NEGATIVE_INFINITY, false);

test("a set tells how many of its entries are ready, and which of what was asked", () => {
  const set = new PollSet();
  const [rung, quiet] = [keep(new EventFd(1)), keep(new EventFd())];
  set.push(rung.fd, POLLIN | POLLOUT);
  set.push(quiet.fd, POLLIN);
  set.push(quiet.fd, POLLOUT);
  expect(set.length).toBe(3);
  expect(now(set)).toBe(2);
  expect([0, 1, 2].map((index) => set.reventsAt(index))).toEqual([POLLIN | POLLOUT, 0, POLLOUT]);
  expect([0, 1, 2].map((index) => set.fdAt(index))).toEqual([rung.fd, quiet.fd, quiet.fd]);
  rung.read();
  expect(now(set)).toBe(2);
  expect(set.reventsAt(0)).toBe(POLLOUT);
});

test("a set grows, and keeps what it has", () => {
  const set = new PollSet();
  const bells = Array.from({ length: 100 }, (_, i) => keep(new EventFd(i % 2)));
  for (const { fd } of bells) set.push(fd, POLLIN);
  expect(set.length).toBe(100);
  expect(now(set)).toBe(50);
  expect(bells.map((_, index) => set.fdAt(index))).toEqual(bells.map(({ fd }) => fd));
  expect(bells.map((_, index) => set.reventsAt(index))).toEqual(bells.map((_, i) => (i % 2 === 1 ? POLLIN : 0)));
});

test("the last entry takes the place of one that is removed, with what is awaited of it", () => {
  const set = new PollSet();
  const [first, second, third] = [keep(new EventFd(1)), keep(new EventFd(1)), keep(new EventFd())];
  set.push(first.fd, POLLIN);
  set.push(second.fd, POLLIN);
  set.push(third.fd, POLLOUT);
  set.remove(0);
  expect([set.length, set.fdAt(0), set.fdAt(1)]).toEqual([2, third.fd, second.fd]);
  expect(now(set)).toBe(2);
  expect([set.reventsAt(0), set.reventsAt(1)]).toEqual([POLLOUT, POLLIN]);
  set.remove(1);
  expect([set.length, set.fdAt(0)]).toEqual([1, third.fd]);
  set.remove(0);
  expect(now(set)).toBe(0);
});

test("an entry is changed in place; a cleared set is empty", () => {
  const set = new PollSet();
  const [rung, quiet] = [keep(new EventFd(1)), keep(new EventFd())];
  set.push(rung.fd, POLLIN);
  expect(now(set)).toBe(1);
  set.set(0, quiet.fd, POLLIN);
  expect(set.reventsAt(0)).toBe(0);
  expect(now(set)).toBe(0);
  set.clear();
  expect(set.length).toBe(0);
  set.push(rung.fd, POLLIN);
  expect([set.length, now(set)]).toEqual([1, 1]);
});

test("an entry with a negative descriptor is left alone, one that is closed is POLLNVAL", () => {
  const set = new PollSet();
  const bell = keep(new EventFd(1));
  set.push(-1, POLLIN);
  set.push(bell.fd, POLLIN);
  expect(now(set)).toBe(1);
  expect([set.reventsAt(0), set.reventsAt(1)]).toEqual([0, POLLIN]);
  bell.close();
  expect(now(set)).toBe(1);
  expect(set.reventsAt(1)).toBe(POLLNVAL);
});

test("an end and an error are told although nobody asked", () => {
  const [ended, dead] = [keep(new Pipe()), keep(new Pipe())];
  ended.closeWrite();
  dead.closeRead();
  const set = new PollSet();
  set.push(ended.readFd, 0);
  set.push(dead.writeFd, 0);
  expect(now(set)).toBe(2);
  expect([set.reventsAt(0), set.reventsAt(1)]).toEqual([POLLHUP, POLLERR]);
});

test("what is no descriptor is a TypeError, and not descriptor 0", () => {
  const set = new PollSet();
  for (const fd of [Number.NaN, 0.5, 2 ** 32, undefined as unknown as number]) {
    expect(() => set.push(fd, POLLIN)).toThrow(TypeError);
  }
  expect(set.length).toBe(0);
});
