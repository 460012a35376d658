/**
 * The promise of src/shared/ledger.ts: threads that never met may have a ledger each, and where two meet, both remember
 * both and go on with one. In a child process, whose main thread imports the library last.
 */
import { expect, test } from "bun:test";
import { NONE } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { Program } from "./tool.ts";

const keep = keeper();

/** What the child has said in all. */
async function saidBy(scenario: string): Promise<unknown[]> {
  const child = keep(Program.script("two-ledgers.ts", [scenario]));
  const output = await child.done();
  return output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
}

test("two Workers that import the library before the main thread exchange sources, listeners and sockets, and all of it is given back at their end", async () => {
  const used = { text: "from the one who moved it", cancelled: false };
  expect(await saidBy("exchange")).toEqual([
    used,
    used,
    true, // its own client came to the other's listener
    true,
    true, // the main thread cancels, and who waits wakes
    "AbortError",
    true,
    "AbortError",
    "AbortError",
    "AbortError",
    ["ClosedError", "ClosedError"],
    true, // both listeners work on in the main thread
    true,
    NONE,
  ]);
});

test("the number of a pipe that a thread of another ledger has closed is nobody's when its waiter ends", async () => {
  expect(await saidBy("pipe of the lower")).toEqual([true, "AbortError", true, NONE]);
});
