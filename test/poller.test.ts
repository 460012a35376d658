/** A poller within one thread: what it reports of what, level-triggered, and what leaves it by itself. */
import { expect, test } from "bun:test";
import { openSync } from "node:fs";
import { close, EMFILE, F_DUPFD_CLOEXEC, fcntl, monotonic, Pipe } from "../ffi/index.ts";
import {
  CancelledError,
  CancelSource,
  ClosedError,
  connectSync,
  type Interest,
  listen,
  type Pollable,
  type PollEvent,
  Poller,
  TcpListener,
  TimeoutError,
  WakeQueue,
} from "../src/index.ts";
import { failWith, faults, systemCalls } from "./faults.ts";
import { aroundEveryCall, maySleep } from "./hooks.ts";
import { changes, NONE } from "./leaks.ts";
import { keeper, pair, temporaryDirectory } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();
/** The kernel has no room for one more registration, epoll_ctl(2). */
const ENOSPC = 28;
const pipes = process.env.CANCELFD_BACKEND === "poll";
const both: Interest = { readable: true, writable: true };
const readable: Interest = { readable: true };
const writable: Interest = { writable: true };

/** What is ready of `source` within a second, as words; "" if the wait ended without it. */
function ready(poller: Poller, source: Pollable, timeout = 0): string {
  return words(poller.wait({ timeout }).find((event) => event.source === source));
}

function words(event: PollEvent | undefined): string {
  if (event === undefined) return "";
  return (["readable", "writable", "ended", "error"] as const).filter((what) => event[what]).join(" ");
}

test("a socket is reported as it is, again and again until it is served, and for what is awaited only", () => {
  const poller = keep(new Poller());
  const { client, server } = pair(keep);
  poller.add(client, both);
  expect(ready(poller, client)).toBe("writable");
  server.writeSync("bytes");
  expect(ready(poller, client, 1000)).toContain("writable");
  poller.modify(client, readable);
  for (let time = 0; time < 3; time++) expect(ready(poller, client, 1000)).toBe("readable");
  client.readSync(new Uint8Array(2));
  expect(ready(poller, client)).toBe("readable");
  client.readSync(new Uint8Array(8));
  expect(ready(poller, client)).toBe("");
  poller.modify(client, writable);
  server.writeSync("more");
  expect(ready(poller, client, 1000)).toBe("writable");
  poller.modify(client, {});
  expect(poller.wait({ timeout: 5 })).toEqual([]);
  poller.modify(client, both);
  expect(ready(poller, client, 1000)).toBe("readable writable");
  poller.delete(client);
  poller.delete(client);
  expect(poller.wait({ timeout: 5 })).toEqual([]);
});

test("the peer's end is told, with what it sent before, and a reset is an error; nothing is said to who awaits nothing", () => {
  const poller = keep(new Poller());
  const { client, server } = pair(keep);
  poller.add(client, readable);
  server.writeSync("last words");
  server.closeWrite();
  expect(ready(poller, client, 1000)).toStartWith("readable");
  const buffer = new Uint8Array(64);
  expect(client.readSync(buffer)).toBe(10);
  expect(ready(poller, client, 1000)).toBe("readable ended");
  expect(client.tryRead(buffer)).toBe(0);
  server.resetAndDestroy();
  expect(poller.wait({ timeout: 1000 })[0]!.error).toBe(true);
  poller.modify(client, {}); // HUP and ERR cannot be masked: it has to be out of the kernel's set
  let calls: string[] = [];
  calls = systemCalls(() => expect(poller.wait({ timeout: 20 })).toEqual([]));
  expect(calls.length).toBeLessThanOrEqual(3);
  poller.modify(client, readable);
  expect(ready(poller, client)).toContain("error");
});

