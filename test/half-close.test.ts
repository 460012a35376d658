import { expect, test } from "bun:test";
import { MSG_PEEK, recv } from "../ffi/index.ts";
import { ClosedError } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { keeper, pair, readAll, readText } from "./setup.ts";
import { thrown, until } from "./thread.ts";

const keep = keeper();
const buffer = new Uint8Array(100);

test("after closeWrite the peer reads to the end, and its reply still comes", () => {
  const { client, server } = pair(keep);
  client.writeSync("question");
  client.closeWrite();
  expect(readAll(server).toString()).toBe("question");
  server.writeSync("answer");
  server.closeWrite();
  expect(readAll(client).toString()).toBe("answer");
  expect([client.closed, server.closed]).toEqual([false, false]);
});

test("writes after closeWrite fail with ClosedError, and nothing of them is sent", () => {
  const { client, server } = pair(keep);
  client.closeWrite();
  for (const write of [
    () => client.writeSync("late"),
    () => client.writevSync([Buffer.from("late")]),
    () => client.writeSync(""),
  ]) {
    const error = thrown(write);
    expect(error).toBeInstanceOf(ClosedError);
    expect(error).toMatchObject({ name: "ClosedError", code: "ERR_SOCKET_CLOSED", bytesWritten: 0 });
  }
  expect(thrown(() => client.tryWrite(Buffer.from("late")))).toBeInstanceOf(ClosedError);
  expect(client.bytesWritten).toBe(0);
  expect(server.readSync(buffer)).toBe(0);
});

test("closeWrite twice is like once, and leaves reading and options alone", () => {
  const { client, server } = pair(keep);
  client.closeWrite();
  client.closeWrite();
  server.writeSync("still here");
  expect(readText(client)).toBe("still here");
  client.setNoDelay(true);
});

test("after closeRead reads return 0 without a system call, with data that was there and data that comes late", async () => {
  const { client, server } = pair(keep);
  server.writeSync("early");
  client.closeRead();
  server.writeSync("late");
  // The kernel would hand out both.
  await until("the data to be there", () => recv(client.fd, buffer, MSG_PEEK) === "earlylate".length);
  server.closeWrite();
  const counts: (number | null)[] = [];
  const calls = systemCalls(() => {
    counts.push(client.readSync(buffer), client.readSync(buffer, { timeout: 1000 }), client.tryRead(buffer));
  });
  expect(counts).toEqual([0, 0, 0]);
  expect(calls).toEqual([]);
  expect(client.bytesRead).toBe(0);
});

test("after closeRead writing goes on, and the peer's own writes do no harm", () => {
  const { client, server } = pair(keep);
  client.closeRead();
  client.closeRead();
  server.writeSync("into the void");
  client.writeSync("still writing");
  expect(readText(server)).toBe("still writing");
  server.writeSync("more");
  client.writeSync("and on");
  expect(readText(server)).toBe("and on");
});

test("both halves closed one after the other: the peer sees an end and no reset", () => {
  const { client, server } = pair(keep);
  client.writeSync("bye");
  client.closeRead();
  client.closeWrite();
  expect(readAll(server).toString()).toBe("bye");
  expect(client.readSync(buffer)).toBe(0);
  expect(thrown(() => client.writeSync("x"))).toBeInstanceOf(ClosedError);
  server.close();
  client.close();
});

test("half-closing what the peer has reset is no error", () => {
  const { client, server } = pair(keep);
  server.resetAndDestroy();
  expect(thrown(() => client.readSync(buffer)).code).toBe("ECONNRESET");
  client.closeWrite();
  client.closeRead();
  expect(client.readSync(buffer)).toBe(0);
});
