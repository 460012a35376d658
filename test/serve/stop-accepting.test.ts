import { expect, test } from "bun:test";
import { join } from "node:path";
import { monotonic } from "../../ffi/index.ts";
import { constants } from "../../ffi/platform/index.ts";
import { ClosedError, connect, connectSync, listen, type TcpListener, TimeoutError } from "../../src/index.ts";
import { failWith, faults } from "../faults.ts";
import { changes, NONE } from "../leaks.ts";
import { keeper, temporaryDirectory } from "../setup.ts";
import { fdTable, thrown } from "../thread.ts";
import { unless } from "../tool.ts";
import { dial, getsIn, hostname, LIMIT, rejection } from "./clients.ts";

const keep = keeper();
const fault = faults();
const onLinux = unless(process.platform === "linux" ? null : "only Linux can drop the first packet of a handshake");

const open = (): TcpListener => keep(listen({ hostname }));

const noFilter = (): void =>
  fault("setsockopt", (setsockopt) => (fd, level, name, value, size) => {
    if (level === constants.SOL_SOCKET && name === constants.SO_ATTACH_FILTER) return failWith(constants.ENOPROTOOPT);
    return setsockopt(fd, level, name, value, size);
  });

for (const [how, kernel] of (["accept", "acceptSync", "tryAccept", "iteration"] as const).flatMap((how) => [
  [how, "a kernel"] as const,
  [how, "a kernel without filters"] as const,
])) {
  test(`${how} takes all that are in the queue, and is at its end when that has stayed empty, on ${kernel}`, async () => {
    if (kernel === "a kernel without filters") noFilter();
    const listener = open();
    const clients = Array.from({ length: 20 }, () => keep(connectSync({ hostname, port: listener.address.port })));
    listener.stopAccepting();
    const ports: number[] = [];
    let error: unknown;
    if (how === "iteration") {
      for await (const socket of listener) ports.push(keep(socket).remoteAddress.port);
      error = await rejection(listener.accept());
    } else {
      try {
        while (!listener.closed) {
          const socket = how === "accept" ? await listener.accept() : listener[how]();
          if (socket !== null) ports.push(keep(socket).remoteAddress.port);
        }
      } catch (thrown) {
        error = thrown;
      }
    }
    expect(ports).toEqual(clients.map((client) => client.localAddress.port));
    expect(error).toBeInstanceOf(ClosedError);
    expect((error as Error).message).toContain("stop accepting");
    expect(listener.closed).toBe(true);
    listen({ hostname, port: listener.address.port }).close(); // the port is free
  });
}

for (const [what, settle, least] of [
  ["50 ms unless told otherwise", undefined, 50],
  ["what it is told", 120, 120],
  ["nothing if that is 0", 0, 0],
] as const) {
  test(`the settle time is ${what}, and begins anew with each connection`, async () => {
    const listener = open();
    keep(await dial(listener));
    const begin = monotonic();
    listener.stopAccepting({ settle });
    keep(await listener.accept());
    const taken = monotonic();
    await rejection(listener.accept());
    expect(monotonic() - begin).toBeGreaterThanOrEqual(least);
    expect(monotonic() - taken).toBeGreaterThanOrEqual(least - 1); // noted just before
  });
}

test("on a kernel without filters one that comes within the settle time is taken as well", async () => {
  noFilter();
  const listener = open();
  listener.stopAccepting({ settle: 200 });
  const first = keep(await dial(listener));
  expect(keep(await listener.accept()).remoteAddress.port).toBe(first.localAddress.port);
  expect(await rejection(listener.accept())).toBeInstanceOf(ClosedError);
  expect((await rejection(dial(listener.address.port))).code).toBe("ECONNREFUSED");
});

test("the settle time is twice the longest round trip of a client, one that was accepted before it included", async () => {
  const listener = open();
  fault("getsockopt", (honest) => (fd, level, name, value, length) => {
    const result = honest(fd, level, name, value, length);
    if (name === constants.TCP_INFO) (value as Int32Array)[17] = 60_000; // tcpi_rtt, in microseconds
    return result;
  });
  keep(await dial(listener));
  keep(await listener.accept());
  const begin = monotonic();
  listener.stopAccepting();
  await rejection(listener.accept());
  expect(monotonic() - begin).toBeGreaterThanOrEqual(120);
});

test("accepts that wait already end by themselves, all of them, and so do blocking ones", async () => {
  const listener = open();
  const begin = monotonic();
  const pending = [listener.accept(), listener.accept(), listener.accept()];
  listener.stopAccepting();
  for (const accept of pending) expect(await rejection(accept)).toBeInstanceOf(ClosedError);
  expect(monotonic() - begin).toBeGreaterThanOrEqual(50);

  const other = open();
  other.stopAccepting();
  expect(thrown(() => other.acceptSync())).toBeInstanceOf(ClosedError);
});

