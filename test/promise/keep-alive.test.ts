/** What keeps a process alive, and what does not: in child processes, each of which ends as soon as it can. */
import { expect, test } from "bun:test";
import { keeper } from "../setup.ts";
import { Program } from "../tool.ts";

const keep = keeper();
/** Milliseconds after which a process that is kept alive says so; and one that should have ended long before. */
const STAYS = 300;
const ENDS = 20_000;

async function run(scenario: string, patience: number, status: number | null): Promise<string[]> {
  const child = keep(Program.script("promise-keep-alive.ts", [scenario, patience]));
  const ended = await child.exited();
  if (status !== null) expect([ended, child.errors]).toEqual([status, child.errors]);
  return child.output.split("\n").filter((line) => line !== "");
}

for (const scenario of [
  "a read",
  "a read with a deadline far away",
  "a write",
  "an accept",
  "a connect",
  "a graceful close",
  "a lookup that takes its time",
  "a ref'ed idle socket",
  "a ref'ed idle listener",
  "a socket that is ref'ed after unref",
]) {
  test(`keeps the process alive: ${scenario}`, async () => {
    expect(await run(scenario, STAYS, 3)).toEqual(["still here"]);
  });
}

for (const scenario of [
  "nothing",
  "an idle socket that connected as a promise",
  "an idle socket that has read",
  "an unref'ed socket with a read",
  "a socket that is unref'ed while a read is pending",
  "a socket that is unref'ed after ref",
  "a ref'ed socket that is closed",
  "a ref'ed socket that is detached",
  "a signal",
  "a signal with a timeout",
  "a handle",
  "a source's handle whose deadline is far",
  "an unref'ed Worker with operations pending",
]) {
  test(`does not keep the process alive: ${scenario}`, async () => {
    expect(await run(scenario, ENDS, 0)).toEqual([]);
  });
}

test("does not keep the process alive: a read that was cancelled", async () => {
  expect(await run("a read that was cancelled", ENDS, 0)).toEqual(["read: AbortError"]);
});

test("terminate ends a Worker with operations pending, and then the process ends by itself", async () => {
  expect(await run("terminate, with operations pending", ENDS, 0)).toEqual(["terminated"]);
});

for (const scenario of [
  "exit, with operations pending",
  "exit a little later, with operations pending",
  "exit, with operations pending in a Worker",
]) {
  test(`process.exit ends the process: ${scenario}`, async () => {
    expect(await run(scenario, ENDS, 7)).toEqual([]);
  });
}

test("process.exit ends a Worker that has operations pending", async () => {
  expect(await run("a Worker that calls process.exit with operations pending", ENDS, 0)).toEqual(["worker ended: 0"]);
});

for (const [scenario, expected] of [
  ["all that fails, handled", []],
  ["half-closed behind a write, and closed", ["write: ClosedError"]],
  ["iterators that are left", []],
  ["streams that are cancelled", []],
  ["a lookup that fails after its connect was cancelled", []],
] as const) {
  test(`no rejection of ours is left unhandled, and the process ends by itself: ${scenario}`, async () => {
    expect(await run(scenario, ENDS, 0)).toEqual([...expected]);
  });
}

test("a listener of a signal that throws is the user's affair, and keeps nobody else from being cancelled", async () => {
  const lines = await run("a listener of a signal that throws", ENDS, null);
  expect(lines.sort()).toEqual([
    "read: AbortError",
    "the child's listener",
    "the other listener",
    "uncaught: a listener of the user's",
  ]);
});
