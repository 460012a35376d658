/**
 * How much is under way, for those who want to know when nothing is, and nothing more is to come: tokio's TaskTracker,
 * without the tasks. It starts nothing and ends nothing.
 */
export class Tracker {
  #active = 0;
  #closed = false;
  #waiting: (() => void)[] = [];

  /** How many have entered and not left. */
  get active(): number {
    return this.#active;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** One more is under way, whether it is closed or not. */
  enter(): void {
    this.#active++;
  }

  /** One that has entered is over. */
  leave(): void {
    this.#active--;
    this.#tell();
  }

  /** Nothing more is to come. True for the call that closed it. */
  close(): boolean {
    if (this.#closed) return false;
    this.#closed = true;
    this.#tell();
    return true;
  }

  /** Something may come after all. True for the call that opened it again. */
  reopen(): boolean {
    const wasClosed = this.#closed;
    this.#closed = false;
    return wasClosed;
  }

  /** Resolves once it has been closed and empty at one time, whatever was to follow. */
  wait(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  get #isOver(): boolean {
    return this.#closed && this.#active === 0;
  }

  #tell(): void {
    if (!this.#isOver) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
