/** A Worker of either class, to be ended at any instant: unlike `Thread`, nobody waits for its start. */
import { readFileSync } from "node:fs";
import { Worker as NodeWorker } from "node:worker_threads";
import { releaseOnExit } from "../src/index.ts";
import type { Keep } from "./setup.ts";
import { FLAGS, Thread, until, waits } from "./thread.ts";

export const workerClasses = ["web", "node"] as const;
export type WorkerClass = (typeof workerClasses)[number];

/** What both classes have; bun-types knows no `workerData` of the web one, which Bun has all the same. */
interface AnyWorker {
  readonly threadId: number;
  terminate(): unknown;
  postMessage(value: unknown): void;
  on?(event: "message" | "exit" | "error", listener: (value: unknown) => void): unknown;
  addEventListener?(
    event: "message" | "close" | "error",
    listener: (event: MessageEvent & ErrorEvent) => void,
  ): unknown;
}
type MakeWorker = new (url: URL, options: object) => AnyWorker;
const make: Record<WorkerClass, MakeWorker> = {
  web: Worker as unknown as MakeWorker,
  node: NodeWorker as unknown as MakeWorker,
};

interface Options {
  release?: boolean;
  /** Gates that others have too. */
  flags?: Int32Array;
}

export class Victim {
  readonly worker: AnyWorker;
  readonly flags: Int32Array;
  /** All that it has said so far; the first is its kernel thread. */
  readonly said: unknown[] = [];
  #ended = false;
  #error: unknown;

  /** Runs function `name` of `test/bodies/<module>.ts`. Registered by `releaseOnExit` at once, unless told not to. */
  constructor(
    kind: WorkerClass,
    module: string,
    name: string,
    data?: unknown,
    { release = true, flags }: Options = {},
  ) {
    this.flags = flags ?? new Int32Array(new SharedArrayBuffer(FLAGS * 4));
    this.worker = new make[kind](new URL("./bodies/main.ts", import.meta.url), {
      workerData: { module, name, data, flags: this.flags },
    });
    if (release) releaseOnExit(this.worker);
    const end = () => {
      this.#ended = true;
    };
    if (kind === "node") {
      this.worker.on?.("message", (value) => this.said.push(value));
      this.worker.on?.("error", (error) => {
        this.#error = error;
      });
      this.worker.on?.("exit", end);
    } else {
      this.worker.addEventListener?.("message", ({ data }) => this.said.push(data));
      this.worker.addEventListener?.("error", ({ message }) => {
        this.#error = new Error(message);
      });
      this.worker.addEventListener?.("close", end);
    }
  }

  /** Value number `index` that it says, counted from 1. Throws what it failed with. */
  async hears<T>(index: number): Promise<T> {
    await until(`the Worker to say ${index} things`, () => this.said.length > index || this.#ended || !!this.#error);
    if (this.#error !== undefined) throw this.#error;
    if (this.said.length <= index) throw new Error("the Worker has ended, and did not say it");
    return this.said[index] as T;
  }

  /** Resolves once it sleeps in a wait of ours; the kernel's word for it is what `Thread.blocked` has. */
  async blocked(): Promise<void> {
    const tid = await this.hears<string>(0);
    await until("the Worker to be about to block", () => Atomics.load(this.flags, 0) === 1);
    await until("the Worker to be blocked in the kernel", () => {
      const call = readFileSync(`/proc/self/task/${tid}/syscall`, "latin1").split(" ")[0]!.trim();
      return waits[process.arch]!.has(call);
    });
  }

  /** Resolves once it has ended, and what it had was given back. */
  async ended(): Promise<void> {
    await until("the Worker to end", () => this.#ended);
    if (this.#error !== undefined) throw this.#error;
  }

  async terminate(): Promise<void> {
    this.worker.terminate();
    await this.ended();
  }
}

/** `Thread.start`, and the thread is ended after the test, whatever came of it: a later test would find its leftovers. */
export async function start(keep: Keep, module: string, name: string, data?: unknown): Promise<Thread> {
  const thread = await Thread.start(module, name, data);
  if (thread.worker.threadId > 0) releaseOnExit(thread.worker);
  keep({ [Symbol.asyncDispose]: () => thread.terminate() });
  return thread;
}
