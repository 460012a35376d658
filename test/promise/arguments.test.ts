import { expect, test } from "bun:test";
import { CancelSource, ClosedError, connect, listen, type TcpSocket } from "../../src/index.ts";
import { systemCalls } from "../faults.ts";
import { keeper, pair, readAll, readText } from "../setup.ts";
import { rejection } from "./outcome.ts";

const keep = keeper();
const { signal } = new AbortController();

/** `call` returns a promise, never throws, and enters the kernel for nothing; the promise is rejected with this kind. */
async function rejected(
  call: () => Promise<unknown>,
  kind: new (...parameters: never[]) => Error,
): Promise<Error & { bytesWritten?: number }> {
  let promise: Promise<unknown> | undefined;
  const calls = systemCalls(() => {
    promise = call();
  });
  expect(promise).toBeInstanceOf(Promise);
  const error = await rejection<Error>(promise!);
  expect(error).toBeInstanceOf(kind);
  expect(error.constructor).toBe(kind);
  expect(error.message.length).toBeGreaterThan(10);
  expect(calls).toEqual([]);
  return error;
}

/** Wrong options of any promise operation. */
const options: [string, unknown, ErrorConstructor][] = [
  ["null", null, TypeError],
  ["a number", 5, TypeError],
  ["a string", "5", TypeError],
  ["true", true, TypeError],
  ["a function", () => {}, TypeError],
  ["cancel null", { cancel: null }, TypeError],
  ["cancel {}", { cancel: {} }, TypeError],
  ["an AbortSignal as cancel", { cancel: signal }, TypeError],
  ["an AbortController as cancel", { cancel: new AbortController() }, TypeError],
  ["signal null", { signal: null }, TypeError],
  ["signal {}", { signal: {} }, TypeError],
  ["what looks like an AbortSignal", { signal: { aborted: false, addEventListener() {} } }, TypeError],
  ["a CancelSource as signal", { signal: new CancelSource() }, TypeError],
  ["an AbortController as signal", { signal: new AbortController() }, TypeError],
  ["timeout NaN", { timeout: Number.NaN }, RangeError],
  ["timeout Date.now() + 1000", { timeout: Date.now() + 1000 }, RangeError],
  ["an invalid Date as timeout", { timeout: new Date(Number.NaN) }, RangeError],
  ['timeout "5"', { timeout: "5" }, TypeError],
  ["timeout 5n", { timeout: 5n }, TypeError],
  ["timeout {}", { timeout: {} }, TypeError],
];

for (const [what, value, kind] of options) {
  test(`${what}, as options of read, write, writev, accept and closeGracefully, is a ${kind.name}, and nothing happens`, async () => {
    const { client, server, listener } = pair(keep);
    client.writeSync("all of it");
    const bad = value as never;
    await rejected(() => server.read(new Uint8Array(4), bad), kind);
    await rejected(() => server.write("never sent", bad), kind);
    await rejected(() => server.writev([Buffer.from("never"), Buffer.from("sent")], bad), kind);
    await rejected(() => listener.accept(bad), kind);
    await rejected(() => server.closeGracefully(bad), kind);
    expect([server.bytesRead, server.bytesWritten, server.closed]).toEqual([0, 0, false]);
    expect(readText(server)).toBe("all of it");
    server.writeSync("fine");
    expect(readText(client)).toBe("fine");
  });
}

const there = { hostname: "127.0.0.1", port: 1 };
const connects: [string, unknown, ErrorConstructor][] = [
  ["nothing", undefined, TypeError],
  ["null", null, TypeError],
  ['"localhost:80"', "localhost:80", TypeError],
  ["an array", ["localhost", 80], TypeError],
  ["no hostname", { port: 1 }, TypeError],
  ["no port", { hostname: "127.0.0.1" }, TypeError],
  ["an empty hostname", { ...there, hostname: "" }, TypeError],
  ["port 65536", { ...there, port: 65536 }, RangeError],
  ['port "80"', { ...there, port: "80" }, TypeError],
  ["family 5", { ...there, family: 5 }, RangeError],
  ["a name as localAddress", { ...there, localAddress: "localhost" }, TypeError],
  ["localPort -1", { ...there, localPort: -1 }, RangeError],
  ["noDelay 1", { ...there, noDelay: 1 }, TypeError],
  ["keepAlive 1000", { ...there, keepAlive: 1000 }, TypeError],
  ["fallbackDelay -1", { ...there, fallbackDelay: -1 }, RangeError],
  ["lookup null", { ...there, lookup: null }, TypeError],
  ['lookup "dns"', { ...there, lookup: "dns" }, TypeError],
  ["interruptible", { ...there, interruptible: true }, TypeError],
  ["an unknown key", { ...there, timout: 5 }, TypeError],
  ["path and hostname", { ...there, path: "/run/x" }, TypeError],
  ["path 5", { path: 5 }, TypeError],
  ["an empty path", { path: "" }, TypeError],
  ...options
    .filter(([, value]) => typeof value === "object" && value !== null)
    .map(
      ([what, value, kind]) => [what, { ...there, ...(value as object) }, kind] as [string, unknown, ErrorConstructor],
    ),
];
for (const [what, value, kind] of connects) {
  test(`connect with ${what} is rejected with a ${kind.name} before any system call`, async () => {
    await rejected(() => connect(value as never), kind);
  });
}

