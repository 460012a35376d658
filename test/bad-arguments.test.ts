import { expect, test } from "bun:test";
import { CancelSource, ClosedError, connectSync, TcpListener, TcpSocket } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { keeper, pair, readText } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
const { signal } = new AbortController();

/** `call` throws this kind of error without a system call. */
function rejected(call: () => unknown, kind: new (...parameters: never[]) => Error): Error {
  let error = new Error();
  const calls = systemCalls(() => {
    error = thrown(call);
  });
  expect(error).toBeInstanceOf(kind);
  expect(error.constructor).toBe(kind);
  expect(error.message.length).toBeGreaterThan(10);
  expect(calls).toEqual([]);
  return error;
}

const there = { hostname: "127.0.0.1", port: 1 };
const connects: [string, unknown, ErrorConstructor][] = [
  ["no options", undefined, TypeError],
  ["null", null, TypeError],
  ['"localhost:80"', "localhost:80", TypeError],
  ["80", 80, TypeError],
  ["an array", ["localhost", 80], TypeError],
  ["no hostname", { port: 1 }, TypeError],
  ["no port", { hostname: "127.0.0.1" }, TypeError],
  ["hostname null", { ...there, hostname: null }, TypeError],
  ["hostname 127", { ...there, hostname: 127 }, TypeError],
  ["an empty hostname", { ...there, hostname: "" }, TypeError],
  ["a hostname with a NUL", { ...there, hostname: "127.0.0.1\0.test" }, TypeError],
  ["port -1", { ...there, port: -1 }, RangeError],
  ["port 65536", { ...there, port: 65536 }, RangeError],
  ["port 1.5", { ...there, port: 1.5 }, RangeError],
  ["port NaN", { ...there, port: Number.NaN }, RangeError],
  ["port Infinity", { ...there, port: Number.POSITIVE_INFINITY }, RangeError],
  ['port "80"', { ...there, port: "80" }, TypeError],
  ["port 80n", { ...there, port: 80n }, TypeError],
  ["port null", { ...there, port: null }, TypeError],
  ["family 5", { ...there, family: 5 }, RangeError],
  ['family "IPv4"', { ...there, family: "IPv4" }, RangeError],
  ["localAddress 5", { ...there, localAddress: 5 }, TypeError],
  ["an empty localAddress", { ...there, localAddress: "" }, TypeError],
  ["a name as localAddress", { ...there, localAddress: "localhost" }, TypeError],
  ["localPort -1", { ...there, localPort: -1 }, RangeError],
  ['localPort "1"', { ...there, localPort: "1" }, TypeError],
  ["noDelay 1", { ...there, noDelay: 1 }, TypeError],
  ['keepAlive "yes"', { ...there, keepAlive: "yes" }, TypeError],
  ["keepAlive 1000", { ...there, keepAlive: 1000 }, TypeError],
  ["keepAlive null", { ...there, keepAlive: null }, TypeError],
  ["keepAlive.idle 0", { ...there, keepAlive: { idle: 0 } }, RangeError],
  ['keepAlive.idle "5"', { ...there, keepAlive: { idle: "5" } }, TypeError],
  ["an unknown key in keepAlive", { ...there, keepAlive: { idel: 5 } }, TypeError],
  ["fallbackDelay -1", { ...there, fallbackDelay: -1 }, RangeError],
  ["fallbackDelay NaN", { ...there, fallbackDelay: Number.NaN }, RangeError],
  ["timeout NaN", { ...there, timeout: Number.NaN }, RangeError],
  ["timeout Date.now() + 1000", { ...there, timeout: Date.now() + 1000 }, RangeError],
  ["an invalid Date as timeout", { ...there, timeout: new Date(Number.NaN) }, RangeError],
  ['timeout "100"', { ...there, timeout: "100" }, TypeError],
  ["timeout 100n", { ...there, timeout: 100n }, TypeError],
  ["timeout {}", { ...there, timeout: {} }, TypeError],
  ["cancel null", { ...there, cancel: null }, TypeError],
  ["cancel {}", { ...there, cancel: {} }, TypeError],
  ["an AbortSignal as cancel", { ...there, cancel: signal }, TypeError],
  ["the handle of a source as cancel", { ...there, cancel: { state: 1 } }, TypeError],
  ["signal", { ...there, signal }, TypeError],
  ["interruptible 1", { ...there, interruptible: 1 }, TypeError],
  ["a lookup function", { ...there, lookup: async () => [] }, TypeError],
];
for (const [what, options, kind] of connects) {
  test(`connectSync with ${what} is a ${kind.name} before any system call`, () => {
    rejected(() => connectSync(options as never), kind);
  });
}

for (const [key, meant] of [
  ["host", "hostname"],
  ["Hostname", "hostname"],
  ["hostnam", "hostname"],
  ["prot", "port"],
  ["timout", "timeout"],
  ["deadline", "timeout"],
  ["connectTimeout", "timeout"],
  ["nodelay", "noDelay"],
  ["keepalive", "keepAlive"],
  ["localaddress", "localAddress"],
  ["cancelToken", "cancel"],
  ["fallBackDelay", "fallbackDelay"],
] as const) {
  test(`connectSync names the unknown key "${key}", and suggests "${meant}"`, () => {
    const { message } = rejected(() => connectSync({ ...there, [key]: 1 } as never), TypeError);
    expect(message).toContain(`"${key}"`);
    expect(message).toContain(`did you mean "${meant}"?`);
  });
}

test("a key that is like none is named, with those that there are", () => {
  const { message } = rejected(() => connectSync({ ...there, colour: 1 } as never), TypeError);
  expect(message).toContain('"colour"');
  expect(message).toContain("hostname");
});

