import { expect, test } from "bun:test";
import { CancelledError, CancelSource, ClosedError, connectSync, listen, TimeoutError } from "../../src/index.ts";
import { keeper, pair, readAll } from "../setup.ts";
import { BULK, drain, Log, rejection, turns } from "./outcome.ts";

const keep = keeper();
const one = () => new Uint8Array(1);

test("reads are served first in, first out", async () => {
  const { client, server } = pair(keep);
  const log = new Log();
  const buffers = Array.from({ length: 50 }, one);
  const all = buffers.map((into, i) => log.add(`read ${i}`, client.read(into)));
  server.writeSync(Uint8Array.from({ length: 50 }, (_, i) => i));
  await Promise.all(all);
  expect(log.entries).toEqual(buffers.map((_, i) => `read ${i}: 1`));
  expect(buffers.map(([byte]) => byte!)).toEqual(buffers.map((_, i) => i));
});

test("writes are served first in, first out, and none is mixed with another", async () => {
  const { client, server } = pair(keep);
  const log = new Log();
  const size = 300_000;
  const all = Array.from({ length: 30 }, (_, i) => log.add(`write ${i}`, client.write(new Uint8Array(size).fill(i))));
  client.closeWrite();
  const into = new Uint8Array(1 << 16);
  let received = 0;
  for (let count: number; (count = await server.read(into)) > 0; ) {
    for (let i = 0; i < count; i++, received++) {
      const writer = Math.floor(received / size);
      if (into[i] !== writer) throw new Error(`byte ${received} is of write ${into[i]}, not of ${writer}`);
    }
  }
  await Promise.all(all);
  expect(received).toBe(30 * size);
  expect(log.entries).toEqual(all.map((_, i) => `write ${i}: ${size}`));
});

test("accepts are served first in, first out, each with a connection of its own", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const log = new Log();
  const accepts = Array.from({ length: 5 }, () => listener.accept());
  const all = accepts.map((accept, i) =>
    log.add(
      `accept ${i}`,
      accept.then((socket) => keep(socket).remoteAddress.port),
    ),
  );
  const ports = accepts.map(() => {
    const { port } = listener.address;
    return keep(connectSync({ hostname: "127.0.0.1", port })).localAddress.port;
  });
  await Promise.all(all);
  expect(log.entries).toEqual(ports.map((port, i) => `accept ${i}: ${port}`));
});

test("reading and writing wait in queues of their own", async () => {
  const { client, server } = pair(keep);
  const into = new Uint8Array(8);
  const reading = client.read(into);
  expect(await client.write("not held up")).toBe(11); // a read that is pending holds no write up
  const writing = client.write(BULK);
  server.writeSync("here");
  expect(await reading).toBe(4);
  client.cancel();
  const bytesWritten = client.bytesWritten - "not held up".length;
  expect(await rejection(writing)).toMatchObject({ name: "AbortError", bytesWritten });
});

for (const place of [0, 1, 2]) {
  test(`a cancelled read leaves place ${place} of the queue at once, and the others are served in order`, async () => {
    const { client, server } = pair(keep);
    const log = new Log();
    using source = new CancelSource();
    const buffers = [one(), one(), one()];
    const all = buffers.map((into, i) =>
      log.add(`${i}`, client.read(into, i === place ? { cancel: source } : undefined)),
    );
    source.cancel();
    await all[place];
    expect(log.entries).toEqual([`${place}: AbortError`]); // nothing has come yet
    server.writeSync("ab");
    await Promise.all(all);
    const others = [0, 1, 2].filter((i) => i !== place);
    expect(log.entries.slice(1)).toEqual(others.map((i) => `${i}: 1`));
    expect(others.map((i) => String.fromCharCode(buffers[i]![0]!)).join("")).toBe("ab");
    expect(buffers[place]![0]).toBe(0);
  });

  test(`an expired read leaves place ${place} of the queue at once, and the others are served in order`, async () => {
    const { client, server } = pair(keep);
    const log = new Log();
    const buffers = [one(), one(), one()];
    const all = buffers.map((into, i) => log.add(`${i}`, client.read(into, i === place ? { timeout: 5 } : undefined)));
    await all[place];
    expect(log.entries).toEqual([`${place}: TimeoutError`]);
    server.writeSync("ab");
    await Promise.all(all);
    const others = [0, 1, 2].filter((i) => i !== place);
    expect(log.entries.slice(1)).toEqual(others.map((i) => `${i}: 1`));
    expect(others.map((i) => String.fromCharCode(buffers[i]![0]!)).join("")).toBe("ab");
  });

  test(`a read whose signal aborts leaves place ${place} of the queue at once, and the others are served in order`, async () => {
    const { client, server } = pair(keep);
    const log = new Log();
    const controller = new AbortController();
    const all = [0, 1, 2].map((i) =>
      log.add(`${i}`, client.read(one(), i === place ? { signal: controller.signal } : undefined)),
    );
    controller.abort("why not");
    await all[place];
    expect(log.entries).toEqual([`${place}: why not`]);
    server.writeSync("ab");
    await Promise.all(all);
    expect(log.entries.slice(1)).toEqual([0, 1, 2].filter((i) => i !== place).map((i) => `${i}: 1`));
  });
}

