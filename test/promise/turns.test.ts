/** How much one socket may have done before others have their turn, counted in its system calls, never in time. */
import { expect, test } from "bun:test";
import { POLLIN } from "../../ffi/index.ts";
import type { TcpSocket } from "../../src/index.ts";
import { faults } from "../faults.ts";
import { waitFor } from "../fds.ts";
import { around, aroundWaits } from "../hooks.ts";
import { keeper, pair } from "../setup.ts";
import { turn } from "./outcome.ts";

const keep = keeper();
const replace = faults();
const nothing = () => {};
const byte = () => new Uint8Array(1);
/** What a queue may do in a row, and a single operation. What is put off comes at the end of the turn: twice that, at most. */
const OPERATIONS = 32;
const STEPS = 8;

test("1,000 reads that wait and can all be served do not keep another socket's read waiting", async () => {
  const READS = 1000;
  const { client: busy, server: busyPeer } = pair(keep);
  const { client, server } = pair(keep);
  const calls: string[] = [];
  const reads = Array.from({ length: READS }, () => busy.read(byte()));
  const read = client.read(byte());
  await turn(); // both wait
  busyPeer.writeSync(new Uint8Array(READS));
  waitFor(busy.fd, POLLIN); // so that it is the first to be told
  server.writeSync("x");
  waitFor(client.fd, POLLIN);
  using _hook = around(["recv"], (fd) => void calls.push(fd === busy.fd ? "busy" : "other"), nothing);
  expect(await read).toBe(1);
  expect(await Promise.all(reads)).toEqual(reads.map(() => 1));
  const before = calls.indexOf("other");
  expect(before).toBeGreaterThan(0);
  expect(before).toBeLessThanOrEqual(2 * OPERATIONS);
});

/** The most calls of `name` on the socket between two looks at what is ready. */
function mostBetweenLooks(
  name: string,
  socket: TcpSocket,
): Disposable & { readonly most: number; readonly all: number } {
  const counts = [0];
  const looks = aroundWaits(() => void counts.push(0), nothing);
  const calls = around([name], (fd) => void (fd === socket.fd && counts[counts.length - 1]!++), nothing);
  return {
    get most() {
      return Math.max(...counts);
    },
    get all() {
      return counts.reduce((sum, count) => sum + count, 0);
    },
    [Symbol.dispose]: () => {
      calls[Symbol.dispose]();
      looks[Symbol.dispose]();
    },
  };
}

test("of a write that goes out in 1,000 pieces no more than a few go out between two looks at all that is ready", async () => {
  const { client } = pair(keep);
  const { fd } = client;
  // A kernel that always takes some: the real one has full buffers sooner or later.
  replace(
    "send",
    (send) => (of, data, size, flags) => (of === fd ? Math.min(Number(size), 1000) : send(of, data, size, flags)),
  );
  using sends = mostBetweenLooks("send", client);
  expect(await client.write(new Uint8Array(1_000_000))).toBe(1_000_000);
  expect(sends.all).toBe(1000);
  expect(sends.most).toBeLessThanOrEqual(2 * STEPS);
});

test("of reads that succeed at once no more than 32 come before something else has its turn", async () => {
  const { client, server } = pair(keep);
  server.writeSync(new Uint8Array(10_000));
  waitFor(client.fd, POLLIN);
  await turn();
  let done = 0;
  let doneAtTurn = -1;
  setImmediate(() => {
    doneAtTurn = done;
  });
  for (; doneAtTurn === -1; done++) await client.read(byte());
  expect(doneAtTurn).toBeLessThanOrEqual(OPERATIONS);
});

test("a conversation in which each look finds the answer does not keep Bun's loop waiting", async () => {
  const { client, server } = pair(keep);
  void pair(keep).client.read(byte()).catch(nothing); // there is always something to look for
  const ROUNDS = 20_000;
  /** Rounds since the loop has had its turn. */
  let rounds = 0;
  let most = 0;
  let over = false;
  const count = () => {
    rounds = 0;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  const echo = async () => {
    const into = byte();
    while ((await server.read(into)) > 0) await server.write(into);
  };
  const echoing = echo();
  const into = byte();
  for (let i = 0; i < ROUNDS; i++) {
    const read = client.read(into);
    await client.write(into);
    await read;
    most = Math.max(most, ++rounds);
  }
  over = true;
  client.closeWrite();
  await echoing;
  expect(most).toBeLessThan(100);
});
