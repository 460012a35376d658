import type { Dropped } from "../shared/dropped.ts";
import type { QueueCore } from "./queue-core.ts";

/** What one object has of its queue. */
export class Copy implements Dropped {
  readonly kind = "WakeQueue";
  readonly remedy = "dispose()";
  readonly #core: QueueCore;
  dropped = false;

  constructor(core: QueueCore) {
    this.#core = core;
  }

  drop(): boolean {
    if (this.dropped) return false;
    this.dropped = true;
    return this.#core.release();
  }
}
