/** A process with promises of queues, which ends as soon as nothing keeps it; "still here" and status 3 if something does. */
import { Worker } from "node:worker_threads";
import { CancelSource, WakeQueue } from "../../src/index.ts";

const [scenario, patience] = process.argv.slice(2) as [string, string];
const queue = new WakeQueue<number>({ capacity: 16 });
const quietly = (promise: Promise<unknown>) => promise.catch(({ name }: Error) => console.log(name));

const scenarios: Record<string, () => unknown> = {
  "a receive": () => queue.receive(),
  "a receive with a deadline far away": () => queue.receive({ timeout: 3_600_000 }),
  "a loop": async () => {
    for await (const _ of queue);
  },
  "a sendAsync": () => {
    queue.send(1);
    return queue.sendAsync(2);
  },
  "a queue": () => queue.handle,
  "a queue that has sent and received by promises": async () => {
    const first = queue.receive();
    await queue.sendAsync(1);
    await first;
    await queue.sendAsync(2);
    const second = queue.sendAsync(3);
    await queue.receive();
    await second;
  },
  "a receive that was cancelled": async () => {
    using source = new CancelSource();
    const pending = quietly(queue.receive({ cancel: source }));
    source.cancel();
    await pending;
  },
  "a sendAsync that ran out of time": async () => {
    await queue.sendAsync(1);
    await quietly(queue.sendAsync(2, { timeout: 5 }));
  },
  "a loop that was ended by close": async () => {
    setImmediate(() => queue.close());
    for await (const _ of queue);
    console.log("the end");
  },
  "a queue that was disposed with promises pending": async () => {
    queue.send(1);
    const pending = [quietly(queue.sendAsync(2)), quietly(queue.sendAsync(3))];
    queue.dispose();
    await Promise.all(pending);
  },
  "an unref'ed Worker with promises pending": async () => {
    const worker = new Worker(new URL(import.meta.url), { argv: ["in a Worker", patience] });
    await new Promise((resolve) => worker.once("message", resolve));
    worker.unref();
  },
  "a Worker that was terminated with promises pending": async () => {
    const worker = new Worker(new URL(import.meta.url), { argv: ["in a Worker", patience] });
    await new Promise((resolve) => worker.once("message", resolve));
    await worker.terminate();
    console.log("terminated");
  },
  "process.exit with promises pending": () => {
    void queue.receive();
    process.exit(0);
  },
  "in a Worker": async () => {
    const { parentPort } = await import("node:worker_threads");
    void new WakeQueue().receive();
    queue.send(1);
    void queue.sendAsync(2);
    setImmediate(() => parentPort!.postMessage("up"));
  },
};

const stays = setTimeout(() => {
  console.log("still here");
  process.exit(3);
}, Number(patience));
stays.unref();
void scenarios[scenario]!();
