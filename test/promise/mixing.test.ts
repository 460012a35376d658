import { expect, test } from "bun:test";
import { BusyError, CancelSource, ClosedError, connectSync, listen, TcpSocket, TimeoutError } from "../../src/index.ts";
import { systemCalls } from "../faults.ts";
import { keeper, pair, readText } from "../setup.ts";
import { thrown } from "../thread.ts";
import { BULK, rejection, turns } from "./outcome.ts";

const keep = keeper();
const one = () => new Uint8Array(1);

test("behind a pending promise read readSync is BusyError and tryRead null, without a system call; the write side is free", async () => {
  const { client, server } = pair(keep);
  const into = new Uint8Array(8);
  const reading = client.read(into);
  server.writeSync("for the promise"); // it is there, and the promise is before everybody else
  const calls = systemCalls(() => {
    const error = thrown(() => client.readSync(one(), { timeout: 1000 }));
    expect(error).toBeInstanceOf(BusyError);
    expect(error).toMatchObject({ name: "BusyError", code: "ERR_SOCKET_BUSY" });
    expect(client.tryRead(one())).toBeNull();
  });
  expect(calls).toEqual([]);
  expect(client.writeSync("free")).toBe(4);
  expect(client.tryWrite(Buffer.from("free"))).toBe(4);
  expect(await reading).toBe(8);
  expect(client.bytesRead).toBe(8);
  expect(readText(client)).toBe("promise");
});

test("behind a pending promise write writeSync and writevSync are BusyError and tryWrite null; the read side is free", async () => {
  const { client, server } = pair(keep);
  const writing = client.write(BULK);
  const before = client.bytesWritten;
  const calls = systemCalls(() => {
    for (const write of [() => client.writeSync("x"), () => client.writevSync([one()]), () => client.writeSync("")]) {
      const error = thrown(write);
      expect(error).toBeInstanceOf(BusyError);
      expect(error.bytesWritten).toBe(0);
    }
    expect(client.tryWrite(one())).toBeNull();
    expect(client.tryWrite(new Uint8Array(0))).toBeNull();
  });
  expect(calls).toEqual([]);
  expect(client.bytesWritten).toBe(before);
  server.writeSync("free");
  expect(readText(client)).toBe("free");
  client.cancel();
  expect(await rejection(writing)).toMatchObject({ bytesWritten: client.bytesWritten });
});

test("behind a pending promise accept acceptSync is BusyError and tryAccept null", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const accepting = listener.accept();
  const client = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  const calls = systemCalls(() => {
    expect(thrown(() => listener.acceptSync({ timeout: 1000 }))).toBeInstanceOf(BusyError);
    expect(listener.tryAccept()).toBeNull();
  });
  expect(calls).toEqual([]);
  expect(keep(await accepting).remoteAddress).toEqual(client.localAddress);
  expect(listener.tryAccept()).toBeNull(); // nobody else was there
});

test("who wins against BusyError: wrong arguments, closed, cancelled and expired", async () => {
  const { client } = pair(keep);
  using source = new CancelSource();
  source.cancel();
  const reading = client.read(one());
  expect(thrown(() => client.readSync("x" as never))).toBeInstanceOf(TypeError);
  expect(thrown(() => client.readSync(one(), { cancel: source })).name).toBe("AbortError");
  expect(thrown(() => client.readSync(one(), { timeout: 0 }))).toBeInstanceOf(TimeoutError);
  client.close();
  expect(thrown(() => client.readSync(one()))).toBeInstanceOf(ClosedError);
  expect(thrown(() => client.tryRead(one()))).toBeInstanceOf(ClosedError);
  expect(await rejection(reading)).toBeInstanceOf(ClosedError);
});

test("nothing is busy any more once the promise has been cancelled", async () => {
  const { client, server } = pair(keep);
  const reading = client.read(one());
  client.cancel();
  server.writeSync("now"); // before the rejection's continuation has run
  expect(readText(client)).toBe("now");
  expect((await rejection(reading)).name).toBe("AbortError");
});

test("blocking, promise and trying operations take turns on one socket: 2,000 bytes in order", async () => {
  const { client, server } = pair(keep);
  const into = one();
  for (let i = 0; i < 2000; i++) {
    const byte = Uint8Array.of(i);
    const write = i % 3;
    if (write === 0) server.writeSync(byte);
    else if (write === 1) await server.write(byte);
    else expect(server.tryWrite(byte)).toBe(1);
    const read = Math.floor(i / 3) % 3;
    if (read === 0) client.readSync(into, { timeout: 20_000 });
    else if (read === 1) await client.read(into);
    else expect(client.tryRead(into)).toBe(1);
    if (into[0] !== (i & 255)) throw new Error(`byte ${i} is ${into[0]}`);
  }
  expect([client.bytesRead, server.bytesWritten]).toEqual([2000, 2000]);
});

test("promise reads that wait and blocking reads that wait take turns on one socket", async () => {
  const { client, server } = pair(keep);
  const into = one();
  for (let i = 0; i < 200; i++) {
    expect(thrown(() => client.readSync(into, { timeout: 0.1 }))).toBeInstanceOf(TimeoutError); // it has slept in a set of its own
    const reading = client.read(into);
    if (i % 2 === 0) await turns(2); // it has been looked at in the loop
    server.writeSync(Uint8Array.of(i));
    expect(await reading).toBe(1);
    expect(into[0]).toBe(i & 255);
  }
});

test("detach with an operation of either side pending is BusyError and changes nothing; after it, it works", async () => {
  const { client, server } = pair(keep);
  const reading = client.read(one());
  expect(thrown(() => client.detach())).toBeInstanceOf(BusyError);
  server.writeSync("a");
  expect(await reading).toBe(1);

  const writing = client.write(BULK);
  expect(thrown(() => client.detach())).toBeInstanceOf(BusyError);
  expect(client.closed).toBe(false);
  client.cancel();
  await rejection(writing);

  const moved = keep(TcpSocket.from(client.detach()));
  expect(client.closed).toBe(true);
  const again = moved.read(one());
  await turns();
  server.writeSync("b");
  expect(await again).toBe(1);
});
