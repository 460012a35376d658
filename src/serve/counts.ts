/** What a server has done so far, in memory that another thread may look at. */
const ACTIVE = 0;
const SERVED = 1;
const COMPLETED = 2;
const FORCED = 3;
/** How often somebody has looked at the ends. Two who look at once may count as one: what matters is that it goes up. */
const LOOKS = 4;
const COUNTS = 5;

/** What became of connections. */
export interface ShutdownResult {
  /** Their handlers came to an end, or closed or detached their sockets. (One that failed counts as neither.) */
  readonly completed: number;
  /** They were reset when the time was over, or ended with the thread that served them. */
  readonly forced: number;
}

export class Counts {
  /** Doubles, so that they never overflow; each written by one thread at a time, and not torn on the 64-bit machines we run on. */
  readonly words: Float64Array<ArrayBufferLike>;

  /** Begins with zeros, and goes on with what another thread has counted. */
  constructor(words: Float64Array<ArrayBufferLike> = new Float64Array(COUNTS)) {
    this.words = words;
  }

  /** For a thread to count, and another to look. */
  static shared(): Counts {
    return new Counts(new Float64Array(new SharedArrayBuffer(COUNTS * Float64Array.BYTES_PER_ELEMENT)));
  }

  /** Connections whose sockets are open. */
  get active(): number {
    return this.words[ACTIVE]!;
  }

  /** Those that are over, whatever became of them. */
  get served(): number {
    return this.words[SERVED]!;
  }

  /** What has been looked at stays: see `takeBackCompleted`. */
  get ends(): ShutdownResult {
    this.words[LOOKS]! += 1;
    return { completed: this.words[COMPLETED]!, forced: this.words[FORCED]! };
  }

  /** What `takeBackCompleted` wants to know. */
  get looks(): number {
    return this.words[LOOKS]!;
  }

  begin(): void {
    this.words[ACTIVE]! += 1;
  }

  /** One that was active is over. */
  end(outcome: "completed" | "forced" | "failed"): void {
    this.words[ACTIVE]! -= 1;
    this.words[SERVED]! += 1;
    if (outcome === "completed") this.words[COMPLETED]! += 1;
    if (outcome === "forced") this.words[FORCED]! += 1;
  }

  /** One that was counted as completed has failed after all; `looks` is that of the moment when it was. */
  takeBackCompleted(looks: number): void {
    if (looks === this.looks) this.words[COMPLETED]! -= 1;
  }

  /** All that are active are over: their thread has ended. */
  endAll(): void {
    while (this.active > 0) this.end("forced");
  }
}

/** What was taken back meanwhile may have been counted before. */
export function since(before: ShutdownResult, now: ShutdownResult): ShutdownResult {
  return { completed: Math.max(0, now.completed - before.completed), forced: now.forced - before.forced };
}
