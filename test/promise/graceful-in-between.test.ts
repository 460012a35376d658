/** What users do at the instant between the two halves of a graceful close, and what becomes of sources that they dispose. */
import { expect, test } from "bun:test";
import { CancelSource, connectSync } from "../../src/index.ts";
import { keeper, pair } from "../setup.ts";
import { rejection, turns } from "./outcome.ts";

const keep = keeper();
const LARGE = 16 << 20;

/** A client whose write waits until `read` is called: a peer that reads all of it, and resolves then. */
function withPendingWrite(): {
  client: ReturnType<typeof pair>["client"];
  written: Promise<number>;
  read: () => Promise<void>;
  port: number;
  listener: ReturnType<typeof pair>["listener"];
} {
  const { client, server, listener } = pair(keep);
  const written = client.write(new Uint8Array(LARGE));
  const read = async () => {
    const into = new Uint8Array(1 << 20);
    for (let left = LARGE; left > 0; ) left -= await server.read(into);
  };
  return { client, written, read, port: listener.address.port, listener };
}

test("a close in the continuation of the last write ends a graceful close, and the next socket with its number keeps its bytes", async () => {
  const { client, written, read, port, listener } = withPendingWrite();
  const graceful = rejection(client.closeGracefully({ timeout: 20_000 }));
  const after = written.then(() => {
    client.close();
    const next = keep(connectSync({ hostname: "127.0.0.1", port }));
    keep(listener.acceptSync({ timeout: 20_000 })).writeSync("for the next one");
    return next;
  });
  const reading = read();
  const next = await after;
  await reading;
  expect(await graceful).toMatchObject({ name: "ClosedError" });
  expect(await next.read(new Uint8Array(64), { timeout: 20_000 })).toBe("for the next one".length);
});

test("a source of the socket's own that is asked for while the write before it waits still cancels a graceful close", async () => {
  const { client, written, read } = withPendingWrite();
  const graceful = rejection(client.closeGracefully({ timeout: null }));
  const { cancelSource } = client;
  const reading = read();
  await written;
  cancelSource.cancel("enough");
  expect(await graceful).toMatchObject({ name: "AbortError", cause: "enough" });
  expect(client.closed).toBe(true);
  await reading;
});

test("a source that was disposed while a graceful close leans on it gives its parent back once", async () => {
  const { client, written, read } = withPendingWrite();
  const parent = keep(new CancelSource());
  const { handle } = parent;
  const child = parent.child();
  const graceful = rejection(client.closeGracefully({ timeout: null, cancel: child }));
  child.dispose();
  const reading = read();
  await written;
  parent.cancel("all of it");
  expect(await graceful).toMatchObject({ name: "AbortError" });
  keep(CancelSource.from(handle)); // it is there still
  await reading;
});

test("a socket whose own source was disposed works on, and no other source is touched", async () => {
  const { client, server } = pair(keep);
  void client.cancelSource.handle;
  client.cancelSource.dispose();
  const other = keep(new CancelSource());
  const { handle } = other;
  expect(await rejection(client.read(new Uint8Array(1), { timeout: 5 }))).toMatchObject({ name: "TimeoutError" });
  keep(CancelSource.from(handle));
  server.writeSync("x");
  expect(await client.read(new Uint8Array(1), { timeout: 20_000 })).toBe(1);
});

test("aborting a web stream ends a write that waits", async () => {
  const { client } = pair(keep);
  const writer = client.writable.getWriter();
  const written = rejection(writer.write(new Uint8Array(64 << 20)));
  await turns();
  const why = new Error("enough");
  await writer.abort(why);
  expect(await written).toBe(why);
  expect(client.closed).toBe(true);
});
