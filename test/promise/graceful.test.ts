/** `closeGracefully`, whatever the peer and the rest of the program do meanwhile. */
import { expect, test } from "bun:test";
import { keeper, pair } from "../setup.ts";
import { BULK, drain, rejection, turn, turns } from "./outcome.ts";

const keep = keeper();

test("a peer that goes on sending, in bursts, gets rid of all of it and sees no reset", async () => {
  const { client, server } = pair(keep);
  const graceful = client.closeGracefully({ timeout: null });
  expect(await drain(server)).toBe(0); // it has been told
  const burst = new Uint8Array(3_000_000);
  for (let i = 0; i < 5; i++) {
    expect(await server.write(burst, { timeout: 30_000 })).toBe(burst.length);
    await turns();
    expect(client.closed).toBe(false);
  }
  server.closeWrite();
  await graceful;
  expect(client.closed).toBe(true);
  expect(client.bytesRead).toBe(0); // nobody has read it
  // Nothing but the end has come.
  expect(await drain(server)).toBe(0);
});

test("a graceful close whose peer sends without end does not keep the loop waiting, and times out", async () => {
  const { client, server } = pair(keep);
  let over = false;
  const sending = (async () => {
    const data = new Uint8Array(1 << 20);
    while (!over) await server.write(data);
    return "nothing more to send";
  })().catch((error: { code: string }) => error.code);
  expect(await rejection(client.closeGracefully({ timeout: 100 }))).toMatchObject({ name: "TimeoutError" });
  over = true;
  expect(client.closed).toBe(true);
  expect(["ECONNRESET", "EPIPE", "nothing more to send"]).toContain(await sending);
});

test("any number of graceful closes at once resolve when the peer has ended, and so does one that comes later", async () => {
  const { client, server } = pair(keep);
  // More than are served in a row: the first of them close the socket under the others.
  const all = Array.from({ length: 200 }, (_, i) => client.closeGracefully({ timeout: i % 2 === 0 ? null : 30_000 }));
  await turn();
  server.closeWrite();
  await Promise.all(all);
  expect(client.closed).toBe(true);
  await client.closeGracefully();
});

test("of two graceful closes at once the shorter one ends both: by a timeout, and by the close that comes of it", async () => {
  const { client } = pair(keep);
  const patient = rejection(client.closeGracefully({ timeout: null }));
  const impatient = rejection(client.closeGracefully({ timeout: 20 }));
  expect(await impatient).toMatchObject({ name: "TimeoutError" });
  expect(await patient).toMatchObject({ name: "ClosedError" });
  expect(client.closed).toBe(true);
});

test("a write that is still pending goes out first: the peer gets all of it, and then the end", async () => {
  const { client, server } = pair(keep);
  const written = client.write(BULK);
  const graceful = client.closeGracefully({ timeout: null });
  expect(await rejection(client.write("one more"))).toMatchObject({ name: "ClosedError" });
  await turns();
  expect(client.closed).toBe(false);
  expect(await drain(server)).toBe(BULK.length);
  expect(await written).toBe(BULK.length);
  expect(client.closed).toBe(false); // the peer may have something to say
  server.closeWrite();
  await graceful;
  expect(client.closed).toBe(true);
});

test("a write that is still pending goes out, though the peer has ended its own side long before", async () => {
  const { client, server } = pair(keep);
  server.closeWrite();
  const written = client.write(BULK);
  const graceful = client.closeGracefully({ timeout: null });
  await turns();
  expect(await drain(server)).toBe(BULK.length);
  expect(await written).toBe(BULK.length);
  await graceful;
});

test("a write that is still pending when the time is over fails with the close, and says how far it came", async () => {
  const { client } = pair(keep);
  const written = rejection(client.write(BULK));
  expect(await rejection(client.closeGracefully({ timeout: 20 }))).toMatchObject({ name: "TimeoutError" });
  const { bytesWritten } = client;
  expect(bytesWritten).toBeGreaterThan(0);
  expect(await written).toMatchObject({ name: "ClosedError", bytesWritten });
  expect(client.closed).toBe(true);
});
