/** Objects that are dropped without close, and promises: what is pending keeps its object, what has been does not. */
import { expect, test } from "bun:test";
import { keeper } from "../setup.ts";
import { Program } from "../tool.ts";

const keep = keeper();
const code = "CANCELFD_DROPPED";

async function drop(
  scenario: string,
  warnings: number,
): Promise<{ warnings: string[]; open: number; results: string[] }> {
  const child = keep(Program.script("promise-dropped.ts", [scenario, warnings]));
  return JSON.parse(await child.done());
}

for (const [scenario, count] of [
  ["an idle socket that connected as a promise", 1],
  ["ten of them", 10],
  ["an accepted socket", 1],
  ["a socket that has read", 1],
  ["a socket whose read was cancelled", 1],
  ["a socket with an iterator that was left", 1],
  ["a listener that has accepted", 1],
  ["a socket that was unref'ed after ref", 1],
  ["a socket with a deadline", 1],
] as const) {
  test(`is closed when it is collected, and says so: ${scenario}`, async () => {
    expect(await drop(scenario, count)).toEqual({ warnings: Array(count).fill(code), open: 0, results: [] });
  });
}

for (const [scenario, result] of [
  ["a socket with a pending read", "5"],
  ["a connected socket with a pending read", "5"],
  ["a socket with a pending read and a source that is dropped, too", "5"],
  ["a socket with a pending write", `${16 << 20}`],
  ["a listener with a pending accept", "5"],
] as const) {
  test(`is not collected, and its operation succeeds in the end: ${scenario}`, async () => {
    expect(await drop(scenario, 0)).toEqual({ warnings: [], open: 1, results: [result] });
  });
}

test("is not collected: a ref'ed socket", async () => {
  expect(await drop("a ref'ed socket", 0)).toEqual({ warnings: [], open: 1, results: [] });
});
