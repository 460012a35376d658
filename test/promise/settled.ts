/** What becomes of promises, for the tests of queues. */
import { WakeQueue } from "../../src/index.ts";
import { changes, NONE, quietTable, type Table } from "../leaks.ts";
import { rejection, turns } from "./outcome.ts";

/** Lets Bun's loop go around a few times; true if `promise` has not settled even then. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true;
  const settled = () => {
    pending = false;
  };
  promise.then(settled, settled);
  await turns();
  return pending;
}

/**
 * Opens what this thread opens once, and keeps (its reactor, a timer, a helper thread where Bun's loop does not wait
 * itself), and lets its loop come to rest.
 */
export async function warmUp(): Promise<void> {
  using queue = new WakeQueue<number>();
  await rejection(queue.receive({ timeout: 2 }));
  setTimeout(() => queue.send(1), 2);
  await queue.receive(); // heard by the helper, once there is one: so it is up
}

/** Milliseconds for Bun to close what it closes late. */
const PATIENCE = 3000;

/** What is open with this thread's loop at rest: while Bun watches for it, there is a duplicate of its descriptor. */
export async function restingTable(): Promise<Table> {
  for (let time = 0; time < 3; time++) await warmUp();
  let least = await quietTable();
  for (let time = 0; time < 3; time++) {
    await warmUp();
    const now = await quietTable();
    if (Object.keys(now).length < Object.keys(least).length) least = now;
  }
  return least;
}

/** What is open that was not before, and the other way round, the loop at rest. What is left is left however often one looks. */
export async function changesAtRest(before: Table): Promise<{ opened: Table; closed: Table }> {
  const end = Date.now() + PATIENCE;
  for (;;) {
    await warmUp();
    const result = changes(before, await quietTable());
    if (Date.now() > end || Bun.deepEquals(result, NONE)) return result;
  }
}

/**
 * `changesAtRest`, once so many threads were terminated at any instant. A descriptor that the kernel has just made for it, and
 * that nobody has on record yet, stays open: with promises that is the duplicate that Bun is about to watch.
 */
export async function changesAfterDeath(before: Table, deaths = 1): Promise<{ opened: Table; closed: Table }> {
  const { opened, closed } = await changesAtRest(before);
  const duplicates = Object.keys(opened).filter((fd) => opened[fd] === "anon_inode:[eventpoll]");
  for (const fd of duplicates.slice(0, deaths)) delete opened[fd];
  return { opened, closed };
}
