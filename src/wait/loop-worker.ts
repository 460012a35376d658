/**
 * A helper thread blocks in poll(2) in this thread's stead, and posts a message when something is ready. It learns what
 * to wait for through shared memory, and of changes by a byte in a pipe; when this thread ends, Bun ends it too.
 */
import { Worker } from "node:worker_threads";
import { Pipe } from "../../ffi/pipe.ts";
import { closeOwned, own } from "../shared/ledger.ts";
import { makeSureOfRoom } from "../shared/room-for-a-thread.ts";
import type { Loop } from "./loop.ts";
import { CAPACITY, COUNT, ENDED, FOLLOWED, type HelperJob, NOT_UP, ORDER, SET } from "./loop-order.ts";
import type { Selector } from "./readiness.ts";

/** Milliseconds to wait for a helper that does not answer: it has crashed, and polls nothing. */
const PATIENCE = 1000;
const ring = new Uint8Array(1);

export class LoopWorker implements Loop {
  readonly #selector: Selector;
  readonly #words = new Int32Array(new SharedArrayBuffer((SET + CAPACITY * 2) * 4));
  readonly #set = this.#words.subarray(SET);
  readonly #pipe = new Pipe();
  readonly #worker: Worker;
  #armed = false;
  /** Of the selector, when it was armed. */
  #version = -1;
  /** What the helper failed with. */
  #failure: unknown;

  /** Throws `SystemError` (`EMFILE`). */
  constructor(selector: Selector, wake: () => void) {
    this.#selector = selector;
    own(this.#pipe.readFd);
    own(this.#pipe.writeFd);
    try {
      makeSureOfRoom(this.#pipe.readFd);
    } catch (error) {
      closeOwned(this.#pipe.readFd);
      closeOwned(this.#pipe.writeFd);
      throw error;
    }
    this.#words[FOLLOWED] = NOT_UP;
    this.#worker = new Worker(new URL("./loop-helper.ts", import.meta.url), {
      name: "cancelfd loop", // the kernel's name of the thread, too
      workerData: { words: this.#words, bell: this.#pipe.readFd } satisfies HelperJob,
    });
    this.#worker.on("message", (order: number) => {
      if (order === this.#words[ORDER]) this.#armed = false;
      wake();
    });
    this.#worker.on("error", (error) => {
      this.#failure = error ?? new Error("the helper thread has failed");
      wake();
    });
    this.#worker.unref();
  }

  arm(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#armed && this.#selector.version === this.#version) return;
    const count = this.#selector.copyTo(this.#set);
    this.#order(count);
    this.#armed = true;
    this.#version = this.#selector.version;
  }

  #order(count: number): void {
    Atomics.store(this.#words, COUNT, count);
    Atomics.add(this.#words, ORDER, 1);
    this.#pipe.write(ring); // full: it has not looked at the rings before
  }

  keepAlive(on: boolean): void {
    if (on) this.#worker.ref();
    else this.#worker.unref();
  }

  /**
   * While poll(2) runs the kernel holds what it polls: a listener would go on listening after its close, and a number
   * that is a stranger's by then would be polled. So the helper has to have seen the set without it.
   */
  settle(): void {
    if (!this.#armed || this.#selector.version === this.#version) return;
    this.#armed = false;
    this.#order(0);
    this.#untilFollowed(this.#words[ORDER]!);
  }

  /** A helper that is not up yet has seen no order, and will see the last one. */
  #untilFollowed(order: number): void {
    for (let seen: number; (seen = Atomics.load(this.#words, FOLLOWED)) !== order; ) {
      if (seen === NOT_UP || seen === ENDED || this.#failure !== undefined) return;
      if (Atomics.wait(this.#words, FOLLOWED, seen, PATIENCE) === "timed-out") return;
    }
  }

  close(): void {
    closeOwned(this.#pipe.writeFd);
    this.#untilFollowed(ENDED);
    closeOwned(this.#pipe.readFd);
  }
}
