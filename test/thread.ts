/**
 * A real thread for a test: a Worker that runs one function of a module in test/bodies/, and what can be known of it
 * from outside, by /proc rather than by sleeping.
 */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";

/** What a body gets. */
export interface Context {
  /** Sends a value to the test. */
  say(value: unknown): void;
  /** From here on the thread is busy until it is blocked in an operation; `Thread.blocked` waits for this first. */
  aboutToBlock(): void;
  /** Shared with the test: words for flags and barriers. */
  readonly flags: Int32Array;
}
export type Body<T> = (context: Context, data: T) => unknown;

/** The system calls that this library blocks in, by number: x64 and arm64. */
export const waits: Record<string, ReadonlySet<string>> = {
  x64: new Set(["232", "7", "271", "281", "441"]), // epoll_wait, poll, ppoll, epoll_pwait, epoll_pwait2
  arm64: new Set(["22", "73", "441"]), // epoll_pwait (glibc's epoll_wait), ppoll, epoll_pwait2
};
/** And where a thread sleeps at a gate (gates.ts): futex. */
const gates: Record<string, string> = { x64: "202", arm64: "98" };
/** Flag 0 is `aboutToBlock`; a test has the rest. */
export const FLAGS = 64;

/** Asks `condition` until it holds; throws, with `what`, after ten seconds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited ten seconds for: ${what}`);
    await Bun.sleep(1);
  }
}

export class Thread {
  readonly worker: Worker;
  readonly flags: Int32Array;
  readonly #said: unknown[] = [];
  #wake: () => void = () => {};
  #ended = false;
  #error: unknown;
  /** The kernel's name of the thread. */
  tid = "";

  private constructor(module: string, name: string, data: unknown, options: object) {
    this.flags = new Int32Array(new SharedArrayBuffer(FLAGS * 4));
    this.worker = new Worker(new URL("./bodies/main.ts", import.meta.url), {
      workerData: { module, name, data, flags: this.flags },
      ...options,
    });
    this.worker.on("message", (message) => {
      this.#said.push(message);
      this.#wake();
    });
    this.worker.on("error", (error) => {
      this.#error = error;
      this.#wake();
    });
    this.worker.on("exit", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Starts function `name` of `test/bodies/<module>.ts` in a thread of its own. */
  static async start(module: string, name: string, data?: unknown, options: object = {}): Promise<Thread> {
    const thread = new Thread(module, name, data, options);
    thread.tid = (await thread.next()) as string;
    return thread;
  }

  /** The next value that it says. Throws what it failed with. */
  async next<T = unknown>(): Promise<T> {
    const end = Date.now() + 30_000;
    while (this.#said.length === 0) {
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) throw new Error("the thread has ended and says nothing more");
      if (Date.now() > end)
        throw new Error(`the thread said nothing for 30 seconds; it is in syscall ${this.#syscall()}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#wake = () => {
          clearTimeout(timer); // it would keep a program alive for a second
          resolve();
        };
      });
    }
    return this.#said.shift() as T;
  }

  /** Resolves once the kernel says that the thread sleeps in a wait of ours. */
  async blocked(): Promise<void> {
    await until("the thread to be about to block", () => Atomics.load(this.flags, 0) === 1);
    await until("the thread to be blocked in the kernel", () => waits[process.arch]!.has(this.#syscall()));
    Atomics.store(this.flags, 0, 0);
  }

  /**
   * Resolves once it sleeps, in a wait of ours or at a gate: the kernel names no call of a thread that has been woken and
   * has not run yet. Twice in a row, as a lock of Bun's is a futex as well.
   */
  async atRest(): Promise<void> {
    let times = 0;
    await until("the thread to be at rest", () => {
      const call = this.#syscall();
      times = waits[process.arch]!.has(call) || call === gates[process.arch] ? times + 1 : 0;
      return times === 2;
    });
  }

  #syscall(): string {
    try {
      return readFileSync(`/proc/self/task/${this.tid}/syscall`, "latin1").split(" ")[0]!.trim();
    } catch {
      return "none";
    }
  }

  /** Waits for its end. Throws what it failed with. */
  async join(): Promise<void> {
    await until("the thread to end", () => this.#ended);
    if (this.#error !== undefined) throw this.#error;
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
    await until("the terminated thread to end", () => this.#ended);
  }
}

/**
 * The descriptor table: number → what it is, without what is open for a moment only: this listing, and /proc/self/statm, at
 * which Bun's collector looks when it likes. Compare tables, not sizes: a leak and a stray close cancel out in a count.
 */
export function fdTable(): Record<string, string> {
  const { readdirSync, readlinkSync } = require("node:fs") as typeof import("node:fs");
  const table: Record<string, string> = {};
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const what = readlinkSync(`/proc/self/fd/${fd}`);
      if (!what.startsWith("/proc/")) table[fd] = what;
    } catch {
      // The descriptor of this very listing is gone by now.
    }
  }
  return table;
}

/** What `call` throws; fails if it does not throw. */
export function thrown<E = Error & { code?: string; bytesWritten?: number; cause?: unknown }>(call: () => unknown): E {
  try {
    call();
  } catch (error) {
    return error as E;
  }
  throw new Error("expected it to throw, and it did not");
}
