/** Words of shared memory as gates between threads: one says how far it has come, the other waits for that. */

const LIMIT = 20_000;
/** Loads before a waiter goes to sleep: some 20 µs, so that two threads in step do not pay for a sleep each time. */
const SPINS = 4000;

/** Says that this thread has come to `step` at `gate`. */
export function reach(flags: Int32Array, gate: number, step = 1): void {
  Atomics.store(flags, gate, step);
  Atomics.notify(flags, gate);
}

/** Blocks this thread until `gate` has come to `step`; throws after twenty seconds. */
export function passed(flags: Int32Array, gate: number, step = 1): void {
  for (let i = 0; i < SPINS; i++) if (Atomics.load(flags, gate) >= step) return;
  const end = Date.now() + LIMIT;
  for (let now: number; (now = Atomics.load(flags, gate)) < step; ) {
    if (Date.now() > end) throw new Error(`waited twenty seconds for gate ${gate}: it is at ${now}, not at ${step}`);
    Atomics.wait(flags, gate, now, 1000);
  }
}

/** Does nothing for about so many nanoseconds. A sleep would be a hundred times as long. */
export function spin(nanoseconds: number): void {
  const end = Bun.nanoseconds() + nanoseconds;
  while (Bun.nanoseconds() < end);
}

/** Does `run`, which waits at gates for threads. If a gate stays shut because a thread has failed, throws what it failed with. */
export async function inStepWith(threads: readonly { join(): Promise<void> }[], run: () => void): Promise<void> {
  try {
    run();
  } catch (error) {
    await Promise.race([...threads.map((thread) => thread.join()), Bun.sleep(1000)]);
    throw error;
  }
}
