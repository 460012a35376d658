import { expect, test } from "bun:test";
import { keeper, pair } from "./setup.ts";
import { until } from "./thread.ts";

const keep = keeper();
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

test("a read returns what is there, and leaves what does not fit for the next one", () => {
  const { client, server } = pair(keep);
  client.writeSync("0123456789");
  const small = new Uint8Array(4);
  const read = () => text(small.subarray(0, server.readSync(small)));
  expect([read(), read(), read()]).toEqual(["0123", "4567", "89"]);
});

test("a read touches its own part of the buffer only", () => {
  const { client, server } = pair(keep);
  client.writeSync("abcdef");
  const buffer = Buffer.from("..........");
  expect(server.readSync(buffer.subarray(3, 6))).toBe(3);
  expect(buffer.toString()).toBe("...abc....");
  expect(server.readSync(new Uint8Array(buffer.buffer, buffer.byteOffset + 8, 2))).toBe(2);
  expect(buffer.toString()).toBe("...abc..de");
});

test("at the peer's end a read returns 0, again and again", () => {
  const { client, server } = pair(keep);
  client.writeSync("last words");
  client.close();
  const buffer = new Uint8Array(100);
  expect(text(buffer.subarray(0, server.readSync(buffer)))).toBe("last words");
  for (let i = 0; i < 5; i++) expect(server.readSync(buffer, { timeout: 1000 })).toBe(0);
  expect(server.tryRead(buffer)).toBe(0);
  expect(server.closed).toBe(false);
});

test("a read into an empty buffer returns 0 at once, takes nothing, and is not the end", () => {
  const { client, server } = pair(keep);
  const empty = new Uint8Array(0);
  const buffer = new Uint8Array(10);
  expect(server.readSync(empty)).toBe(0);
  expect(server.tryRead(empty)).toBe(0);
  client.writeSync("data");
  expect(server.readSync(empty)).toBe(0);
  expect(server.readSync(buffer)).toBe(4);
  expect(server.bytesRead).toBe(4);
});

test("tryRead says null when there is nothing, then the count, then null again", async () => {
  const { client, server } = pair(keep);
  const buffer = new Uint8Array(10);
  expect(server.tryRead(buffer)).toBeNull();
  client.writeSync("abc");
  let count: number | null = null;
  await until("three bytes to cross the loopback", () => (count = server.tryRead(buffer)) !== null);
  expect(count as unknown).toBe(3);
  expect(text(buffer.subarray(0, 3))).toBe("abc");
  expect(server.tryRead(buffer)).toBeNull();
});

test("tryWrite takes what fits, says null when nothing does, and what it took arrives", () => {
  const { client, server } = pair(keep);
  const chunk = new Uint8Array(1 << 20).fill(7);
  let taken = 0;
  for (let count: number | null; (count = client.tryWrite(chunk)) !== null; ) {
    expect(count).toBeGreaterThan(0);
    taken += count;
  }
  expect(taken).toBeGreaterThan(0);
  expect(client.tryWrite(chunk)).toBeNull();
  expect(client.tryWrite(new Uint8Array(0))).toBe(0);
  expect(client.bytesWritten).toBe(taken);
  client.closeWrite();
  const buffer = new Uint8Array(1 << 20);
  while (server.readSync(buffer, { timeout: 5000 }) > 0);
  expect(server.bytesRead).toBe(taken);
});

test("bytesRead and bytesWritten count each direction of each end", () => {
  const { client, server } = pair(keep);
  expect([client.bytesRead, client.bytesWritten, server.bytesRead, server.bytesWritten]).toEqual([0, 0, 0, 0]);
  const buffer = new Uint8Array(100);
  client.writeSync("four");
  client.writevSync([Buffer.from("and"), Buffer.from("three")]);
  expect(client.tryWrite(Buffer.from("!"))).toBe(1);
  while (server.bytesRead < 13) server.readSync(buffer, { timeout: 5000 });
  server.writeSync("yes");
  expect(client.readSync(buffer)).toBe(3);
  expect([client.bytesRead, client.bytesWritten, server.bytesRead, server.bytesWritten]).toEqual([3, 13, 13, 3]);
  client.close();
  expect([client.bytesRead, client.bytesWritten]).toEqual([3, 13]);
});
