/**
 * A small netcat. A thread of its own blocks and does the work (cli/transfer.ts); this one stays in its event loop,
 * because that is where signal handlers run, and stops the other.
 */
import { Worker } from "node:worker_threads";
import { Pipe } from "../ffi/index.ts";
import { CancelSource } from "../src/index.ts";
import type { NetcatOptions } from "./arguments.ts";
import type { TransferJob } from "./transfer.ts";

/** Resolves to the exit code. */
export async function netcat(options: NetcatOptions): Promise<number> {
  using source = new CancelSource();
  using bell = new Pipe();
  process.once("SIGINT", () => {
    source.cancel("Ctrl-C");
    bell.closeWrite();
  });
  const job: TransferJob = { options, cancel: source.handle, bell: bell.readFd };
  const worker = new Worker(new URL("./transfer.ts", import.meta.url), { workerData: job });
  return await new Promise((resolve, reject) => {
    let code = 1;
    worker.once("message", (said: number) => {
      code = said;
    });
    worker.once("error", reject).once("exit", () => resolve(code));
  });
}
