/** The tests of tokio-util's TaskTracker, by their names. */
import { expect, test } from "bun:test";
import { Tracker } from "../../src/serve/tracker.ts";

/** Whether a promise has resolved by the time that everything due has run. */
async function isSettled(promise: Promise<void>): Promise<boolean> {
  let settled = false;
  void promise.then(() => {
    settled = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  return settled;
}

test("open_close: close and reopen are true for the call that changed something", () => {
  const tracker = new Tracker();
  expect([tracker.isClosed, tracker.close(), tracker.isClosed, tracker.close()]).toEqual([false, true, true, false]);
  expect([tracker.reopen(), tracker.isClosed, tracker.reopen()]).toEqual([true, false, false]);
});

test("active counts those that have entered and not left", () => {
  const tracker = new Tracker();
  for (let i = 0; i < 3; i++) tracker.enter();
  tracker.leave();
  expect(tracker.active).toBe(2);
});

test("notify_immediately: closed and empty, a wait is over at once", async () => {
  const tracker = new Tracker();
  tracker.close();
  expect(await isSettled(tracker.wait())).toBe(true);
});

test("notify_immediately_on_reopen: a wait that was over before it is opened again stays over", async () => {
  const tracker = new Tracker();
  tracker.close();
  const wait = tracker.wait();
  tracker.reopen();
  expect(await isSettled(wait)).toBe(true);
  expect(await isSettled(tracker.wait())).toBe(false);
});

test("notify_on_close", async () => {
  const tracker = new Tracker();
  const wait = tracker.wait();
  expect(await isSettled(wait)).toBe(false);
  tracker.close();
  expect(await isSettled(wait)).toBe(true);
});

test("notify_on_close_reopen: it was closed and empty for a moment, and that is enough", async () => {
  const tracker = new Tracker();
  const wait = tracker.wait();
  tracker.close();
  tracker.reopen();
  expect(await isSettled(wait)).toBe(true);
});

test("notify_on_last_task", async () => {
  const tracker = new Tracker();
  tracker.enter();
  tracker.close();
  const wait = tracker.wait();
  expect(await isSettled(wait)).toBe(false);
  tracker.leave();
  expect(await isSettled(wait)).toBe(true);
});

test("notify_on_last_task_respawn: the next one may enter at once, and the wait is over all the same", async () => {
  const tracker = new Tracker();
  tracker.enter();
  tracker.close();
  const wait = tracker.wait();
  tracker.leave();
  tracker.enter();
  expect(await isSettled(wait)).toBe(true);
  expect(await isSettled(tracker.wait())).toBe(false);
});

test("no_notify_on_respawn_if_open: while it is open, empty is not the end", async () => {
  const tracker = new Tracker();
  tracker.enter();
  const wait = tracker.wait();
  tracker.leave();
  expect(await isSettled(wait)).toBe(false);
  tracker.enter();
  expect(await isSettled(wait)).toBe(false);
  tracker.close();
  tracker.leave();
  expect(await isSettled(wait)).toBe(true);
});

for (const first of ["close", "leave"] as const) {
  test(`close_during_exit: ${first} comes first`, async () => {
    const tracker = new Tracker();
    tracker.enter();
    const wait = tracker.wait();
    if (first === "close") tracker.close();
    tracker.leave();
    if (first === "leave") tracker.close();
    expect(await isSettled(wait)).toBe(true);
  });
}

test("notify_many: everybody who waits is told, once the last of many has left", async () => {
  const tracker = new Tracker();
  for (let i = 0; i < 100; i++) tracker.enter();
  const waits = Array.from({ length: 50 }, () => tracker.wait());
  tracker.close();
  for (let i = 0; i < 99; i++) tracker.leave();
  for (const wait of waits) expect(await isSettled(wait)).toBe(false);
  tracker.leave();
  for (const wait of waits) expect(await isSettled(wait)).toBe(true);
});
