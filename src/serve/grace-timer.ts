/** When the time of grace is over: the earliest that anybody has asked for. */
import type { Timed } from "../wait/deadline-heap.ts";
import { reactor } from "../wait/reactor.ts";

const NEVER = Number.POSITIVE_INFINITY;

export class GraceTimer implements Timed {
  dueAt = NEVER;
  place = -1;
  readonly due: () => void;

  constructor(due: () => void) {
    this.due = due;
  }

  /** At the latest then: a `monotonic()` time. */
  endBy(when: number): void {
    reactor().setDeadline(this, Math.min(when, this.dueAt));
  }

  clear(): void {
    reactor().setDeadline(this, NEVER);
  }
}