/** Bytes whose memory has gone to somebody else. */
function detached(): Uint8Array {
  const bytes = new Uint8Array(8);
  structuredClone(bytes, { transfer: [bytes.buffer] });
  return bytes;
}
const noBytes: [string, unknown][] = [
  ["undefined", undefined],
  ["null", null],
  ["a number", 16],
  ["an array of numbers", [1, 2, 3]],
  ["an ArrayBuffer", new ArrayBuffer(8)],
  ["a DataView", new DataView(new ArrayBuffer(8))],
  ["a Uint16Array", new Uint16Array(8)],
  ["an object with a length", { length: 8, byteLength: 8 }],
  ["a detached Uint8Array", detached()],
];
const forms: Record<string, (socket: TcpSocket, bytes: never) => Promise<number>> = {
  read: (socket, bytes) => socket.read(bytes),
  write: (socket, bytes) => socket.write(bytes),
  writev: (socket, bytes) => socket.writev(bytes),
  "writev, among good ones,": (socket, bytes) => socket.writev([Buffer.from("good"), bytes, Buffer.from("good")]),
};
for (const [name, form] of Object.entries(forms)) {
  test(`${name} of what is no bytes is rejected with a TypeError before any system call`, async () => {
    const { client, server } = pair(keep);
    client.writeSync("still there");
    for (const [, value] of noBytes) await rejected(() => form(server, value as never), TypeError);
    if (name !== "write") await rejected(() => form(server, "text" as never), TypeError);
    expect([server.bytesRead, server.bytesWritten]).toEqual([0, 0]);
    expect(readText(server)).toBe("still there");
    server.closeWrite();
    expect(readAll(client).length).toBe(0);
  });
}

test("wrong arguments are found while operations are pending, too, and do not get into their queue", async () => {
  const { client, server } = pair(keep);
  const into = new Uint8Array(8);
  const first = client.read(into);
  await rejected(() => client.read("x" as never), TypeError);
  await rejected(() => client.read(into, { timeout: Number.NaN }), RangeError);
  const second = client.read(into.subarray(4));
  server.writeSync("abc");
  expect(await first).toBe(3);
  server.writeSync("d");
  expect(await second).toBe(1);
});

test("who wins at entry: arguments, closed, signal, cancel, the socket's own source, the deadline", async () => {
  const { client } = pair(keep);
  const into = new Uint8Array(1);
  using cancel = new CancelSource();
  cancel.cancel("the source");
  const aborted = AbortSignal.abort("the signal");
  const all = { cancel, signal: aborted, timeout: 0 };
  client.cancelSource.cancel("the socket's");
  client.setDeadline(0);
  const causes = async (read: Promise<number>) => {
    const error = await rejection<Error | string>(read);
    return typeof error === "string" ? error : (error.cause ?? error.name);
  };
  expect(await causes(client.read("x" as never, all))).toBe("TypeError");
  expect(await causes(client.read(into, all))).toBe("the signal");
  expect(await causes(client.read(into, { cancel, timeout: 0 }))).toBe("the source");
  expect(await causes(client.read(into, { timeout: 0 }))).toBe("the socket's");
  client.cancelSource.reset();
  expect(await causes(client.read(into))).toBe("TimeoutError");
  client.close();
  expect(await causes(client.read(into, all))).toBe("ClosedError");
  expect(await causes(client.read(into, { ...all, timeout: Number.NaN }))).toBe("RangeError");
  expect(await causes(client.read(into, { ...all, signal: 5 as never }))).toBe("TypeError");
});

test("what becomes of the options after the call is the caller's own business", async () => {
  const [here, there] = [keep(listen({ hostname: "127.0.0.1" })), keep(listen({ hostname: "127.0.0.1" }))];
  const { address } = here;
  let looks = 0;
  const options = {
    hostname: "some.test",
    port: address.port,
    keepAlive: { idle: 100 },
    lookup: async () => [address],
    get noDelay() {
      looks++;
      return true;
    },
  };
  const first = connect(options);
  options.port = there.address.port;
  options.keepAlive.idle = -1;
  expect(keep(await first).remoteAddress.port).toBe(address.port);
  expect(looks).toBe(1);
});

test("a getter of the options may dispose the source: that is ClosedError, and no other source's loss", async () => {
  const { client } = pair(keep);
  const source = new CancelSource();
  void source.handle;
  const options = {
    cancel: source,
    get timeout() {
      source.dispose();
      return 5;
    },
  };
  expect(await rejection(client.read(new Uint8Array(1), options))).toBeInstanceOf(ClosedError);
  const next = keep(new CancelSource()); // in the memory that was the other one's
  const { handle } = next;
  await rejection(client.read(new Uint8Array(1), { timeout: 10 }));
  expect(next.cancel()).toBe(true);
  CancelSource.from(handle).dispose();
});
