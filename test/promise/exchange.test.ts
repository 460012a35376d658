import { expect, test } from "bun:test";
import { type CancelHandle, listen } from "../../src/index.ts";
import { type Exchanged, type ExchangeJob, exchange } from "../bodies/promise-races-exchange.ts";
import { keeper } from "../setup.ts";
import { Thread } from "../thread.ts";

const keep = keeper();
/** Of both directions together. */
const TOTAL = 1 << 30;

test("a Worker and this thread exchange a gibibyte while reads and writes are cancelled at random: nothing is lost, nothing comes twice", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const job: ExchangeJob = { port: listener.address.port, bytes: TOTAL / 2, seed: 1 };
  const thread = await Thread.start("promise-races-exchange", "exchangeFromWorker", job);
  const socket = keep(await listener.accept({ timeout: 20_000 }));
  const other = await thread.next<CancelHandle>();
  thread.worker.postMessage(socket.cancelSource.handle);
  const here = await exchange(socket, TOTAL / 2, 2, other);
  const there = await thread.next<Exchanged>();
  thread.worker.postMessage("the end");
  await thread.join();

  expect(here.received).toBe(there.sent);
  expect(there.received).toBe(here.sent);
  expect(here.sent).not.toBe(there.sent);
  for (const side of [here, there]) {
    expect([side.bytesRead, side.bytesWritten]).toEqual([TOTAL / 2, TOTAL / 2]);
    expect(side.reads).toBeGreaterThan(20);
    expect(side.writes).toBeGreaterThan(20);
    expect(side.parts).toBeGreaterThan(5);
  }
}, 600_000);