test("a listener, a Unix socket, bare descriptors and a queue in one wait", () => {
  const poller = keep(new Poller());
  const directory = keep(temporaryDirectory());
  const path = `${directory.path}/socket`;
  const tcp = keep(listen({ hostname: "127.0.0.1" }));
  const unix = keep(listen({ path }));
  const pipe = keep(new Pipe());
  const queue = keep(new WakeQueue<string>());
  poller.add(tcp, readable);
  poller.add(unix, readable);
  poller.add(pipe.readFd, readable);
  poller.add(pipe.writeFd, writable);
  poller.add(queue, readable);
  const sources = () => new Set(poller.wait({ timeout: 1000 }).map(({ source }) => source));
  expect(sources()).toEqual(new Set([pipe.writeFd]));
  poller.modify(pipe.writeFd, {});
  expect(poller.wait({ timeout: 5 })).toEqual([]);
  keep(connectSync({ hostname: "127.0.0.1", port: tcp.address.port }));
  expect(sources()).toEqual(new Set([tcp]));
  keep(tcp.acceptSync());
  keep(connectSync({ path }));
  expect(sources()).toEqual(new Set([unix]));
  keep(unix.acceptSync());
  pipe.write(new Uint8Array(1));
  queue.send("value");
  expect(sources()).toEqual(new Set<Pollable>([pipe.readFd, queue]));
  expect(sources()).toEqual(new Set<Pollable>([pipe.readFd, queue]));
  pipe.read(new Uint8Array(8));
  expect(queue.receiveAll()).toEqual(["value"]);
  expect(poller.wait({ timeout: 5 })).toEqual([]);
  queue.send("another");
  queue.close();
  expect(words(poller.wait()[0])).toBe("readable ended");
  expect(queue.receiveSync()).toBe("another");
  expect(words(poller.wait()[0])).toBe("readable ended"); // the end is to be received, too
  expect(thrown(() => queue.receiveSync())).toBeInstanceOf(ClosedError);
  expect(poller.wait({ timeout: 5 })).toEqual([]); // and it is out of the set
});

for (const [queueCount, pipeCount] of [
  [1, 1],
  [2, 2],
  [1, 4],
  [4, 1],
  [3, 2],
] as const) {
  test(`maxEvents bounds a wait, and all that are ready get their turn: ${queueCount} queues and ${pipeCount} descriptors`, () => {
    const poller = keep(new Poller());
    for (let i = 0; i < queueCount; i++) {
      const queue = keep(new WakeQueue());
      poller.add(queue, readable);
      queue.send(1);
    }
    for (let i = 0; i < pipeCount; i++) poller.add(keep(new Pipe()).writeFd, writable);
    for (const maxEvents of [1, 2, 3]) {
      const seen = new Set<Pollable>();
      for (let turn = 0; turn < 20; turn++) {
        const events = poller.wait({ maxEvents });
        expect(events.length).toBeGreaterThan(0);
        expect(events.length).toBeLessThanOrEqual(maxEvents);
        for (const { source } of events) seen.add(source);
      }
      expect(seen.size).toBe(queueCount + pipeCount);
    }
    expect(poller.wait().length).toBe(queueCount + pipeCount);
  });
}

for (const how of ["closed", "closed while a duplicate of it lives", "detached"] as const) {
  test(`a source that is ${how} leaves the set by itself, before its number is another one's`, () => {
    const before = fdTable();
    const poller = new Poller();
    const { client, server, listener } = pair(keep);
    poller.add(client, both);
    poller.add(listener, readable);
    server.writeSync("bytes");
    expect(ready(poller, client, 1000)).toContain("writable");
    const { fd } = client;
    const duplicate = how === "closed while a duplicate of it lives" ? fcntl(fd, F_DUPFD_CLOEXEC, 100) : -1;
    const handle = how === "detached" ? client.detach() : undefined;
    client.close();
    expect(poller.wait({ timeout: 5 })).toEqual([]);
    expect(thrown(() => poller.add(client, readable))).toBeInstanceOf(ClosedError);
    expect(thrown(() => poller.modify(client, readable))).toBeInstanceOf(TypeError);
    poller.delete(client);
    // The number's next owner, as this is, unless Bun has just opened something, is a source of its own.
    const next = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
    poller.add(next, writable);
    const sources = poller.wait({ timeout: 1000 }).map((event) => event.source);
    expect(sources).toContain(next);
    expect(sources).not.toContain(client);
    next.close();
    listener.close();
    expect(poller.wait({ timeout: 5 })).toEqual([]);
    if (duplicate !== -1) close(duplicate);
    poller.close();
    if (handle !== undefined) (server.constructor as typeof import("../src/index.ts").TcpSocket).from(handle).close();
    server.close();
    expect(changes(before)).toEqual(NONE);
  });
}

