import { expect } from "bun:test";
import { listen } from "../src/index.ts";
import { keeper } from "./setup.ts";
import { needs } from "./tool.ts";
import { expectInOrder, type SystemCall, trace } from "./trace.ts";

const keep = keeper();
const isBirth = ({ name, result }: SystemCall, fd: number) => name === "eventfd2" && result === fd;

needs("strace")(
  "a read that another thread cancels is woken by an eventfd in its epoll set, once, unread",
  async () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const calls = await trace("read-cancelled-by-thread.ts", [listener.address.port], () => {
      keep(listener.acceptSync({ timeout: 20_000 }));
    });

    const begin = calls.findIndex((call) => call.name === "connect" && call.text.includes(`${listener.address.port}`));
    const { fd: socket, thread } = calls[begin]!;
    const after = calls.slice(begin);
    // The last eventfd that the reading thread added next to its socket: Bun has eventfds of its own.
    const added = after.find((call) => call.thread === thread && call.text.includes(`EPOLL_CTL_ADD, ${socket},`))!;
    const epoll = added.fd;
    const bell = after.findLast((call) => call.fd === epoll && call.text.includes("EPOLL_CTL_ADD"))!;
    const doorbell = Number(/EPOLL_CTL_ADD, (\d+),/.exec(bell.text)![1]);

    // From its birth to its end: the number belonged to others before, and will again.
    const born = calls.findLastIndex((call, at) => at < calls.indexOf(bell) && isBirth(call, doorbell));
    const end = calls.findIndex((call, at) => at > born && call.name === "close" && call.fd === doorbell);
    const life = calls.slice(born, end);
    expect(life[0]!.text).toMatch(/^eventfd2\(0, (EFD_CLOEXEC\|EFD_NONBLOCK|EFD_NONBLOCK\|EFD_CLOEXEC)\) = /);
    expect(doorbell).not.toBe(socket);

    const inSet = after.filter((call) => call.fd === epoll);
    expectInOrder(inSet, [
      new RegExp(`^epoll_ctl\\(${epoll}, EPOLL_CTL_ADD, ${socket}, \\{events=[A-Z|]*EPOLLIN`),
      new RegExp(`^epoll_ctl\\(${epoll}, EPOLL_CTL_ADD, ${doorbell}, \\{events=EPOLLIN\\|EPOLLET, `),
    ]);
    // From the doorbell's registration on: one wait, which the doorbell ends.
    const waits = inSet.slice(inSet.indexOf(bell)).filter((call) => /^epoll_p?wait/.test(call.name));
    expect(waits.map((call) => call.text)).toEqual([
      expect.stringMatching(new RegExp(`\\[\\{events=EPOLLIN, data=\\{u32=${doorbell}, .* = 1$`)),
    ]);

    const rung = life.filter((call) => call.name === "write" && call.fd === doorbell);
    expect(rung).toHaveLength(1);
    expect(rung[0]!.thread).not.toBe(thread);
    expect(life.filter((call) => call.name === "read" && call.fd === doorbell)).toEqual([]);
  },
);
