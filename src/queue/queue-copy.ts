import type { Dropped } from "../shared/dropped.ts";
import type { Leaver, QueueCore } from "./queue-core.ts";

/** What one object has of its queue. */
export class Copy implements Dropped {
  readonly kind = "WakeQueue";
  readonly remedy = "dispose()";
  readonly #core: QueueCore;
  #leavers: Set<Leaver> | undefined;
  dropped = false;

  constructor(core: QueueCore) {
    this.#core = core;
  }

  /** Called when this object goes, or the queue itself: another object of this thread may stand for it for longer. */
  whenLeaving(leaver: Leaver): void {
    this.#leavers ??= new Set();
    this.#leavers.add(leaver);
    this.#core.whenLeaving(leaver);
  }

  notWhenLeaving(leaver: Leaver): void {
    this.#leavers?.delete(leaver);
    this.#core.notWhenLeaving(leaver);
  }

  drop(): boolean {
    if (this.dropped) return false;
    this.dropped = true;
    for (const leaver of this.#leavers ?? []) leaver();
    return this.#core.release();
  }
}
