import { expect, test } from "bun:test";
import { type CancelHandle, CancelSource, listen } from "../src/index.ts";
import { BEGIN, ENTERED, type LeftoverJob } from "./bodies/leftovers.ts";
import { inStepWith, passed, reach } from "./gates.ts";
import { blackHole, keeper } from "./setup.ts";
import { fdTable, Thread } from "./thread.ts";

const keep = keeper();

test("100,000 cancelled operations leave no descriptor and no registration: at entry, asleep, and with 1,000 new sources", async () => {
  const { port } = blackHole(keep);
  const source = keep(new CancelSource());
  const job: LeftoverJob = { cancel: source.handle, blackHole: port, atEntry: 89_000, asleep: 10_000, fresh: 1000 };
  const before = fdTable();
  const thread = await Thread.start("leftovers", "cancelMany", job);
  let round = 0;
  const cancelAsleep = (times: number) =>
    inStepWith([thread], () => {
      for (let i = 0; i < times; i++) {
        reach(thread.flags, BEGIN, ++round);
        passed(thread.flags, ENTERED, round);
        source.cancel();
        source.reset();
      }
    });

  await cancelAsleep(5);
  const registered = await thread.next<number[]>();
  expect(await thread.next<number[]>()).toEqual(registered);
  await cancelAsleep(job.asleep);
  expect(await thread.next<number[]>()).toEqual(registered);
  for (let i = 0; i < job.fresh; i++) {
    using fresh = CancelSource.from(await thread.next<CancelHandle>());
    fresh.cancel();
  }
  // Each socket is left alone in its set: the source before these went when the next one came, and the last with its end.
  expect(await thread.next<number[]>()).toEqual(registered.map((count) => Math.max(0, count - 1)));
  await thread.join();
  expect(fdTable()).toEqual(before);
}, 60_000);

test("10,000 sources that are made, shared, cancelled and disposed leave no descriptor, and the next costs the same", () => {
  using listener = listen({ hostname: "127.0.0.1" });
  const before = fdTable();
  for (let i = 0; i < 10_000; i++) {
    using source = new CancelSource();
    using child = source.child();
    using copy = CancelSource.from(child.handle);
    (i % 2 === 0 ? source : copy).cancel(i);
    if (!copy.cancelled || !child.cancelled) throw new Error(`source ${i} is not cancelled`);
  }
  expect(fdTable()).toEqual(before);
  expect(listener.tryAccept()).toBeNull();
});
