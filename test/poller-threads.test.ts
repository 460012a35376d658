/** A poller whose thread sleeps in the kernel: whatever others do wakes it, once, and nothing is slept through. */
import { expect, test } from "bun:test";
import {
  CancelSource,
  ClosedError,
  connectSync,
  listen,
  Poller,
  type PollerHandle,
  releaseOnExit,
  WakeQueue,
} from "../src/index.ts";
import { GO, ROUND } from "./bodies/pollers.ts";
import { reach } from "./gates.ts";
import { changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { thrown } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const hostname = "127.0.0.1";

test("a wait that is blocked in the kernel is ended by a value, a close, a connection, a notify, a cancel and its timeout", async () => {
  const deeds: [string, (all: ReturnType<typeof everything>, poller: PollerHandle) => unknown, unknown][] = [
    ["value", ({ queue }) => queue.send(1), ["queue"]],
    ["close", ({ queue }) => queue.close(), ["queue ended"]],
    ["connection", ({ port }) => keep(connectSync({ hostname, port })), ["listener"]],
    ["notify", (_, handle) => keep(Poller.from(handle)).notify(), []],
    ["cancel", ({ source }) => source.cancel(), "AbortError"],
    ["timeout", () => {}, []],
  ];
  for (const [what, deed, expected] of deeds) {
    const all = everything();
    const handles = { queue: all.queue.handle, listener: all.listener.handle, cancel: all.source.handle };
    const timeout = what === "timeout" ? 50 : undefined;
    const thread = await start(keep, "pollers", "waitOnce", { ...handles, timeout });
    const handle = await thread.next<PollerHandle>();
    if (what !== "timeout") await thread.blocked();
    deed(all, handle);
    expect([what, await thread.next()]).toEqual([what, expected]);
    // What is there is there still.
    const left = what === "value" ? 1 : what === "close" || what === "connection" ? 1 : 0;
    expect([what, (await thread.next<unknown[]>()).length]).toEqual([what, left]);
    await thread.join();
  }
});

function everything() {
  const listener = keep(listen({ hostname }));
  return { queue: keep(new WakeQueue()), listener, source: keep(new CancelSource()), port: listener.address.port };
}

test("10,000 notifies, each as the wait is entered, end 10,000 waits", async () => {
  const rounds = 10_000;
  const poller = keep(new Poller());
  const thread = await start(keep, "pollers", "notifyEachRound", { poller: poller.handle, rounds });
  for (let round = 1; round <= rounds; round++) {
    reach(thread.flags, ROUND, round);
    expect(poller.wait()).toEqual([]); // one that was lost is waited for until the test's own time is up
  }
  await thread.join();
  expect(poller.wait({ timeout: 0 })).toEqual([]);
});

test("a thread with a copy can notify, not wait nor add; and not even notify once the poller is closed", async () => {
  const before = await quietTable();
  const poller = new Poller();
  const thread = await start(keep, "pollers", "useCopy", poller.handle);
  expect(await thread.next()).toEqual(["TypeError", "TypeError", ""]);
  expect(poller.wait()).toEqual([]);
  poller.close();
  reach(thread.flags, GO);
  expect(await thread.next()).toEqual(["ClosedError", ""]);
  await thread.join();
  expect(await changesSince(before)).toEqual(NONE);
});

test("a copy of a poller whose thread was terminated: notify is ClosedError, and nothing is left", async () => {
  const before = await quietTable();
  const all = everything();
  const handles = { queue: all.queue.handle, listener: all.listener.handle, cancel: all.source.handle };
  const thread = await start(keep, "pollers", "waitOnce", handles);
  releaseOnExit(thread.worker);
  const copy = Poller.from(await thread.next<PollerHandle>());
  await thread.blocked();
  await thread.terminate();
  expect(thrown(() => copy.notify())).toBeInstanceOf(ClosedError);
  copy.close();
  all.queue.send(1);
  expect(all.queue.tryReceive()).toBe(1); // and somebody else can receive
  for (const resource of [all.queue, all.listener, all.source]) resource[Symbol.dispose]();
  expect(await changesSince(before)).toEqual(NONE);
});

test("connections, data and orders are served by one thread in one wait; each order is answered, each byte echoed", async () => {
  const before = await quietTable();
  const listener = listen({ hostname });
  const orders = new WakeQueue<string>();
  const thread = await start(keep, "pollers", "serve", { listener: listener.handle, orders: orders.handle });
  const buffer = new Uint8Array(64);
  let sent = 0;
  for (let round = 0; round < 30; round++) {
    const clients = [0, 1, 2].map(() => connectSync({ hostname, port: listener.address.port }));
    for (const client of clients) sent += client.writeSync(`round ${round}`);
    for (const client of clients) expect(client.readSync(buffer, { timeout: 20_000 })).toBe(`round ${round}`.length);
    orders.send(`order ${round}`);
    expect(await thread.next()).toBe(`order ${round}`);
    for (const client of clients) client.close();
  }
  orders.send("how many");
  orders.close();
  expect(await thread.next()).toBe(sent);
  await thread.join();
  listener.close();
  orders.dispose();
  expect(await changesSince(before)).toEqual(NONE);
});

test("100,000 values through a small queue wake a poller that has nothing else to wait for, and none is missed", async () => {
  const count = 100_000;
  const queue = keep(new WakeQueue<number>({ capacity: 256 }));
  const poller = keep(new Poller());
  poller.add(queue, { readable: true });
  const thread = await start(keep, "pollers", "sendNumbers", { queue: queue.handle, count });
  for (let next = 0; next < count; ) {
    expect(poller.wait().map(({ source }) => source)).toEqual([queue]);
    for (const value of queue.receiveAll()) if (value !== next++) throw new Error(`${value} instead of ${next - 1}`);
  }
  await thread.join();
});
