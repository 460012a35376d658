import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { SO_SNDBUF, SOL_SOCKET } from "../ffi/index.ts";
import { listen, TimeoutError } from "../src/index.ts";
import type { Transfer } from "./bodies/transfer.ts";
import { faults } from "./faults.ts";
import { keeper, pair, readAll } from "./setup.ts";
import { Thread, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();

test("a string is written as UTF-8, and its bytes are counted", () => {
  const { client, server } = pair(keep);
  const string = "grüße, 世界, 🎉";
  expect(client.writeSync(string)).toBe(Buffer.byteLength(string));
  client.closeWrite();
  expect(readAll(server).toString()).toBe(string);
});

test("writing nothing returns 0 and sends nothing", () => {
  const { client, server } = pair(keep);
  expect(client.writeSync("")).toBe(0);
  expect(client.writeSync(new Uint8Array(0))).toBe(0);
  expect(client.writevSync([])).toBe(0);
  expect(client.writevSync([new Uint8Array(0), new Uint8Array(0)])).toBe(0);
  expect(client.bytesWritten).toBe(0);
  expect(server.tryRead(new Uint8Array(1))).toBeNull();
});

test("writevSync passes over empty chunks, wherever they stand", () => {
  const { client, server } = pair(keep);
  const [empty, a, b] = [new Uint8Array(0), Buffer.from("a"), Buffer.from("bc")];
  for (const [chunks, expected] of [
    [[empty, a, b], "abc"],
    [[a, empty, empty, b], "abc"],
    [[a, b, empty], "abc"],
    [[empty, empty, a], "a"],
    [[empty, b, empty], "bc"],
  ] as const) {
    expect(client.writevSync([...chunks])).toBe(expected.length);
    const buffer = new Uint8Array(10);
    expect(Buffer.from(buffer.subarray(0, server.readSync(buffer))).toString()).toBe(expected);
  }
});

test("writevSync writes parts of larger buffers, as they are", () => {
  const { client, server } = pair(keep);
  const whole = Buffer.from("0123456789");
  client.writevSync([whole.subarray(1, 3), whole.subarray(0, 1), whole.subarray(7)]);
  client.closeWrite();
  expect(readAll(server).toString()).toBe("120789");
});

test("more chunks than one call takes go out in order, with as many calls as it needs", () => {
  const { client, server } = pair(keep);
  const vectors: number[] = [];
  fault("sendmsg", (sendmsg) => (fd, message, flags) => {
    vectors.push(new Int32Array((message as Uint8Array).buffer)[6]!); // msg_iovlen
    return sendmsg(fd, message, flags);
  });
  const chunks = Array.from({ length: 3000 }, (_, i) => Buffer.from(`${i},`));
  client.writevSync(chunks);
  client.closeWrite();
  expect(readAll(server).toString()).toBe(Buffer.concat(chunks).toString());
  expect(vectors).toEqual([1024, 1024, 952]);
});

test("chunks that the kernel takes in part go out once each and in order", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const thread = await Thread.start("transfer", "transfer", { port: listener.address.port });
  const socket = keep(listener.acceptSync({ timeout: 20_000 }));
  socket.setOption(SOL_SOCKET, SO_SNDBUF, 4096);
  const taken: number[] = [];
  fault("sendmsg", (sendmsg) => (...parameters) => {
    const count = sendmsg(...parameters);
    if (count > 0) taken.push(count);
    return count;
  });
  // Sizes that never meet a boundary of the kernel's, and empty ones between them.
  const chunks = Array.from({ length: 800 }, (_, i) => Buffer.alloc((i * 7919) % 4099, i));
  const total = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  expect(socket.writevSync(chunks, { timeout: 30_000 })).toBe(total);
  socket.close();
  const { received, bytesRead } = await thread.next<Transfer>();
  expect(bytesRead).toBe(total);
  expect(received).toBe(createHash("sha256").update(Buffer.concat(chunks)).digest("hex"));
  expect(taken.length).toBeGreaterThan(20);
  await thread.join();
});

test("one buffer that the kernel takes in part arrives whole", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const thread = await Thread.start("transfer", "transfer", { port: listener.address.port });
  const socket = keep(listener.acceptSync({ timeout: 20_000 }));
  socket.setOption(SOL_SOCKET, SO_SNDBUF, 4096);
  const data = Buffer.alloc(700_001, "all of it; ");
  expect(socket.writeSync(data, { timeout: 30_000 })).toBe(data.byteLength);
  socket.close();
  const { received } = await thread.next<Transfer>();
  expect(received).toBe(createHash("sha256").update(data).digest("hex"));
  await thread.join();
});

for (const [form, write] of [
  ["writeSync", "one"],
  ["writevSync", "many"],
] as const) {
  test(`a ${form} that times out says how many bytes the peer will get`, () => {
    const { client, server } = pair(keep);
    const data = new Uint8Array(32 << 20);
    const chunks = Array.from({ length: 32 }, (_, i) => data.subarray(i << 20, (i + 1) << 20));
    const before = client.writeSync("before"); // what earlier writes sent is not this one's
    const call = () =>
      write === "one" ? client.writeSync(data, { timeout: 50 }) : client.writevSync(chunks, { timeout: 50 });
    const error = thrown(call);
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error.bytesWritten).toBeGreaterThan(0);
    expect(client.bytesWritten).toBe(before + error.bytesWritten!);
    client.closeWrite();
    expect(readAll(server).byteLength).toBe(client.bytesWritten);
  });
}
