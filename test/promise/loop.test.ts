/** How Bun's loop is told: by a watch on the epoll descriptor or, where that does not work, by a helper thread. */
import { expect, test } from "bun:test";
import { keeper } from "../setup.ts";
import { Program, peer } from "../tool.ts";

const keep = keeper();
const onLinux = process.platform === "linux";

interface Outcome {
  outcomes: string[];
  workers: number;
  descriptors: string[];
}

function start(variables: Record<string, string>, preload: string[] = []): Program {
  const unset = ["-u", "CANCELFD_LOOP", "-u", "CANCELFD_BACKEND"];
  const set = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  return keep(Program.start(["env", ...unset, ...set, process.execPath, ...preload, peer("promise-loop.ts")]));
}

async function run(variables: Record<string, string>, preload?: string[]): Promise<Outcome> {
  const outcome = JSON.parse(await start(variables, preload).done()) as Outcome;
  expect(outcome.outcomes).toEqual(["AbortError", "TimeoutError"]);
  return outcome;
}

test("CANCELFD_LOOP=watch takes no thread", async () => {
  if (onLinux) expect((await run({ CANCELFD_LOOP: "watch" })).workers).toBe(0);
});

test("without CANCELFD_LOOP it is the watch, where that works: on Linux", async () => {
  if (onLinux) expect((await run({})).workers).toBe(0);
});

test("CANCELFD_LOOP=worker takes one helper thread, with epoll and with poll", async () => {
  expect((await run({ CANCELFD_LOOP: "worker" })).workers).toBe(1);
  expect((await run({ CANCELFD_LOOP: "worker", CANCELFD_BACKEND: "poll" })).workers).toBe(1);
});

test("poll has nothing to watch: a helper thread it is, unasked", async () => {
  expect((await run({ CANCELFD_BACKEND: "poll" })).workers).toBe(1);
});

for (const way of ["never opens", "never closes", "is rejected", "throws"]) {
  test(`a Bun.connect that ${way} fails the trial: a helper thread does it, and the trial leaves nothing open`, async () => {
    const preload = ["--preload", peer("promise-broken-watch.ts")];
    const { workers, descriptors } = await run({ BROKEN_WATCH: way }, preload);
    expect(workers).toBe(1);
    expect(descriptors).toEqual((await run({ CANCELFD_LOOP: "worker" })).descriptors);
  });
}

test("an unknown CANCELFD_LOOP, CANCELFD_BACKEND, or poll with watch is an error at import that says what there is", async () => {
  for (const [variables, message] of [
    [{ CANCELFD_LOOP: "spin" }, 'CANCELFD_LOOP is "watch" or "worker", not "spin"'],
    [{ CANCELFD_LOOP: "" }, 'CANCELFD_LOOP is "watch" or "worker", not ""'],
    [{ CANCELFD_BACKEND: "kqueue" }, 'CANCELFD_BACKEND is "epoll" or "poll", not "kqueue"'],
    [{ CANCELFD_LOOP: "watch", CANCELFD_BACKEND: "poll" }, "CANCELFD_LOOP=watch needs an epoll descriptor"],
  ] as const) {
    const program = start(variables);
    expect(await program.exited()).toBe(1);
    expect(program.errors).toContain(message);
    expect(program.output).toBe("");
  }
});
