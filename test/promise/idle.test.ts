/** A process that waits uses no CPU, whatever it waits for and whatever has happened before: child processes measure their own. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { Program } from "../tool.ts";

const scenarios = [
  "1,000 connections, some with reads",
  "reads with deadlines far away",
  "a source that stays cancelled",
  "a source that was cancelled, and armed again",
  "peers that hung up and are not read",
  "data that nobody reads",
  "sockets that connected and wait for nothing",
  "sockets that can be written",
  "after a burst of traffic",
  "a signal, and nothing else",
];
const children = new Map<string, Program>();

setDefaultTimeout(60_000);
// All at once: each takes seconds, in which it should do nothing.
beforeAll(() => {
  for (const scenario of scenarios) children.set(scenario, Program.script("promise-idle.ts", [scenario]));
});
afterAll(async () => {
  for (const child of children.values()) await child[Symbol.asyncDispose]();
});

for (const scenario of scenarios) {
  test(`next to no CPU: ${scenario}`, async () => {
    const { usage } = JSON.parse(await children.get(scenario)!.done()) as { usage: number };
    expect(usage).toBeLessThan(0.05);
  });
}
