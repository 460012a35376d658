/** Doorbells that are pipes, one a wait. Where the library would use eventfds, these tests run in a child process. */
import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import { CancelSource, listen } from "../src/index.ts";
import { END, ENTERED, GENEROUS, GO_ON, type ReadOutcome, RUNG } from "./bodies/doorbells.ts";
import { inStepWith, passed, reach } from "./gates.ts";
import { changesSince, more, NONE, quietTable } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { FLAGS, until } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const TIMES = 200_000;
const THREADS = [0, 1];
/** Far beyond the 20 seconds that 200,000 rounds take: a busy machine is no failure. */
const LIMIT = 280_000;

if (process.env.CANCELFD_BACKEND !== "poll") {
  test(
    "doorbells that are pipes: all tests of this file pass with CANCELFD_BACKEND=poll",
    async () => {
      const { exited, stderr } = Bun.spawn([process.execPath, "test", fileURLToPath(import.meta.url)], {
        cwd: fileURLToPath(new URL("..", import.meta.url)),
        env: { ...process.env, CANCELFD_BACKEND: "poll", CANCELFD_LOOP: undefined },
        stdout: "ignore",
        stderr: "pipe",
      });
      const report = await new Response(stderr).text();
      expect(await exited, report).toBe(0);
      expect(report).toContain(" 4 pass");
    },
    LIMIT + 10_000,
  );
} else {
  test(
    "cancel and reset 200,000 times: two threads wake each time, and no pipe is left",
    async () => {
      const before = await quietTable();
      const source = new CancelSource();
      const listener = listen({ hostname: "127.0.0.1" });
      const shared = new Int32Array(new SharedArrayBuffer(FLAGS * 4));
      const job = { cancel: source.handle, port: listener.address.port, shared };
      const threads = await Promise.all(
        THREADS.map((index) => start(keep, "doorbells", "readUntilTheEnd", { ...job, index })),
      );
      const peers = THREADS.map(() => listener.acceptSync({ timeout: 20_000 }));
      await inStepWith(threads, () => {
        for (let time = 1; time <= TIMES; time++) {
          // Whoever is in has to get out, wherever it is between its entry and its sleep: only then is it in once more.
          for (const index of THREADS) passed(shared, ENTERED + index, time);
          if (!source.cancel()) throw new Error(`time ${time}: it was cancelled already`);
          if (time === TIMES) reach(shared, END);
          else source.reset();
        }
      });
      for (const thread of threads) expect(await thread.next<number>()).toBe(TIMES);
      for (const thread of threads) await thread.join();
      for (const resource of [...peers, listener]) resource.close();
      source.dispose();
      expect(await changesSince(before)).toEqual(NONE);
    },
    LIMIT,
  );

  test("a wait that ends by itself leaves no pipe, and the next cancel wakes the next wait", async () => {
    const source = keep(new CancelSource());
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const job = { cancel: source.handle, port: listener.address.port, timeout: 30 };
    const before = await quietTable();
    const thread = await start(keep, "doorbells", "readRefused", job);
    const peer = listener.acceptSync({ timeout: 20_000 });
    expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "TimeoutError" });
    expect(more(before, "pipe:")).toBe(0);
    reach(thread.flags, GENEROUS);
    await thread.blocked();
    expect(more(before, "pipe:")).toBe(2);
    source.cancel();
    expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError" });
    await thread.join();
    peer.close();
    expect(await changesSince(before)).toEqual(NONE);
  });

  test("a thread that has rung, and is slow to say so, does not make the waiter's next wait deaf", async () => {
    const source = keep(new CancelSource());
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const job = { cancel: source.handle, port: listener.address.port };
    const waiter = await start(keep, "doorbells", "readRefused", job);
    keep(listener.acceptSync({ timeout: 20_000 }));
    await waiter.blocked();
    const slow = await start(keep, "doorbells", "cancelSlowly", source.handle);
    // It has closed the write end of the pipe, and the waiter's cell still names it.
    await until("it to ring", () => Atomics.load(slow.flags, RUNG) === 1);
    expect(await waiter.next<ReadOutcome>()).toMatchObject({ name: "AbortError" });
    source.reset();
    reach(waiter.flags, GENEROUS);
    await waiter.blocked(); // with a pipe of its own in the cell
    reach(slow.flags, GO_ON);
    expect(await slow.next<boolean>()).toBe(true);
    await slow.join();
    expect(source.cancel("once more")).toBe(true);
    expect(await waiter.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "once more" });
    await waiter.join();
  });

  test("two threads that wait on one source at once have a pipe each, and one cancel wakes both", async () => {
    const source = keep(new CancelSource());
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const job = { cancel: source.handle, port: listener.address.port };
    const before = await quietTable();
    const threads = await Promise.all(THREADS.map(() => start(keep, "doorbells", "readRefused", job)));
    const peers = THREADS.map(() => listener.acceptSync({ timeout: 20_000 }));
    for (const thread of threads) await thread.blocked();
    expect(more(before, "pipe:")).toBe(4);
    source.cancel("both");
    for (const thread of threads) {
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "both" });
      reach(thread.flags, GENEROUS);
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "both" });
      await thread.join();
    }
    for (const peer of peers) peer.close();
    expect(await changesSince(before)).toEqual(NONE);
  });
}
