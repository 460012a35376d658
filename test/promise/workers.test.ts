/** Each thread has a reactor of its own, which goes with it. */
import { expect, test } from "bun:test";
import { releaseOnExit } from "../../src/index.ts";
import { changesSince, NONE, quietTable } from "../leaks.ts";
import { keeper, pair } from "../setup.ts";
import { Thread } from "../thread.ts";

const keep = keeper();

const use = (end: string, times = 5) => Thread.start("reactor", "useAReactor", { times, end });

/** Bun opens some things of its own with the first Worker. */
async function warmUp(): Promise<void> {
  const thread = await use("ends");
  await thread.next();
  await thread.join();
}

for (const end of ["ends", "exits"]) {
  test(`a Worker that ${end} by itself leaves nothing of its reactor open`, async () => {
    await warmUp();
    const before = await quietTable();
    for (let i = 0; i < 3; i++) {
      const thread = await use(end);
      expect(await thread.next<string>()).toBe("done");
      await thread.join();
    }
    expect(await changesSince(before)).toEqual(NONE);
  });
}

test("a Worker that ends by an error leaves nothing of its reactor open", async () => {
  await warmUp();
  const before = await quietTable();
  const thread = await use("throws");
  releaseOnExit(thread.worker);
  expect(await thread.next<string>()).toBe("done");
  await expect(thread.join()).rejects.toThrow("on purpose");
  await new Promise((resolve) => setTimeout(resolve, 1));
  expect(await changesSince(before)).toEqual(NONE);
});

test("a Worker that is terminated with operations pending leaves nothing open, once its holds are given back", async () => {
  await warmUp();
  const before = await quietTable();
  for (let i = 0; i < 3; i++) {
    const thread = await Thread.start("reactor", "waitForEver");
    releaseOnExit(thread.worker);
    expect(await thread.next<string>()).toBe("up");
    await thread.terminate();
  }
  expect(await changesSince(before)).toEqual(NONE);
});

test("several Workers and this thread wait at the same time, each in its own way", async () => {
  const { client, server } = pair(keep);
  const threads = await Promise.all(Array.from({ length: 4 }, () => use("ends", 20)));
  const into = new Uint8Array(8);
  let rounds = 0;
  const done = Promise.all(threads.map((thread) => thread.next<string>()));
  let over = false;
  void done.finally(() => {
    over = true;
  });
  while (!over || rounds < 20) {
    const read = client.read(into);
    await Bun.sleep(1);
    await server.write("x");
    expect(await read).toBe(1);
    rounds++;
  }
  expect(await done).toEqual(Array(4).fill("done"));
  for (const thread of threads) await thread.join();
});
