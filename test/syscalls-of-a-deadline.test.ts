import { expect } from "bun:test";
import { listen } from "../src/index.ts";
import { keeper } from "./setup.ts";
import { needs } from "./tool.ts";
import { expectInOrder, trace } from "./trace.ts";

const keep = keeper();

needs("strace")("a GET with a deadline makes these system calls, in this order, and few others", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const calls = await trace("get-with-deadline.ts", [listener.address.port], () => {
    keep(listener.acceptSync({ timeout: 20_000 })); // and never answers
  });

  const begin = calls.findIndex((call) => call.name === "connect" && call.text.includes(`${listener.address.port}`));
  const socket = calls[begin]!.fd;
  const born = calls.findLastIndex((call, index) => index < begin && call.name === "socket" && call.result === socket);
  const added = calls.find((call, index) => index > born && call.text.includes(`EPOLL_CTL_ADD, ${socket},`))!;
  const epoll = added.fd;
  const made = calls.findLastIndex((call) => call.name === "epoll_create1" && call.result === epoll);
  const ours = calls.filter(
    (call, index) => index === born || index === made || (index > born && (call.fd === socket || call.fd === epoll)),
  );

  expectInOrder(ours, [
    /^socket\(AF_INET, SOCK_STREAM\|(SOCK_NONBLOCK\|SOCK_CLOEXEC|SOCK_CLOEXEC\|SOCK_NONBLOCK),/,
    /^connect\(.* = -1 EINPROGRESS/,
    /^epoll_ctl\(\d+, EPOLL_CTL_ADD, \d+, \{events=[A-Z|]*EPOLLET/,
    /^epoll_wait\(.* = 1$/,
    /^getsockopt\(\d+, SOL_SOCKET, SO_ERROR, \[0\]/,
    /^sendto\(.*MSG_NOSIGNAL/,
    /^recvfrom\(.* = -1 EAGAIN/,
    /^epoll_p?wait2?\(\d+, \[\], \d+, .* = 0$/, // slept until the deadline: nothing was ready
    /^close\(\d+\) = 0$/,
    /^close\(\d+\) = 0$/,
  ]);
  const closed = ours.filter((call) => call.name === "close").map((call) => call.fd);
  expect(closed.sort()).toEqual([socket, epoll].sort());
  expect(ours.length).toBeLessThan(40);
});