test("when the first read is cancelled with data there for it, the next one gets the data", async () => {
  const { client, server } = pair(keep);
  using source = new CancelSource();
  const first = client.read(one(), { cancel: source });
  const into = new Uint8Array(8);
  const second = client.read(into);
  await turns();
  server.writeSync("data");
  source.cancel(); // before the loop has had a turn
  expect(await rejection(first)).toBeInstanceOf(CancelledError);
  expect(await second).toBe(4);
  expect(Buffer.from(into.subarray(0, 4)).toString()).toBe("data");
});

test("a write that is cancelled half way says how much went out, and the next one follows right behind that", async () => {
  const { client, server } = pair(keep);
  using source = new CancelSource();
  const size = 64 << 20; // more than any socket buffers
  const long = client.write(new Uint8Array(size).fill(1), { cancel: source });
  const next = client.write(new Uint8Array(1000).fill(2));
  const last = client.write(new Uint8Array(1000).fill(3));
  client.closeWrite();
  await turns();
  const soFar = client.bytesWritten;
  expect(soFar).toBeGreaterThan(0);
  expect(soFar).toBeLessThan(size);
  source.cancel();
  const error = await rejection(long);
  expect(error).toBeInstanceOf(CancelledError);
  expect(error.bytesWritten).toBe(soFar);

  const counts = [0, 0, 0, 0];
  let before = 1;
  const into = new Uint8Array(1 << 16);
  for (let count: number; (count = await server.read(into)) > 0; ) {
    for (let i = 0; i < count; i++) {
      const byte = into[i]!;
      if (byte < before) throw new Error(`a byte of write ${byte} comes after one of write ${before}`);
      before = byte;
      counts[byte]!++;
    }
  }
  expect([await next, await last]).toEqual([1000, 1000]);
  expect(counts).toEqual([0, soFar, 1000, 1000]);
  expect(client.bytesWritten).toBe(soFar + 2000);
});

test("a write that expires half way, and one whose signal aborts, tell what went out as well", async () => {
  const { client, server } = pair(keep);
  const size = 32 << 20;
  const late = await rejection(client.write(new Uint8Array(size), { timeout: 10 }));
  expect(late).toBeInstanceOf(TimeoutError);
  expect(late.bytesWritten).toBe(client.bytesWritten);
  const controller = new AbortController();
  const aborted = client.write(new Uint8Array(size), { signal: controller.signal });
  await turns();
  const reason = new Error("mine");
  controller.abort(reason);
  expect(await rejection<unknown>(aborted)).toBe(reason);
  expect("bytesWritten" in reason).toBe(false); // not ours to change; the socket knows
  const written = client.bytesWritten;
  client.closeWrite();
  expect(readAll(server).length).toBe(written);
});

test("closeWrite takes effect behind the writes that were queued before it, and later ones are ClosedError", async () => {
  const { client, server } = pair(keep);
  const size = 8 << 20;
  const writes = [client.write(new Uint8Array(size)), client.write("and this")];
  client.closeWrite();
  client.closeWrite();
  for (const late of [client.write("late"), client.writev([Buffer.from("late")]), client.write("")]) {
    expect(await rejection(late)).toMatchObject({ name: "ClosedError", code: "ERR_SOCKET_CLOSED", bytesWritten: 0 });
  }
  expect(() => client.writeSync("late")).toThrow(ClosedError);
  expect(() => client.tryWrite(Buffer.from("late"))).toThrow(ClosedError);
  let received = 0;
  const into = new Uint8Array(1 << 16);
  for (let count: number; (count = await server.read(into)) > 0; ) received += count;
  expect(await Promise.all(writes)).toEqual([size, 8]);
  expect(received).toBe(size + 8);
  server.writeSync("the other direction is open");
  expect(await client.read(into)).toBe(27);
});

test("a cancel and a deadline end the writes before a closeWrite, and not the closeWrite", async () => {
  const { client, server } = pair(keep);
  const writes = [client.write(BULK), client.write("second")];
  client.closeWrite();
  client.cancel("enough");
  client.setWriteDeadline(0);
  const { bytesWritten } = client;
  expect(await rejection(writes[0]!)).toMatchObject({ name: "AbortError", bytesWritten });
  expect(await rejection(writes[1]!)).toMatchObject({ name: "AbortError", bytesWritten: 0 });
  expect(await drain(server)).toBe(bytesWritten); // to the end: the half-close came
});

test("closeRead ends all pending reads with 0, and later ones", async () => {
  const { client, server } = pair(keep);
  const reads = Array.from({ length: 40 }, () => client.read(one()));
  await turns();
  client.closeRead();
  expect(new Set(await Promise.all(reads))).toEqual(new Set([0]));
  server.writeSync("late");
  expect(await client.read(one())).toBe(0);
  expect(await client.write("writing goes on")).toBe(15);
});

test("close ends everything that is pending with ClosedError, each with an error of its own", async () => {
  const { client, listener } = pair(keep);
  const pending = [
    ...Array.from({ length: 40 }, () => client.read(one())),
    ...Array.from({ length: 40 }, (_, i) => client.write(i === 0 ? BULK : "x")),
    ...Array.from({ length: 3 }, () => listener.accept()),
  ];
  client.closeWrite();
  await turns();
  client.close();
  listener.close();
  const errors = await Promise.all(pending.map((promise) => rejection(promise)));
  for (const error of errors) expect(error).toBeInstanceOf(ClosedError);
  expect(errors.slice(41, 80).every(({ bytesWritten }) => bytesWritten === 0)).toBe(true);
  expect(new Set(errors).size).toBe(errors.length);
});
