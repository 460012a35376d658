import { expect, test } from "bun:test";
import { CancelSource } from "../../src/index.ts";
import { keeper, pair, readAll, readText } from "../setup.ts";
import { BULK, drain, rejection, turns } from "./outcome.ts";

const keep = keeper();

/** Two ways in which memory goes to somebody else. */
const transfers: [string, (bytes: Uint8Array) => void][] = [
  ["structuredClone", (bytes) => void structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] })],
  [
    "postMessage",
    (bytes) => {
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(bytes, [bytes.buffer as ArrayBuffer]);
      port1.close();
      port2.close();
    },
  ],
  ["ArrayBuffer.transfer", (bytes) => void (bytes.buffer as ArrayBuffer).transfer()],
];

for (const [how, transfer] of transfers) {
  test(`a buffer that goes away by ${how} while its read is pending: TypeError, and nothing is read`, async () => {
    const { client, server } = pair(keep);
    const into = new Uint8Array(8);
    const reading = client.read(into);
    const next = new Uint8Array(8);
    const behind = client.read(next);
    await turns();
    transfer(into);
    expect(into.byteLength).toBe(0);
    server.writeSync("intact");
    const error = await rejection(reading);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("detached");
    expect(await behind).toBe(6);
    expect(Buffer.from(next.subarray(0, 6)).toString()).toBe("intact");
    expect(client.bytesRead).toBe(6);
  });

  test(`a buffer that goes away by ${how} while its write is half way: TypeError, and nothing more of it is sent`, async () => {
    const { client, server } = pair(keep);
    const data = new Uint8Array(BULK.length).fill(1);
    const writing = client.write(data);
    const behind = client.write("behind");
    transfer(data);
    const sent = client.bytesWritten;
    expect(sent).toBeGreaterThan(0);
    const received = drain(server);
    const error = await rejection(writing);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("detached");
    expect(await behind).toBe(6);
    client.closeWrite();
    expect(await received).toBe(sent + 6);
    expect(client.bytesWritten).toBe(sent + 6);
  });

  test(`a buffer that goes away by ${how} while its write stands in the queue: TypeError, and nothing of it is sent`, async () => {
    const { client, server } = pair(keep);
    const data = new Uint8Array(1000).fill(1);
    const writes = [client.write(BULK), client.write(data), client.write("behind")];
    transfer(data);
    const received = drain(server);
    expect(await rejection(writes[1]!)).toBeInstanceOf(TypeError);
    expect([await writes[0], await writes[2]]).toEqual([BULK.length, 6]);
    client.closeWrite();
    expect(await received).toBe(BULK.length + 6);
  });
}

test("one of several buffers that goes away while a writev is half way: TypeError, and nothing more is sent", async () => {
  const { client, server } = pair(keep);
  const size = 64 << 20;
  const chunks = [new Uint8Array(size).fill(1), new Uint8Array(1000).fill(2), new Uint8Array(1000).fill(3)];
  const writing = client.writev(chunks);
  await turns();
  const written = client.bytesWritten;
  expect(written).toBeGreaterThan(0);
  expect(written).toBeLessThan(size);
  structuredClone(chunks[1], { transfer: [chunks[1]!.buffer] });
  const received = drain(server);
  expect(await rejection(writing)).toBeInstanceOf(TypeError);
  client.closeWrite();
  expect(await received).toBe(client.bytesWritten);
});

test("the array given to writev is the caller's again at once: what is done to it changes nothing", async () => {
  const { client, server } = pair(keep);
  const before = client.write(BULK);
  const chunks = [Buffer.from("one "), Buffer.from("two")];
  const writing = client.writev(chunks);
  chunks.push(Buffer.from(" three"));
  chunks[0] = Buffer.from("zero ");
  const into = new Uint8Array(1 << 16);
  for (let left = BULK.length; left > 0; ) left -= await server.read(into.subarray(0, left));
  expect([await before, await writing]).toEqual([BULK.length, 7]);
  expect(readText(server)).toBe("one two");
});

test("a cancelled read is done with its buffer: what comes later is not written into it", async () => {
  const { client, server } = pair(keep);
  using source = new CancelSource();
  const into = new Uint8Array(8);
  const reading = client.read(into, { cancel: source });
  await turns();
  source.cancel();
  server.writeSync("later");
  await rejection(reading);
  await turns();
  expect(into).toEqual(new Uint8Array(8));
  expect(readText(client)).toBe("later");
});

test("reads into shared memory, into a part of a buffer, and into nothing", async () => {
  const { client, server } = pair(keep);
  const shared = new Uint8Array(new SharedArrayBuffer(8));
  const part = Buffer.alloc(8).subarray(2, 5);
  const reads = [client.read(shared), client.read(part)];
  await turns();
  expect(await client.read(new Uint8Array(0), { timeout: 5 }).catch((error) => error.name)).toBe("TimeoutError"); // its turn has not come
  server.writeSync("12345678abcdef");
  expect(await Promise.all(reads)).toEqual([8, 3]);
  expect(await client.read(new Uint8Array(0))).toBe(0); // as read(2) has it
  expect(Buffer.from(shared).toString() + part.toString()).toBe("12345678abc");
  expect(readText(client)).toBe("def");
});

test("writes of nothing, of a string, of shared memory: all of it goes out", async () => {
  const { client, server } = pair(keep);
  const shared = new Uint8Array(new SharedArrayBuffer(3));
  shared.set(Buffer.from("abc"));
  expect(await client.write("")).toBe(0);
  expect(await client.writev([])).toBe(0);
  expect(await client.write("ä€")).toBe(5);
  expect(await client.writev([shared, new Uint8Array(0), Buffer.from("!")])).toBe(4);
  client.closeWrite();
  expect(readAll(server).toString()).toBe("ä€abc!");
});
