/** A thread that reads from a socket as often as it is told to, and the other end of that socket. */
import type { CancelHandle } from "../src/index.ts";
import { listen, type TcpSocket } from "../src/index.ts";
import { reach } from "./gates.ts";
import { Thread, until } from "./thread.ts";

/** Where a read can be held up: the instants at which a cancel could be missed. */
export type Instant = "after it found nothing" | "before it sleeps" | "after it slept";

export interface ReadJob {
  cancel?: CancelHandle | undefined;
  /** With a child of that source, which it makes itself. */
  child?: boolean;
  timeout?: number | undefined;
  interruptible?: boolean | undefined;
  pause?: Instant | undefined;
}

export interface ReadOutcome {
  /** What it read; an error has none. */
  text?: string;
  name?: string;
  code?: string;
  cause?: unknown;
  /** The `monotonic()` time at which it was over. */
  at: number;
  /** How often it went to sleep in the kernel, and how often a signal woke it there. */
  waits: number;
  interrupted: number;
}

/** Gates of `bodies/reader.ts`. */
export const PAUSED = 1;
export const GO_ON = 2;
export const WAITS = 3;
export const INTERRUPTED = 4;

export class Reader implements AsyncDisposable {
  readonly thread: Thread;
  /** The other end. */
  readonly far: TcpSocket;

  private constructor(thread: Thread, far: TcpSocket) {
    this.thread = thread;
    this.far = far;
  }

  static async start(): Promise<Reader> {
    using listener = listen({ hostname: "127.0.0.1" });
    const thread = await Thread.start("reader", "readWhenTold", listener.address.port);
    const far = listener.acceptSync({ timeout: 20_000 });
    await thread.next();
    return new Reader(thread, far);
  }

  /** Tells it to read once. */
  read(job: ReadJob = {}): void {
    for (const gate of [PAUSED, GO_ON, WAITS, INTERRUPTED]) Atomics.store(this.thread.flags, gate, 0);
    this.thread.worker.postMessage(job);
  }

  /** Resolves once it sleeps in the kernel. */
  blocked(): Promise<void> {
    return this.thread.blocked();
  }

  /** Resolves once it is held up where the job says. */
  paused(): Promise<void> {
    return until("the read to be held up", () => Atomics.load(this.thread.flags, PAUSED) === 1);
  }

  goOn(): void {
    reach(this.thread.flags, GO_ON);
  }

  /** What came of the read. */
  outcome(): Promise<ReadOutcome> {
    return this.thread.next<ReadOutcome>();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.goOn();
    this.far.close(); // whatever it is reading ends
    this.thread.worker.postMessage(null);
    await this.thread.join();
  }
}
