/** What of a queue keeps a process alive, and what does not: in child processes, each of which ends as soon as it can. */
import { expect, test } from "bun:test";
import { keeper } from "../setup.ts";
import { Program } from "../tool.ts";

const keep = keeper();
/** Milliseconds after which a process that is kept alive says so; and one that should have ended long before. */
const STAYS = 300;
const ENDS = 20_000;

async function run(scenario: string, patience: number): Promise<[status: unknown, output: string, errors: string]> {
  const child = keep(Program.script("queue-keep-alive.ts", [scenario, patience]));
  const status = await child.exited();
  return [status, child.output.trim(), child.errors];
}

for (const scenario of ["a receive", "a receive with a deadline far away", "a loop", "a sendAsync"]) {
  test(`keeps the process alive: ${scenario}`, async () => {
    expect(await run(scenario, STAYS)).toEqual([3, "still here", ""]);
  });
}

for (const [scenario, output] of [
  ["a queue", ""],
  ["a queue that has sent and received by promises", ""],
  ["a receive that was cancelled", "AbortError"],
  ["a sendAsync that ran out of time", "TimeoutError"],
  ["a loop that was ended by close", "the end"],
  ["a queue that was disposed with promises pending", "ClosedError\nClosedError"],
  ["an unref'ed Worker with promises pending", ""],
  ["a Worker that was terminated with promises pending", "terminated"],
  ["process.exit with promises pending", ""],
] as const) {
  test(`does not keep the process alive: ${scenario}`, async () => {
    expect(await run(scenario, ENDS)).toEqual([0, output, ""]);
  });
}
