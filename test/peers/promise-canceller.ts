/** A Worker that cancels the source whose handle it is given, and ends. */
import { workerData } from "node:worker_threads";
import { CancelSource } from "../../src/index.ts";

using source = CancelSource.from(workerData);
source.cancel("elsewhere");
