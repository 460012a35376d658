import { expect, setDefaultTimeout, test } from "bun:test";
import {
  AF_INET,
  MSG_PEEK,
  POLLIN,
  recv,
  SHUT_RD,
  SHUT_WR,
  SOCK_STREAM,
  send,
  sendmsg,
  shutdown,
  socket,
} from "../ffi/index.ts";
import { connected, owner, waitFor } from "./fds.ts";
import { keeper } from "./setup.ts";
import { thrown } from "./thread.ts";
import { needs } from "./tool.ts";
import { trace } from "./trace.ts";

setDefaultTimeout(60_000);
const keep = keeper();
const own = owner(keep);
const bytes = (text: string) => Buffer.from(text);

/** Reads until so many bytes have come. */
function received(fd: number, length: number): Buffer {
  const chunks: Buffer[] = [];
  const into = new Uint8Array(1 << 16);
  for (let left = length; left > 0; ) {
    waitFor(fd, POLLIN);
    const count = recv(fd, into);
    if (count === 0) throw new Error(`the stream ended ${left} bytes too early`);
    chunks.push(Buffer.from(into.subarray(0, count ?? 0)));
    left -= count ?? 0;
  }
  return Buffer.concat(chunks);
}

test("recv returns what is there, null if nothing is, and 0 at the peer's end", () => {
  const { client, server } = connected(own);
  const into = new Uint8Array(8);
  expect(recv(server, into)).toBeNull();
  expect(send(client, bytes("hello world"))).toBe(11);
  waitFor(server, POLLIN);
  expect(recv(server, into, MSG_PEEK)).toBe(8);
  expect(recv(server, into)).toBe(8);
  expect(Buffer.from(into).toString()).toBe("hello wo");
  expect(recv(server, into.subarray(5))).toBe(3);
  expect(Buffer.from(into).toString()).toBe("hellorld");
  expect(recv(server, into)).toBeNull();
  shutdown(client, SHUT_WR);
  waitFor(server, POLLIN);
  expect(recv(server, into)).toBe(0);
  expect(recv(server, into)).toBe(0);
  expect(send(server, bytes("still here"))).toBe(10); // only one direction has ended
  expect(received(client, 10).toString()).toBe("still here");
});

test("recv into an empty buffer is 0, whether something is there or not", () => {
  const { client, server } = connected(own);
  const empty = new Uint8Array(0);
  expect(recv(server, empty)).toBe(0);
  send(client, bytes("x"));
  waitFor(server, POLLIN);
  expect(recv(server, empty)).toBe(0);
  expect(recv(server, new Uint8Array(2))).toBe(1);
});

test("send takes what there is room for, then null; all of it arrives", () => {
  const { client, server } = connected(own);
  expect(send(client, new Uint8Array(0))).toBe(0);
  let total = 0;
  const chunk = new Uint8Array(1 << 16).fill(7);
  for (let count: number | null; (count = send(client, chunk)) !== null; ) total += count;
  expect(total).toBeGreaterThan(chunk.length);
  expect(sendmsg(client, [chunk, chunk])).toBeNull();
  shutdown(client, SHUT_WR);
  const data = received(server, total);
  expect(data.every((byte) => byte === 7)).toBe(true);
  waitFor(server, POLLIN);
  expect(recv(server, new Uint8Array(1))).toBe(0);
});

test("after shutdown sending is EPIPE, reading is the end, and the other direction goes on", () => {
  const { client, server } = connected(own);
  shutdown(client, SHUT_WR);
  expect(thrown(() => send(client, bytes("x")))).toMatchObject({ code: "EPIPE", syscall: "send" });
  expect(thrown(() => sendmsg(client, [bytes("x")]))).toMatchObject({ code: "EPIPE", syscall: "sendmsg" });
  shutdown(server, SHUT_RD);
  expect(recv(server, new Uint8Array(1))).toBe(0);
  expect(send(server, bytes("answer"))).toBe(6);
  expect(received(client, 6).toString()).toBe("answer");
  const lonely = own(socket(AF_INET, SOCK_STREAM));
  expect(thrown(() => shutdown(lonely, SHUT_WR))).toMatchObject({ code: "ENOTCONN", syscall: "shutdown" });
});

test("sendmsg sends the chunks from one on, less what to skip of it, and no empty ones", () => {
  const { client, server } = connected(own);
  const chunks = ["never", "", "abc", "", "def", ""].map(bytes);
  expect(sendmsg(client, chunks, 1)).toBe(6);
  expect(sendmsg(client, chunks, 2, 1)).toBe(5);
  expect(sendmsg(client, chunks, 2, 3)).toBe(3);
  expect(sendmsg(client, chunks, 4, 2)).toBe(1);
  expect(received(server, 15).toString()).toBe("abcdefbcdefdeff");
  for (const [from, skip] of [
    [5, 0],
    [6, 0],
    [4, 3],
  ] as const) {
    expect(sendmsg(client, chunks, from, skip)).toBe(0);
  }
  expect(sendmsg(client, [])).toBe(0);
  expect(recv(server, new Uint8Array(1))).toBeNull();
});

test("sendmsg sends 1024 chunks at most, and empty ones do not count", () => {
  const { client, server } = connected(own);
  const chunks = Array.from({ length: 3000 }, (_, i) => bytes(String(i % 10)));
  expect(sendmsg(client, chunks)).toBe(1024);
  expect(sendmsg(client, chunks, 1024)).toBe(1024);
  expect(sendmsg(client, chunks, 2048)).toBe(952);
  expect(received(server, 3000).equals(Buffer.concat(chunks))).toBe(true);
  const gaps = chunks.flatMap((chunk) => [new Uint8Array(0), chunk]);
  expect(sendmsg(client, gaps)).toBe(1024);
});

test("small chunks of a young heap arrive as they are: their memory stays where the kernel was told it is", () => {
  const { client, server } = connected(own);
  for (let round = 0; round < 300; round++) {
    const chunks = Array.from({ length: 20 }, (_, i) => new Uint8Array(8).fill(round + i));
    expect(sendmsg(client, chunks)).toBe(160);
    expect(received(server, 160).equals(Buffer.concat(chunks))).toBe(true);
  }
});

test("sendmsg sends nothing of what lies around a chunk", () => {
  const { client, server } = connected(own);
  const chunk = new Uint8Array(16).subarray(8, 12);
  for (const [from, skip] of [
    [0, -4],
    [0, 0.5],
    [0, Number.NaN],
    [-1, 0],
    [0.5, 0],
  ] as const) {
    expect(() => sendmsg(client, [chunk], from, skip)).toThrow(RangeError);
  }
  expect(recv(server, new Uint8Array(16))).toBeNull();
});

needs("strace")("every send carries MSG_NOSIGNAL, next to the caller's flags", async () => {
  const calls = await trace("ffi-sends.ts", [], () => {});
  const sends = calls.filter(({ name, text }) => /^send/.test(name) && text.includes("quiet one"));
  expect(sends.map(({ text }) => /(MSG_[A-Z_|]+)[,)]/.exec(text)?.[1]?.split("|").toSorted())).toEqual([
    ["MSG_NOSIGNAL"],
    ["MSG_DONTWAIT", "MSG_NOSIGNAL"],
    ["MSG_NOSIGNAL"],
    ["MSG_DONTWAIT", "MSG_NOSIGNAL"],
  ]);
});