test("a queue object that is disposed leaves the set by itself, though another one of this thread stands for the queue", () => {
  const poller = keep(new Poller());
  const queue = keep(new WakeQueue<number>());
  const other = keep(WakeQueue.from<number>(queue.handle));
  poller.add(queue, readable);
  queue.dispose();
  other.send(1);
  expect(poller.wait({ timeout: 5 })).toEqual([]); // nobody could receive from `queue`: it would be ready for ever
  poller.add(other, readable);
  expect(poller.wait({ timeout: 1000 }).map(({ source }) => source)).toEqual([other]);
  expect(other.receiveAll()).toEqual([1]);
  expect(poller.wait({ timeout: 5 })).toEqual([]);
  poller.delete(other);
  poller.add(other, readable);
  other.dispose();
  expect(poller.wait({ timeout: 5 })).toEqual([]);
});

test("a bare number that was closed without a word ends no wait for ever, with and without a duplicate", () => {
  for (const duplicated of [false, true]) {
    const poller = keep(new Poller());
    const pipe = new Pipe();
    const writeFd = fcntl(pipe.writeFd, F_DUPFD_CLOEXEC, 300); // which nobody else is given meanwhile
    pipe.closeWrite();
    poller.add(writeFd, writable);
    expect(ready(poller, writeFd)).toBe("writable");
    const duplicate = duplicated ? fcntl(writeFd, F_DUPFD_CLOEXEC, 100) : -1;
    close(writeFd);
    // poll(2) says that it is none, once; epoll says nothing, or goes on about the duplicate until the number is deleted.
    const [event] = poller.wait({ timeout: 5 });
    if (pipes) expect(event).toEqual({ source: writeFd, readable: false, writable: true, ended: true, error: true });
    else expect(event?.source).toBe(duplicated ? writeFd : undefined);
    if (!pipes) poller.delete(writeFd);
    expect(poller.wait({ timeout: 5 })).toEqual([]);
    expect(poller.wait({ timeout: 5 })).toEqual([]);
    const calls = systemCalls(() => expect(poller.wait({ timeout: 30 })).toEqual([]));
    expect(calls.length).toBeLessThanOrEqual(3);
    pipe.close();
    if (duplicate !== -1) close(duplicate);
  }
});

test("plain files, which epoll refuses, are always ready, as poll has it, and keep nobody else out", () => {
  const poller = keep(new Poller());
  const files = [openSync(import.meta.path, "r"), openSync("/dev/null", "r+")];
  const pipe = keep(new Pipe());
  for (const fd of files) poller.add(fd, both);
  poller.add(pipe.writeFd, writable);
  for (const maxEvents of [1, 2, 3, 64]) {
    const seen = new Set<Pollable>();
    for (let turn = 0; turn < 12; turn++) {
      for (const { source, ...event } of poller.wait({ maxEvents })) {
        seen.add(source);
        expect(event).toEqual({ readable: source !== pipe.writeFd, writable: true, ended: false, error: false });
      }
    }
    expect(seen.size).toBe(3);
  }
  poller.modify(files[0]!, {});
  poller.delete(files[1]!);
  poller.delete(pipe.writeFd);
  expect(poller.wait({ timeout: 5 })).toEqual([]);
  for (const fd of files) close(fd);
});

test("as many ready descriptors as a wait returns do not keep out plain files, nor those them", () => {
  const poller = keep(new Poller());
  const files = Array.from({ length: 3 }, () => openSync(import.meta.path, "r"));
  const pipes = files.map(() => keep(new Pipe()).writeFd);
  for (const fd of files) poller.add(fd, readable);
  for (const fd of pipes) poller.add(fd, writable);
  for (const maxEvents of [1, 2, 3, 4]) {
    const seen = new Set<Pollable>();
    for (let turn = 0; turn < 24; turn++) for (const { source } of poller.wait({ maxEvents })) seen.add(source);
    expect([maxEvents, seen.size]).toEqual([maxEvents, 6]);
  }
  for (const fd of files) close(fd);
});

test("a wait does not sleep while a plain file is ready, though a queue has taken the last place with nothing in it", () => {
  const poller = keep(new Poller());
  const queue = keep(new WakeQueue<number>());
  poller.add(queue, readable);
  expect(poller.wait({ timeout: 1 })).toEqual([]); // from now on who sends rings
  queue.send(1);
  queue.receiveAll();
  const file = openSync(import.meta.path, "r");
  poller.add(file, readable);
  const begin = monotonic();
  expect(poller.wait({ maxEvents: 1, timeout: 1000 }).map(({ source }) => source)).toEqual([file]);
  expect(monotonic() - begin).toBeLessThan(1000);
  close(file);
});

