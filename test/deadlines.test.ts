import { afterEach, expect, test } from "bun:test";
import { monotonic } from "../ffi/index.ts";
import { CancelSource, connectSync, listen, TimeoutError, type When } from "../src/index.ts";
import { aroundWaits, type Hook } from "./hooks.ts";
import { blackHole, keeper, pair, readText } from "./setup.ts";
import { fdTable, Thread, thrown } from "./thread.ts";

const keep = keeper();
const into = new Uint8Array(64);
const hooks: Hook[] = [];
afterEach(() => {
  for (const hook of hooks.splice(0)) hook[Symbol.dispose]();
});

/** How many milliseconds `operation` took to time out. */
function timeToTimeout(operation: () => unknown): number {
  const before = monotonic();
  expect(thrown(operation)).toBeInstanceOf(TimeoutError);
  return monotonic() - before;
}

test("a read deadline ends a read that waits, and not before its time", () => {
  const { client } = pair(keep);
  const before = monotonic();
  client.setReadDeadline(30);
  expect(timeToTimeout(() => client.readSync(into))).toBeGreaterThan(0);
  expect(monotonic() - before).toBeGreaterThanOrEqual(30);
});

test("an expired deadline stays expired, and beats the data that is there, until it is set anew", () => {
  const { client, server } = pair(keep);
  client.setReadDeadline(1);
  expect(thrown(() => client.readSync(into))).toBeInstanceOf(TimeoutError);
  server.writeSync("here");
  for (let i = 0; i < 3; i++) {
    expect(thrown(() => client.readSync(into))).toMatchObject({
      name: "TimeoutError",
      code: "ERR_TIMEOUT",
      timeout: true,
    });
  }
  client.setReadDeadline(5000);
  expect(readText(client)).toBe("here");
});

test("null clears an expired deadline", () => {
  const { client, server } = pair(keep);
  client.setDeadline(0);
  server.writeSync("here");
  expect(thrown(() => client.readSync(into))).toBeInstanceOf(TimeoutError);
  client.setDeadline(null);
  expect(readText(client)).toBe("here");
});

test("an expired read deadline leaves writing as it was, and an expired write deadline reading", () => {
  const { client, server } = pair(keep);
  client.setReadDeadline(0);
  client.writeSync("out");
  expect(readText(server)).toBe("out");
  client.setReadDeadline(null);
  client.setWriteDeadline(0);
  server.writeSync("in");
  expect(readText(client)).toBe("in");
  const error = thrown(() => client.writeSync("never"));
  expect(error).toMatchObject({ name: "TimeoutError", bytesWritten: 0 });
  expect(thrown(() => client.writevSync([into, into]))).toMatchObject({ name: "TimeoutError", bytesWritten: 0 });
  expect(server.tryRead(into)).toBeNull();
});

test("setDeadline is for both directions, and a later call for one of them changes that one alone", () => {
  const { client, server } = pair(keep);
  client.setDeadline(0);
  expect(thrown(() => client.readSync(into))).toBeInstanceOf(TimeoutError);
  expect(thrown(() => client.writeSync("x"))).toBeInstanceOf(TimeoutError);
  client.setWriteDeadline(null);
  client.writeSync("out");
  expect(readText(server)).toBe("out");
  expect(thrown(() => client.readSync(into))).toBeInstanceOf(TimeoutError);
});

test("a write that does not get all of its bytes out in time says how many it did, and so many arrive", () => {
  const { client, server } = pair(keep);
  const data = new Uint8Array(64 << 20).fill(7);
  client.setWriteDeadline(1000); // generous: it may not pass before the first try
  const { bytesWritten } = thrown(() => client.writeSync(data));
  expect(bytesWritten).toBeGreaterThan(0);
  expect(client.bytesWritten).toBe(bytesWritten!);
  client.closeWrite();
  let received = 0;
  const buffer = new Uint8Array(1 << 20);
  for (let count: number; (count = server.readSync(buffer, { timeout: 5000 })) > 0; ) received += count;
  expect(received).toBe(bytesWritten!);
});

test("of an operation's timeout and the socket's deadline the earlier one wins", () => {
  const { client } = pair(keep);
  client.setReadDeadline(60_000);
  expect(timeToTimeout(() => client.readSync(into, { timeout: 10 }))).toBeLessThan(30_000);
  client.setReadDeadline(10);
  expect(timeToTimeout(() => client.readSync(into, { timeout: 60_000 }))).toBeLessThan(30_000);
  expect(timeToTimeout(() => client.readSync(into, { timeout: null }))).toBeLessThan(30_000);
});

test("an operation's timeout is that operation's alone", () => {
  const { client, server } = pair(keep);
  expect(thrown(() => client.readSync(into, { timeout: 0 }))).toBeInstanceOf(TimeoutError);
  server.writeSync("here");
  expect(readText(client)).toBe("here");
});

test("a Date is a time of day: one that has passed is expired, one to come is waited for", () => {
  const { client } = pair(keep);
  expect(thrown(() => client.readSync(into, { timeout: new Date(Date.now() - 1) }))).toBeInstanceOf(TimeoutError);
  const due = Date.now() + 30;
  client.setReadDeadline(new Date(due));
  expect(thrown(() => client.readSync(into))).toBeInstanceOf(TimeoutError);
  expect(Date.now()).toBeGreaterThanOrEqual(due);
});

