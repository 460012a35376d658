/** A read that another thread cancels: `bun run read-cancelled-by-thread.ts PORT`. The main thread reads. */
import { readFileSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { type CancelHandle, CancelledError, CancelSource, connectSync } from "../../src/index.ts";

interface Job {
  handle: CancelHandle;
  aboutToBlock: Int32Array;
}

if (isMainThread) {
  using source = new CancelSource();
  using socket = connectSync({ hostname: "127.0.0.1", port: Number(process.argv[2]) });
  const job: Job = { handle: source.handle, aboutToBlock: new Int32Array(new SharedArrayBuffer(4)) };
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  await new Promise((resolve) => worker.once("message", resolve));
  Atomics.store(job.aboutToBlock, 0, 1);
  try {
    socket.readSync(new Uint8Array(1024), { cancel: source });
    throw new Error("nothing was sent, and the read ended");
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
  }
  await new Promise((resolve) => worker.once("exit", resolve));
} else {
  const { handle, aboutToBlock } = workerData as Job;
  using source = CancelSource.from(handle);
  parentPort!.postMessage("up");
  // In epoll_wait, by number: x64, arm64.
  const blocked = () => /^(232|22) /.test(readFileSync(`/proc/${process.pid}/task/${process.pid}/syscall`, "latin1"));
  const end = Date.now() + 20_000;
  while (!(Atomics.load(aboutToBlock, 0) === 1 && blocked()) && Date.now() < end) await Bun.sleep(1);
  source.cancel("enough");
}