test("a number that is no open descriptor is EBADF when it is added, and is not in the set then", () => {
  const poller = keep(new Poller());
  expect(thrown(() => poller.add(9999, readable))).toMatchObject({ name: "SystemError", code: "EBADF" });
  expect(thrown(() => poller.modify(9999, readable))).toBeInstanceOf(TypeError);
  expect(poller.wait({ timeout: 1 })).toEqual([]);
});

if (!pipes) {
  test("a bare number that was closed, and is a doorbell's when it is deleted, takes no cancel with it", () => {
    const poller = keep(new Poller());
    const number = fcntl(keep(new Pipe()).readFd, F_DUPFD_CLOEXEC, 300);
    poller.add(number, readable);
    close(number);
    fault("eventfd", (eventfd) => (...parameters) => {
      const fd = eventfd(...parameters);
      const moved = fcntl(fd, F_DUPFD_CLOEXEC, number);
      close(fd);
      return moved;
    });
    const cancel = keep(new CancelSource());
    void cancel.handle;
    expect(poller.wait({ cancel, timeout: 1 })).toEqual([]);
    poller.delete(number);
    const begin = monotonic();
    using _hook = aroundEveryCall((call, parameters) => maySleep(call, parameters) && cancel.cancel());
    expect(thrown(() => poller.wait({ cancel, timeout: 1000 }))).toBeInstanceOf(CancelledError);
    expect(monotonic() - begin).toBeLessThan(1000);
  });

  test("a poller that cannot be made, and one that cannot be mended, lose nothing", () => {
    const before = fdTable();
    let broken = true;
    fault(
      "epoll_ctl",
      (real) =>
        (...parameters) =>
          broken ? failWith(ENOSPC) : real(...parameters),
    );
    fault("epoll_create1", (real) => (flags) => (broken && poller !== null ? failWith(EMFILE) : real(flags)));
    let poller: Poller | null = null;
    expect(thrown(() => new Poller())).toMatchObject({ name: "SystemError", syscall: "epoll_ctl" });
    expect(changes(before)).toEqual(NONE);
    broken = false;

    poller = keep(new Poller());
    const number = fcntl(keep(new Pipe()).writeFd, F_DUPFD_CLOEXEC, 300);
    poller.add(number, writable);
    const duplicate = fcntl(number, F_DUPFD_CLOEXEC, 300);
    close(number);
    poller.delete(number); // what stands in the kernel's set is the duplicate's, and cannot be deleted
    poller.notify();
    broken = true;
    expect(thrown(() => poller!.wait({ timeout: 1000 }))).toMatchObject({ name: "SystemError", code: "EMFILE" });
    broken = false;
    const begin = monotonic();
    expect(poller.wait({ timeout: 1000 })).toEqual([]);
    expect(monotonic() - begin).toBeLessThan(1000); // it was notified
    close(duplicate);
  });
}

test("options that are inherited, or have getters, count", () => {
  const poller = keep(new Poller());
  const cancel = keep(new CancelSource());
  cancel.cancel();
  expect(thrown(() => poller.wait(Object.create({ cancel, timeout: 0 })))).toBeInstanceOf(CancelledError);
  const { signal } = new AbortController();
  expect(thrown(() => poller.wait(Object.create({ signal, timeout: 0 })))).toBeInstanceOf(TypeError);
  const nested = {
    timeout: 20,
    get cancel() {
      expect(poller.wait({ timeout: 0 })).toEqual([]);
      return undefined;
    },
  };
  const begin = monotonic();
  expect(poller.wait(nested)).toEqual([]);
  expect(monotonic() - begin).toBeGreaterThanOrEqual(20);
});

test("a bare number in the set that a socket has by now is that socket's from its add on", () => {
  const poller = keep(new Poller());
  const { client, server, listener } = pair(keep);
  let next = client;
  for (let stale = -1; next.fd !== stale; ) {
    // Once more if Bun, which opens a file now and then, has taken the number.
    poller.delete(stale);
    stale = fcntl(client.fd, F_DUPFD_CLOEXEC, 0);
    poller.add(stale, readable);
    close(stale);
    next = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  }
  poller.add(next, writable);
  server.writeSync("for the other");
  expect(poller.wait({ timeout: 1000 })).toEqual([
    { source: next, readable: false, writable: true, ended: false, error: false },
  ]);
});

