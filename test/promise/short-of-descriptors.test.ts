/** Promise operations of a process that has no file descriptor left: a real limit, in child processes. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { Program, peer } from "../tool.ts";

const LIMIT = 80;
const children = new Map<string, Program>();
/** How many are left decides what is the first that cannot be had: the epoll set, the timer, the trial, the watch, … */
const LEFT = ["0", "1", "2", "3", "4"];

interface Result {
  [what: string]: unknown;
  short: { cpu: number; looks: number };
  afterwards: { cpu: number; looks: number };
}

setDefaultTimeout(60_000);
// All at once: each takes seconds, in which it does next to nothing.
beforeAll(() => {
  for (const temperature of ["warm", "cold"]) {
    for (const free of LEFT) {
      const script = [process.execPath, peer("promise-short-of-descriptors.ts"), temperature, free];
      const child = Program.start(["sh", "-c", `ulimit -n ${LIMIT}; exec "$@"`, "sh", ...script]);
      children.set(`${temperature} ${free}`, child);
    }
  }
});
afterAll(async () => {
  for (const child of children.values()) await child[Symbol.asyncDispose]();
});

for (const temperature of ["warm", "cold"]) {
  for (const free of LEFT) {
    const who = temperature === "warm" ? "a thread that has waited before" : "a thread that has not waited yet";
    test(`with ${free} descriptors left ${who} reads, times out and is cancelled, without spinning; and wakes by itself once there are more`, async () => {
      const { short, afterwards, connect, ...result } = JSON.parse(
        await children.get(`${temperature} ${free}`)!.done(),
      ) as Result;
      expect(result).toEqual({
        read: "5",
        timeout: "TimeoutError ERR_TIMEOUT",
        cancelled: Array(3).fill("AbortError ABORT_ERR, aborted"),
        accept: "TimeoutError ERR_TIMEOUT",
        readAfterwards: "5",
        cancelledAfterwards: "AbortError ABORT_ERR, aborted",
      });
      if (free === "0") expect(connect).toBe("SystemError EMFILE");
      expect(short.cpu).toBeLessThan(0.5);
      expect(short.looks).toBeLessThan(500);
      expect(afterwards.looks).toBeLessThan(20);
    });
  }
}
