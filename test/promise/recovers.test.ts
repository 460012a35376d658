/** A reactor whose own system calls fail now and then: nothing is lost, and nobody else hears of it. */
import { expect, test } from "bun:test";
import { keeper } from "../setup.ts";
import { Program } from "../tool.ts";

const keep = keeper();

for (const [what, backend, mode] of [
  ["the epoll set that takes the place of the stand-in has no room for all", "epoll", "ENOSPC"],
  ["there is no memory for the epoll set that is to take the place of the stand-in", "epoll", "ENOMEM"],
  ["poll fails once for want of memory", "poll", "poll"],
] as const) {
  test(`${what}: reads, timeouts and closes work`, async () => {
    // The loop as it is chosen unasked.
    const env = { CANCELFD_BACKEND: backend, CANCELFD_LOOP: undefined };
    const program = keep(Program.script("promise-recovers.ts", [mode], { env }));
    const expected = { failures: 1, counts: [1, 1, 1], late: "TimeoutError", ends: [0, 0, 0] };
    expect(JSON.parse(await program.done())).toEqual(expected);
  });
}
