/** The signals of the process that end a server. */
import { constants as system } from "node:os";
import { isMainThread } from "node:worker_threads";

/** `NodeJS.Signals`, for those who compile without Node.js's types. */
export type Signal = `SIG${string}`;

interface Stoppable {
  shutdown(): Promise<unknown>;
  close(): void;
}

/** The first one shuts the server down, the second one closes it. */
export class StopSignals {
  readonly #server: Stoppable;
  readonly #names = new Set<Signal>();
  #hasBeenHeard = false;
  #isOver = false;

  constructor(server: Stoppable) {
    this.#server = server;
  }

  /** None: SIGINT and SIGTERM. Throws `TypeError` for what is no signal, or none that can be heard, and listens to none then. */
  add(names: readonly Signal[]): void {
    const wanted: readonly Signal[] = names.length === 0 ? ["SIGINT", "SIGTERM"] : names;
    if (!isMainThread) {
      throw new TypeError(
        "signals come to the main thread only: call shutdownOn there, or shutdown here when it says so",
      );
    }
    for (const name of wanted) {
      if (!(name in system.signals)) throw new TypeError(`there is no signal ${String(name)}`);
      if (name === "SIGKILL" || name === "SIGSTOP") throw new TypeError(`no process hears ${name}; take SIGTERM`);
    }
    if (this.#isOver) return;
    for (const name of wanted) {
      if (this.#names.has(name)) continue;
      this.#names.add(name);
      process.on(name, this.#onSignal);
    }
  }

  /** The server is finished: listens no more. */
  end(): void {
    this.#isOver = true;
    for (const name of this.#names) process.off(name, this.#onSignal);
    this.#names.clear();
  }

  readonly #onSignal = (): void => {
    if (this.#hasBeenHeard) {
      this.#server.close();
      return;
    }
    this.#hasBeenHeard = true;
    void this.#server.shutdown();
  };
}
