/** One of the threads of a server, and those that replace it when it crashes. */
import { Worker } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";
import { releaseOnExit } from "../shared/release-on-exit.ts";
import { makeSureOfRoom } from "../shared/room-for-a-thread.ts";
import { Counts } from "./counts.ts";
import { Gate } from "./gate.ts";
import { type ThreadJob, type ThreadNews, type ThreadOrder, unwrap, wrap } from "./thread-job.ts";

/**
 * Milliseconds between a crash and the next thread: doubled from crash to crash, unless the thread lived for a while. Chosen
 * so that one crash costs clients less than a second, and a module that cannot live does not keep a core busy.
 */
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 5000;
const A_WHILE = 10_000;

/** Who is told what becomes of a thread. */
export interface Owner {
  /** It serves. */
  cameUp(thread: ServerThread): void;
  /** It was told to stop, and the listener's queue is empty. */
  drained(): void;
  /** It has ended, without having been told to. */
  crashed(thread: ServerThread, error: unknown): void;
  /** It has ended, as it was told to. */
  ended(thread: ServerThread): void;
}

export class ServerThread {
  readonly #job: ThreadJob;
  readonly #owner: Owner;
  readonly #fd: number;
  readonly #counts = Counts.shared();
  readonly #gate = Gate.shared();
  #worker: Worker | null = null;
  #state: "starting" | "up" | "done" | "terminated" | "down" = "down";
  /** What it failed with. */
  #failure: { readonly error: unknown } | null = null;
  #startedAt = 0;
  #pause = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** What it was told, and one that takes its place is to be told. */
  readonly #orders: ThreadOrder[] = [];
  #id = 0;
  #restarts = 0;

  /** `fd`: the listener's. Throws `SystemError` (`EMFILE`). */
  constructor(job: Omit<ThreadJob, "counts" | "gate">, fd: number, owner: Owner) {
    this.#job = { ...job, counts: this.#counts.words, gate: this.#gate.word };
    this.#fd = fd;
    this.#owner = owner;
    this.#start();
  }

  /** `threadId` of node:worker_threads: of the one that runs, or ran last. */
  get id(): number {
    return this.#id;
  }

  get counts(): Counts {
    return this.#counts;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get isRunning(): boolean {
    return this.#state !== "down";
  }

  /** True: it has accepted nobody, and will accept nobody. */
  shutOut(): boolean {
    return !this.isRunning || this.#gate.shut();
  }

  #start(): void {
    this.#startedAt = monotonic();
    makeSureOfRoom(this.#fd);
    this.#gate.open();
    this.#state = "starting";
    this.#failure = null;
    const worker = new Worker(new URL("./thread-entry.ts", import.meta.url), { workerData: this.#job });
    releaseOnExit(worker); // before our own listener: its clients see an end first
    this.#worker = worker;
    this.#id = worker.threadId;
    worker.on("message", (message) => {
      const news = unwrap<ThreadNews>(message);
      if (news !== undefined) this.#hear(news);
    });
    worker.on("error", (error) => {
      this.#failure ??= { error };
    });
    worker.on("exit", (status) => this.#exited(status));
  }

  #hear(news: ThreadNews): void {
    if (this.#state === "terminated") return;
    if (news === "drained") {
      this.#owner.drained();
      return;
    }
    this.#state = news;
    if (news === "done") return;
    for (const order of this.#orders) this.#post(order);
    this.#owner.cameUp(this);
  }

  #exited(status: number): void {
    const wasToEnd = this.#state === "done" || this.#state === "terminated";
    this.#worker = null;
    this.#state = "down";
    this.#counts.endAll();
    if (wasToEnd) this.#owner.ended(this);
    else if (this.#failure !== null) this.#owner.crashed(this, this.#failure.error);
    else this.#owner.crashed(this, new Error(`a thread ended by itself, with status ${status}`));
  }

  /** Another one takes its place, after a pause. */
  restart(): void {
    this.#pause =
      monotonic() - this.#startedAt > A_WHILE ? FIRST_PAUSE : Math.min(this.#pause * 2 || FIRST_PAUSE, LONGEST_PAUSE);
    this.#timer = setTimeout(() => this.startNow(), this.#pause);
  }

  /** Does not wait for the end of the pause. */
  startNow(): void {
    clearTimeout(this.#timer);
    try {
      this.#start();
    } catch (error) {
      this.#owner.crashed(this, error); // no descriptors: after a longer pause, perhaps
      return;
    }
    this.#restarts++;
  }

  /** Ends the pause between two threads: there is none to come. */
  stayDown(): void {
    clearTimeout(this.#timer);
  }

  tell(order: ThreadOrder): void {
    this.#orders.push(order);
    if (this.#state === "up") this.#post(order);
    else if (order === "close") this.terminate(); // it serves nobody yet
  }

  #post(order: ThreadOrder): void {
    this.#worker?.postMessage(wrap(order));
  }

  /** Ends it, even if it never looks at what it is told. */
  terminate(): void {
    if (this.#worker === null) return;
    this.#state = "terminated";
    void this.#worker.terminate();
  }
}