test("what is undefined is as if it were not there", () => {
  const { listener } = pair(keep);
  const optional = [
    "family",
    "localAddress",
    "localPort",
    "noDelay",
    "keepAlive",
    "fallbackDelay",
    "cancel",
    "timeout",
  ];
  const options = Object.fromEntries([...optional, "interruptible"].map((key) => [key, undefined]));
  const { port } = listener.address;
  expect(keep(connectSync({ ...options, hostname: "127.0.0.1", port })).closed).toBe(false);
});

test("an AbortSignal in a …Sync operation is a TypeError that says why, and what to pass instead", () => {
  const { client, listener } = pair(keep);
  for (const call of [
    () => connectSync({ ...there, signal } as never),
    () => client.readSync(new Uint8Array(1), { signal } as never),
    () => client.writeSync("x", { signal } as never),
    () => client.writevSync([], { signal } as never),
    () => listener.acceptSync({ signal } as never),
  ]) {
    const { message } = rejected(call, TypeError);
    expect(message).toContain("blocked");
    expect(message).toContain("CancelSource");
  }
  const { message } = rejected(() => client.readSync(new Uint8Array(1), { cancel: signal } as never), TypeError);
  expect(message).toContain("AbortSignal");
});

test("a source that was disposed is a ClosedError before any system call", () => {
  const { client } = pair(keep);
  const cancel = new CancelSource();
  cancel.dispose();
  rejected(() => client.readSync(new Uint8Array(1), { cancel }), ClosedError);
  rejected(() => connectSync({ ...there, cancel }), ClosedError);
});

test("bad options of an operation are rejected, and nothing is lost: the next one finds everything", () => {
  const { client, server, listener } = pair(keep);
  client.writeSync("all of it");
  const waiting = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  const buffer = new Uint8Array(100);
  const bad: [unknown, ErrorConstructor][] = [
    [null, TypeError],
    [5000, TypeError],
    ["5000", TypeError],
    [{ timeout: "5000" }, TypeError],
    [{ timeout: Number.NaN }, RangeError],
    [{ timeout: Date.now() }, RangeError],
    [{ cancel: 5 }, TypeError],
    [{ signal }, TypeError],
    [{ interruptible: "no" }, TypeError],
  ];
  for (const [options, kind] of bad) {
    rejected(() => server.readSync(buffer, options as never), kind);
    rejected(() => server.writeSync("never sent", options as never), kind);
    rejected(() => server.writevSync([Buffer.from("never"), Buffer.from("sent")], options as never), kind);
    rejected(() => listener.acceptSync(options as never), kind);
  }
  expect([server.bytesRead, server.bytesWritten]).toEqual([0, 0]);
  expect(readText(server)).toBe("all of it");
  expect(keep(listener.acceptSync({ timeout: 5000 })).remoteAddress).toEqual(waiting.localAddress);
  server.writeSync("first");
  expect(readText(client)).toBe("first");
});

test("deadlines, options and switches are checked before any system call, and change nothing", () => {
  const { client } = pair(keep);
  const bad: [() => unknown, ErrorConstructor][] = [
    [() => client.setDeadline(Number.NaN), RangeError],
    [() => client.setReadDeadline(Date.now() + 5000), RangeError],
    [() => client.setWriteDeadline("5" as never), TypeError],
    [() => client.setNoDelay(1 as never), TypeError],
    [() => client.setKeepAlive("on" as never), TypeError],
    [() => client.setKeepAlive({ count: 0 }), RangeError],
    [() => client.getOption("1" as never, 1), TypeError],
    [() => client.getOption(1, -1), RangeError],
    [() => client.getOption(Number.NaN, 1), RangeError],
    [() => client.setOption(1, 1, 1.5), RangeError],
    [() => client.setOption(1, 1, 2 ** 32), RangeError],
    [() => client.setOption(1, 1, true as never), TypeError],
    [() => client.setOption(1, 1, undefined as never), TypeError],
  ];
  for (const [call, kind] of bad) rejected(call, kind);
  client.writeSync("no deadline was set");
});

test("a source is checked as well", () => {
  for (const call of [
    () => new CancelSource({ parent: 5 } as never),
    () => new CancelSource({ parent: null } as never),
    () => CancelSource.any(5 as never),
    () => CancelSource.timeout("5" as never),
  ]) {
    rejected(call, TypeError);
  }
  rejected(() => CancelSource.timeout(Number.NaN), RangeError);
});

test("sockets and listeners have no public constructor", () => {
  for (const Class of [TcpSocket, TcpListener]) {
    for (const parameters of [[], [{}], [{ fd: 0 }], [0]]) {
      const { message } = rejected(() => Reflect.construct(Class, parameters), TypeError);
      expect(message).toContain(Class.name);
    }
  }
});

test("arguments are checked before anything else: before closed, cancelled and expired", () => {
  const { client, listener } = pair(keep);
  using cancel = new CancelSource();
  cancel.cancel();
  rejected(() => connectSync({ ...there, port: 70_000, cancel, timeout: 0 }), RangeError);
  client.close();
  listener.close();
  rejected(() => client.readSync("x" as never, { cancel, timeout: 0 }), TypeError);
  rejected(() => client.writeSync(5 as never), TypeError);
  rejected(() => client.readSync(new Uint8Array(1), { timeout: Number.NaN }), RangeError);
  rejected(() => listener.acceptSync({ timeout: Number.NaN }), RangeError);
  rejected(() => client.setDeadline(Number.NaN), RangeError);
});