test("an iteration that waits ends without an error", async () => {
  const listener = open();
  const client = keep(await dial(listener));
  const ports: number[] = [];
  for await (const socket of listener) {
    ports.push(keep(socket).remoteAddress.port);
    setImmediate(() => listener.stopAccepting());
  }
  expect(ports).toEqual([client.localAddress.port]);
});

test("deadlines, cancels and signals end an accept as ever while the listener is stopping", async () => {
  const listener = open();
  listener.stopAccepting({ settle: LIMIT });
  expect(await rejection(listener.accept({ timeout: 1 }))).toBeInstanceOf(TimeoutError);
  expect(thrown(() => listener.acceptSync({ timeout: 1 }))).toBeInstanceOf(TimeoutError);
  const signal = AbortSignal.abort("enough");
  expect(await rejection<unknown>(listener.accept({ signal }))).toBe("enough");
  const accept = listener.accept();
  listener.cancel();
  expect((await rejection(accept)).name).toBe("AbortError");
  const last = listener.accept();
  listener.stopAccepting({ settle: 0 }); // a later call may change it
  expect(await rejection(last)).toBeInstanceOf(ClosedError);
  listener.stopAccepting(); // and one after the end does nothing
});

onLinux("a new client is kept out: it neither gets in nor is refused, until the listener is closed", async () => {
  const listener = open();
  expect(await getsIn(listener)).toBe(true);
  listener.stopAccepting({ settle: LIMIT });
  expect(await getsIn(listener)).toBe(false);
  const waiting = dial(listener);
  listener.close();
  expect((await rejection(waiting)).code).toBe("ECONNREFUSED"); // when its SYN comes again
});

onLinux(
  "connections of a listener that has stopped go on: the filter that they inherit lets their packets through",
  async () => {
    const listener = open();
    const client = keep(await dial(listener));
    listener.stopAccepting({ settle: 0 });
    const server = keep(await listener.accept());
    await rejection(listener.accept());
    const data = new Uint8Array(1 << 20).fill(7);
    const write = server.write(data).then(() => server.closeWrite());
    let count = 0;
    const buffer = new Uint8Array(1 << 16);
    for (let n: number; (n = await client.read(buffer, { timeout: LIMIT })) > 0; ) count += n;
    await write;
    expect(count).toBe(data.byteLength);
  },
);

test("the handle of a listener that is stopping is not given out", () => {
  const listener = open();
  listener.stopAccepting();
  expect(thrown(() => listener.handle)).toBeInstanceOf(ClosedError);
});

for (const wanted of [undefined, LIMIT]) {
  test(`a Unix listener has no handshakes: it refuses at once, and ends when its queue is empty${wanted ? ", whatever settle is" : ""}`, async () => {
    const path = join(keep(temporaryDirectory()).path, "socket");
    const listener = keep(listen({ path }));
    const clients = await Promise.all(Array.from({ length: 5 }, () => connect({ path })));
    listener.stopAccepting({ settle: wanted });
    if (process.platform === "linux") expect((await rejection(connect({ path }))).code).toBe("ECONNREFUSED");
    let taken = 0;
    for await (const socket of listener) {
      taken++;
      await socket.write("hello");
      socket.close();
    }
    expect(taken).toBe(5);
    for (const client of clients) {
      const buffer = new Uint8Array(16);
      expect(await client.read(buffer, { timeout: LIMIT })).toBe(5);
      client.close();
    }
    expect(await Bun.file(path).exists()).toBe(false);
  });
}

test("nothing is left of a hundred stops", async () => {
  const stop = async () => {
    const listener = listen({ hostname });
    const client = await dial(listener);
    void listener.handle;
    listener.stopAccepting({ settle: 0 });
    for await (const socket of listener) socket.close();
    client.close();
  };
  await stop();
  const before = fdTable();
  for (let i = 0; i < 100; i++) await stop();
  expect(changes(before)).toEqual(NONE);
});

test("wrong options are a TypeError or a RangeError, and stop nothing", () => {
  const listener = open();
  const stop = (options: unknown) => thrown(() => listener.stopAccepting(options as { settle: number }));
  expect(stop({ settel: 5 }).message).toContain('did you mean "settle"');
  expect(stop({ settle: -1 })).toBeInstanceOf(RangeError);
  expect(stop({ settle: Number.NaN })).toBeInstanceOf(RangeError);
  expect(stop({ settle: "50" })).toBeInstanceOf(TypeError);
  expect(stop(null)).toBeInstanceOf(TypeError);
  expect(typeof listener.handle).toBe("object");
});
