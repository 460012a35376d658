/**
 * A thread that does one thing to a source and is held up before any one of its accesses to shared memory: a test goes
 * through all of them, and so through every interleaving with what it does itself meanwhile.
 */
import type { CancelHandle } from "../src/index.ts";
import { reach } from "./gates.ts";
import { Thread, until } from "./thread.ts";

export interface StepJob {
  /** What to do slowly. `look`: at `cancelled`, which also marks a timeout that has passed. */
  deed: "cancel" | "reset" | "look" | "from" | "dispose";
  cancel: CancelHandle;
  /** Hold it up before this access, counted from 0; and once more, so many accesses later. */
  step: number;
  second?: number;
}

export interface Stepped {
  /** How often it was held up. Less than asked for: it was done before. */
  held: number;
  /** What the deed returned, or the name of the error that it threw. */
  result?: unknown;
  name?: string;
  /** The source, as the thread sees it directly after. */
  cancelled?: boolean;
  reason?: unknown;
}

/** Gates. */
export const HELD = 1;
export const GO_ON = 2;
export const DONE = 3;

export class Stepper implements AsyncDisposable {
  readonly thread: Thread;

  private constructor(thread: Thread) {
    this.thread = thread;
  }

  static async start(): Promise<Stepper> {
    const thread = await Thread.start("stepper", "stepWhenTold");
    await thread.next();
    return new Stepper(thread);
  }

  /** Begins; resolves once it is held up, or done. */
  async begin(job: StepJob): Promise<void> {
    const { flags } = this.thread;
    for (const gate of [HELD, GO_ON, DONE]) Atomics.store(flags, gate, 0);
    this.thread.worker.postMessage(job);
    await until("it to be held up, or done", () => Atomics.load(flags, HELD) + Atomics.load(flags, DONE) > 0);
  }

  /** Lets it go on to where it is held up for the second time, or to its end. */
  async goOn(): Promise<void> {
    const { flags } = this.thread;
    reach(flags, GO_ON);
    await until("it to be held up again, or done", () => Atomics.load(flags, HELD) + 2 * Atomics.load(flags, DONE) > 1);
  }

  /** Lets it go on to its end. */
  finish(): Promise<Stepped> {
    reach(this.thread.flags, GO_ON, 2);
    return this.thread.next<Stepped>();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    reach(this.thread.flags, GO_ON, 2);
    this.thread.worker.postMessage(null);
    await this.thread.join();
  }
}
