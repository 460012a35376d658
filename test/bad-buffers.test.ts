import { expect, test } from "bun:test";
import type { TcpSocket } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { keeper, pair, readAll, readText } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();

/** Bytes whose memory has gone to somebody else. */
function detached(length = 8): Uint8Array {
  const bytes = new Uint8Array(length);
  structuredClone(bytes, { transfer: [bytes.buffer] });
  return bytes;
}

const noBytes: [string, unknown][] = [
  ["undefined", undefined],
  ["null", null],
  ["a number", 16],
  ["an array", [1, 2, 3]],
  ["an ArrayBuffer", new ArrayBuffer(8)],
  ["a SharedArrayBuffer", new SharedArrayBuffer(8)],
  ["a DataView", new DataView(new ArrayBuffer(8))],
  ["a Uint16Array", new Uint16Array(8)],
  ["an Int8Array", new Int8Array(8)],
  ["a Float64Array", new Float64Array(8)],
  ["an object with a length", { length: 8, byteLength: 8 }],
  ["a detached Uint8Array", detached()],
  ["a part of a detached Uint8Array", detachedPart()],
];
function detachedPart(): Uint8Array {
  const whole = new Uint8Array(16);
  const part = whole.subarray(4, 8);
  structuredClone(whole, { transfer: [whole.buffer] });
  return part;
}

const reads: Record<string, (socket: TcpSocket, into: never) => unknown> = {
  readSync: (socket, into) => socket.readSync(into, { timeout: 1000 }),
  tryRead: (socket, into) => socket.tryRead(into),
};
const writes: Record<string, (socket: TcpSocket, data: never) => unknown> = {
  writeSync: (socket, data) => socket.writeSync(data, { timeout: 1000 }),
  tryWrite: (socket, data) => socket.tryWrite(data),
  writevSync: (socket, data) => socket.writevSync(data, { timeout: 1000 }),
  "writevSync of one among good ones": (socket, data) =>
    socket.writevSync([Buffer.from("good"), data, Buffer.from("good")], { timeout: 1000 }),
};

for (const [name, read] of Object.entries(reads)) {
  for (const [what, value] of [...noBytes, ["a string", "text"] as const]) {
    test(`${name} into ${what} is a TypeError before any system call, and nothing is lost`, () => {
      const { client, server } = pair(keep);
      client.writeSync("still there");
      const calls = systemCalls(() => expect(thrown(() => read(server, value as never))).toBeInstanceOf(TypeError));
      expect(calls).toEqual([]);
      expect(server.bytesRead).toBe(0);
      expect(readText(server)).toBe("still there");
    });
  }
}

for (const [name, write] of Object.entries(writes)) {
  for (const [what, value] of noBytes) {
    if (name === "writevSync" && Array.isArray(value)) continue; // of numbers: below
    test(`${name} of ${what} is a TypeError before any system call, and nothing is sent`, () => {
      const { client, server } = pair(keep);
      const calls = systemCalls(() => expect(thrown(() => write(client, value as never))).toBeInstanceOf(TypeError));
      expect(calls).toEqual([]);
      expect(client.bytesWritten).toBe(0);
      client.writeSync("and now something good");
      client.closeWrite();
      expect(readAll(server).toString()).toBe("and now something good");
    });
  }
}

test("tryWrite and writevSync take no strings, alone or in an array", () => {
  const { client } = pair(keep);
  const calls = systemCalls(() => {
    for (const call of [
      () => client.tryWrite("text" as never),
      () => client.writevSync("text" as never),
      () => client.writevSync(["text"] as never),
      () => client.writevSync([1, 2, 3] as never),
      () => client.writevSync(new Uint8Array(3) as never),
      () => client.writevSync(new Set([new Uint8Array(3)]) as never),
    ]) {
      expect(thrown(call)).toBeInstanceOf(TypeError);
    }
  });
  expect(calls).toEqual([]);
});

test("what is a Uint8Array works: a Buffer, a part of one, one over shared memory", () => {
  const { client, server } = pair(keep);
  const shared = new Uint8Array(new SharedArrayBuffer(6));
  shared.set(Buffer.from("shared"));
  client.writevSync([Buffer.from("Buffer "), Buffer.from("a part of one ").subarray(2), shared]);
  const into = new Uint8Array(new SharedArrayBuffer(100));
  const count = server.readSync(into, { timeout: 1000 });
  expect(Buffer.from(into.slice(0, count)).toString()).toBe("Buffer part of one shared");
});
