/** The descriptor table before and after: exact, also where Workers have come and gone. */
import { readdirSync, readFileSync } from "node:fs";
import { fdTable, until } from "./thread.ts";

export type Table = Record<string, string>;

/** How many threads have a name. */
export function threads(name: string): number {
  return readdirSync("/proc/self/task").filter((task) => {
    try {
      return readFileSync(`/proc/self/task/${task}/comm`, "latin1").trim() === name;
    } catch {
      return false; // It has ended meanwhile.
    }
  }).length;
}

/**
 * Whether a Worker's kernel thread is there still: Bun closes a Worker's own descriptors only after its `exit` event. The
 * main thread may have a helper that polls in its stead, which stays; those of Workers go with them.
 */
function workersAreLeft(): boolean {
  return threads("Worker") > 0 || threads("cancelfd loop") > 1;
}

/** The descriptor table once every Worker has ended. */
export async function quietTable(): Promise<Table> {
  await until("every Worker's thread to end", () => !workersAreLeft());
  return fdTable();
}

function missing(from: Table, other: Table): Table {
  return Object.fromEntries(Object.entries(from).filter(([fd, what]) => other[fd] !== what));
}

/** What is open that was not before, and the other way round. */
export function changes(before: Table, now: Table = fdTable()): { opened: Table; closed: Table } {
  return { opened: missing(now, before), closed: missing(before, now) };
}

/** Milliseconds for Bun to close what it closes late, if that is all there is to wait for, and if a leftover is likely. */
const PATIENCE = 3000;
export const IF_LIKELY = 1000;

/** `changes`, once every Worker has ended; after `patience` at the latest if there are any. */
export async function changesSince(before: Table, patience = PATIENCE): Promise<{ opened: Table; closed: Table }> {
  const end = Date.now() + patience;
  for (;;) {
    const found = changes(before, await quietTable());
    const none = Object.keys(found.opened).length + Object.keys(found.closed).length === 0;
    if (none || Date.now() > end) return found;
    await Bun.sleep(5);
  }
}

/** What they say when nothing was left behind, and nothing was closed that is not ours. */
export const NONE = { opened: {}, closed: {} };

/** How many descriptors of a kind are open that were not before: `more(before, "pipe:")`. */
export function more(before: Table, kind: string): number {
  return Object.values(changes(before).opened).filter((what) => what.startsWith(kind)).length;
}