test("no deadline ever fires early: 200 waits of 0.1 to 3 ms, by timeout and by deadline", () => {
  const { client, listener } = pair(keep);
  const early: string[] = [];
  for (let i = 0; i < 200; i++) {
    const time = 0.1 + (i % 30) / 10;
    const before = monotonic();
    if (i % 3 === 0) thrown(() => client.readSync(into, { timeout: time }));
    else if (i % 3 === 1) thrown(() => listener.acceptSync({ timeout: time }));
    else {
      client.setReadDeadline(time);
      thrown(() => client.readSync(into));
      client.setReadDeadline(null);
    }
    const took = monotonic() - before;
    if (took < time) early.push(`${time} ms took ${took}`);
  }
  expect(early).toEqual([]);
});

const distant: [string, When][] = [
  ["2**31 - 1", 2 ** 31 - 1],
  ["2**31", 2 ** 31],
  ["2**32", 2 ** 32],
  ["2**53", 2 ** 53],
  ["1e300", 1e300],
  ["Number.MAX_VALUE", Number.MAX_VALUE],
  ["the last Date", new Date(8.64e15)],
];
for (const [what, when] of distant) {
  test(`${what} is far off: no overflow expires it, and none turns it into a wait without an end`, () => {
    const { client, server, listener } = pair(keep);
    const asked: number[] = [];
    let arrive = () => {};
    // The last number of epoll_wait(fd, events, size, timeout) and of poll(fds, size, timeout).
    hooks.push(
      aroundWaits(
        (...parameters) => {
          asked.push(parameters.at(-1) as number);
          arrive();
        },
        () => {},
      ),
    );
    arrive = () => void server.writeSync("!");
    client.setDeadline(when);
    expect(client.readSync(into)).toBe(1);
    expect(client.readSync(into, { timeout: when })).toBe(1);
    client.writeSync("!", { timeout: when });
    arrive = () => {
      arrive = () => {}; // connecting waits, too
      keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, timeout: when }));
    };
    listener.setDeadline(when);
    keep(listener.acceptSync({ timeout: when }));
    expect(asked.length).toBeGreaterThanOrEqual(3);
    for (const timeout of asked) {
      expect(timeout).toBeGreaterThan(2 ** 31 - 60_000);
      expect(timeout).toBeLessThan(2 ** 31);
    }
  });
}

test("operations whose deadline has passed and was cleared wait on: accept, read and write alike", async () => {
  const sources = [1, 2, 3].map(() => keep(new CancelSource()));
  const handles = sources.map((source) => source.handle);
  const thread = await Thread.start("deadlines", "blockAfterClearing", handles);
  for (const source of sources) {
    await thread.blocked();
    source.cancel();
    expect(await thread.next<string>()).toBe("AbortError");
  }
  await thread.join();
});

test("a listener's expired deadline beats a queued client, again and again, and the client is there afterwards", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  listener.setDeadline(-1);
  for (let i = 0; i < 10; i++) expect(thrown(() => listener.acceptSync())).toBeInstanceOf(TimeoutError);
  listener.setDeadline(null);
  keep(listener.acceptSync({ timeout: 5000 }));
});

test("a listener accepts until its deadline, and then times out again and again", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const before = monotonic();
  listener.setDeadline(300);
  keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  keep(listener.acceptSync());
  expect(thrown(() => listener.acceptSync())).toBeInstanceOf(TimeoutError);
  expect(monotonic() - before).toBeGreaterThanOrEqual(300);
  for (let i = 0; i < 10; i++) expect(thrown(() => listener.acceptSync())).toBeInstanceOf(TimeoutError);
  listener.setDeadline(10);
  for (let i = 0; i < 10; i++) expect(thrown(() => listener.acceptSync())).toBeInstanceOf(TimeoutError);
});

test("every deadline ends in a timeout, from a nanosecond to a tenth of a second", () => {
  const { client, listener } = pair(keep);
  for (const time of [1e-6, 1e-3, 0.01, 0.1, 1, 5, 10, 20, 50, 100]) {
    client.setReadDeadline(time);
    expect(thrown(() => client.readSync(into))).toBeInstanceOf(TimeoutError);
    expect(timeToTimeout(() => listener.acceptSync({ timeout: time }))).toBeGreaterThanOrEqual(time);
  }
});

test("a deadline of an hour that is set again before every operation never ends one", () => {
  const { client, server } = pair(keep);
  for (let i = 0; i < 1000; i++) {
    client.setDeadline(3_600_000);
    server.setDeadline(3_600_000);
    client.writeSync("ping");
    expect(server.readSync(into)).toBe(4);
  }
});

test("a connect times out in its time, also a time that has passed, and leaves no descriptor", () => {
  const { port } = blackHole(keep);
  const before = fdTable();
  expect(timeToTimeout(() => connectSync({ hostname: "127.0.0.1", port, timeout: 30 }))).toBeGreaterThanOrEqual(30);
  for (const timeout of [0, -5000, Number.MIN_SAFE_INTEGER, new Date(0)]) {
    expect(timeToTimeout(() => connectSync({ hostname: "127.0.0.1", port, timeout }))).toBeLessThan(30_000);
  }
  expect(fdTable()).toEqual(before);
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, timeout: Number.MAX_SAFE_INTEGER }));
});

test("a deadline of a closed object is a ClosedError, and a wrong one is told first", () => {
  const { client, listener } = pair(keep);
  client.close();
  listener.close();
  expect(thrown(() => client.setDeadline(5)).name).toBe("ClosedError");
  expect(thrown(() => client.setReadDeadline(null)).name).toBe("ClosedError");
  expect(thrown(() => client.setWriteDeadline(0)).name).toBe("ClosedError");
  expect(thrown(() => listener.setDeadline(5)).name).toBe("ClosedError");
  expect(() => listener.setDeadline(Number.NaN)).toThrow(RangeError);
});
