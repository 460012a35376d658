/** The helper thread of loop-worker.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { libc } from "../../ffi/libc.ts";
import { scratch } from "../../ffi/memory.ts";
import { constants } from "../../ffi/platform/index.ts";
import { PollSet } from "../../ffi/poll.ts";
import { COUNT, ENDED, FOLLOWED, type HelperJob, ORDER, SET } from "./loop-order.ts";

const { POLLIN } = constants;
const { words, bell } = workerData as HelperJob;
const set = new PollSet();
const rings = scratch(512);

type News = "ready" | "an order" | "the end";

/** Says how far it has come, to a thread that may be waiting for it. */
function say(followed: number): void {
  Atomics.store(words, FOLLOWED, followed);
  Atomics.notify(words, FOLLOWED);
}

/** Sleeps until there is a new order or, unless it is deaf to that, something of this order is ready. */
function sleep(order: number, deaf: boolean): News {
  set.clear();
  set.push(bell, POLLIN);
  const count = deaf ? 0 : Atomics.load(words, COUNT);
  for (let i = 0; i < count; i++) set.push(words[SET + i * 2]!, words[SET + i * 2 + 1]!);
  say(order);
  set.waitUntil(Number.POSITIVE_INFINITY, false);
  if (set.reventsAt(0) === 0) return "ready";
  let taken = libc.read(bell, rings, rings.length);
  while (taken === rings.length) taken = libc.read(bell, rings, rings.length);
  return taken === 0 ? "the end" : "an order";
}

say(0); // up: from now on it is waited for
for (let news: News | undefined; news !== "the end"; ) {
  const order = Atomics.load(words, ORDER);
  news = sleep(order, false);
  if (news !== "ready") continue;
  parentPort!.postMessage(order);
  // Readiness stays until the other thread has done something about it; then it gives a new order.
  while (news !== "the end" && Atomics.load(words, ORDER) === order) news = sleep(order, true);
}
say(ENDED);