test("notify ends one wait, is remembered, and counts once however often it is called", () => {
  const poller = keep(new Poller());
  const pipe = keep(new Pipe());
  for (let i = 0; i < 70_000; i++) poller.notify(); // more than a pipe holds
  expect(poller.wait()).toEqual([]);
  expect(thrown(() => poller.wait({ cancel: CancelSource.timeout(5) }))).toBeInstanceOf(TimeoutError);
  poller.add(pipe.writeFd, writable);
  poller.notify();
  expect(ready(poller, pipe.writeFd, 1000)).toBe("writable"); // news and the notification come together
  poller.modify(pipe.writeFd, {});
  const copy = keep(Poller.from(poller.handle));
  copy.notify();
  expect(poller.wait()).toEqual([]);
});

test("a timeout is an empty array, never early; a cancel and a source that timed out are errors", () => {
  const poller = keep(new Poller());
  for (const timeout of [0, -1, new Date(0)]) expect(poller.wait({ timeout })).toEqual([]);
  const begin = performance.now();
  expect(poller.wait({ timeout: 20 })).toEqual([]);
  expect(performance.now() - begin).toBeGreaterThanOrEqual(19.5); // performance.now() drifts from CLOCK_MONOTONIC
  const source = keep(new CancelSource());
  source.cancel("why");
  expect(thrown(() => poller.wait({ cancel: source, timeout: 0 }))).toMatchObject({ name: "AbortError", cause: "why" });
  expect(thrown(() => poller.wait({ cancel: CancelSource.timeout(0) }))).toBeInstanceOf(TimeoutError);
  source.reset();
  expect(poller.wait({ cancel: source, timeout: 5 })).toEqual([]);
});

test("a wrong argument is a TypeError or a RangeError, before any system call", () => {
  const poller = keep(new Poller());
  const { client } = pair(keep);
  const queue = keep(new WakeQueue());
  poller.add(client, readable);
  const calls = systemCalls(() => {
    for (const call of [
      () => poller.add(client, readable),
      () => poller.add(client.fd, readable), // it is there as `client`
      () => poller.add({} as never, readable),
      () => poller.add(null as never, readable),
      () => poller.add("3" as never, readable),
      () => poller.add(-1, readable),
      () => poller.add(0.5, readable),
      () => poller.add(0, undefined as never),
      () => poller.add(0, { readable: 1 } as never),
      () => poller.add(0, { read: true } as never),
      () => poller.add(queue, writable),
      () => poller.modify(0, readable),
      () => poller.wait({ maxEvents: 0 }),
      () => poller.wait({ maxEvents: 1.5 }),
      () => poller.wait({ timeout: Number.NaN }),
      () => poller.wait({ signal: new AbortController().signal } as never),
      () => poller.wait(5 as never),
      () => poller.wait(null as never),
      () => Poller.from({} as never),
      () => Poller.from(queue.handle as never),
      () => WakeQueue.from(poller.handle as never),
      () => TcpListener.from(poller.handle as never),
    ]) {
      expect(["TypeError", "RangeError"]).toContain(thrown(call).name);
    }
  });
  // The last three take handles, which makes what they stand for reachable: no system call either.
  expect(calls).toEqual([]);
});

test("a closed poller is ClosedError in all that it does, and nothing is left of it, nor of what was in it", () => {
  const before = fdTable();
  const poller = new Poller();
  const pipe = new Pipe();
  const queue = new WakeQueue();
  poller.add(pipe.readFd, readable);
  poller.add(queue, readable);
  void poller.handle;
  poller.wait({ timeout: 0 });
  poller.close();
  poller.close();
  for (const use of [
    () => poller.add(0, readable),
    () => poller.modify(pipe.readFd, readable),
    () => poller.delete(pipe.readFd),
    () => poller.wait(),
    () => poller.notify(),
    () => poller.handle,
  ]) {
    expect(thrown(use)).toBeInstanceOf(ClosedError);
  }
  queue.send(1);
  expect(queue.receiveSync()).toBe(1);
  queue.close();
  queue.dispose();
  pipe.close();
  expect(changes(before)).toEqual(NONE);
});
