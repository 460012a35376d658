/** The Worker of test/thread.ts: says its thread id, then runs one function. */
import { readlinkSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import type { Body } from "../thread.ts";

const { module, name, data, flags } = workerData as { module: string; name: string; data: unknown; flags: Int32Array };
const body = ((await import(`./${module}.ts`)) as Record<string, Body<unknown>>)[name]!;
parentPort!.postMessage(readlinkSync("/proc/thread-self").split("/").at(-1));
await body(
  {
    say: (value) => parentPort!.postMessage(value),
    aboutToBlock: () => {
      Atomics.store(flags, 0, 1);
    },
    flags,
  },
  data,
);
