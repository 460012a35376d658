/** Threads for the tests of the promise side: one that cancels when it is told, one that reads as fast as it can. */
import { parentPort } from "node:worker_threads";
import { type CancelHandle, CancelSource, connect, connectSync, listen } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import type { Context } from "../thread.ts";

/** Gates: the last round that may be cancelled, and the last one that is. */
export const CANCEL = 1;
export const CANCELLED = 2;

export interface CancelJob {
  cancel: CancelHandle;
  /** How often it is told to. */
  rounds: number;
  /** Before it says that it has: the source is ready for the next round. */
  reset?: boolean;
}

/** Cancels with the reason `round 1`, `round 2`, … when the gate CANCEL comes to 1, 2, …; says "up" first. */
export function cancelWhenTold({ say, flags }: Context, { cancel, rounds, reset = false }: CancelJob): void {
  using source = CancelSource.from(cancel);
  say("up");
  for (let round = 1; round <= rounds; round++) {
    passed(flags, CANCEL, round);
    source.cancel(`round ${round}`);
    if (reset) source.reset();
    reach(flags, CANCELLED, round);
  }
}

/** Reads to the end, and says how many bytes that were. */
export function readAsFastAsItCan({ say }: Context, port: number): void {
  using socket = connectSync({ hostname: "127.0.0.1", port });
  const buffer = new Uint8Array(1 << 20);
  let total = 0;
  for (let count: number; (count = socket.readSync(buffer)) > 0; ) total += count;
  say(total);
}

export interface SignalReport {
  reason: unknown;
  same: boolean;
  aborted: boolean;
}

/** Says "up", and once the source's signal has aborted, how. */
export async function reportSignal({ say }: Context, handle: CancelHandle): Promise<void> {
  using source = CancelSource.from(handle);
  const { signal } = source;
  const stay = setInterval(() => {}, 1000); // the signal keeps no thread alive
  const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
  say("up");
  await aborted;
  clearInterval(stay);
  const report: SignalReport = { reason: signal.reason, same: source.signal === signal, aborted: signal.aborted };
  say(report);
}

/** Says whether its signal has the very object that it cancels with. */
export function cancelWithAnObject({ say }: Context, handle: CancelHandle): void {
  using source = CancelSource.from(handle);
  const { signal } = source;
  const reason = new Error("an object");
  source.cancel(reason);
  say(signal.reason === reason);
}

/** Gates of `cancelsAfterCollection`. */
export const SEEN = 3;
export const GONE = 4;

/**
 * Keeps only a listener of the signal of a source that it drops, collects, and says what the listener hears. `disposed`:
 * objects of the same source that handed the signal out before the one that is dropped, and were disposed.
 */
export async function cancelsAfterCollection({ say, flags }: Context, disposed: number): Promise<void> {
  const heard = new Promise((resolve) => {
    parentPort!.once("message", (handle: CancelHandle) => {
      const others = Array.from({ length: disposed }, () => CancelSource.from(handle));
      for (const other of others) void other.signal;
      const source = CancelSource.from(handle);
      const { signal } = source;
      for (const other of others) other.dispose();
      signal.addEventListener("abort", () => resolve(signal.reason));
      say("has it");
    });
    say("up");
  });
  while (Atomics.load(flags, SEEN) === 0) await Bun.sleep(1);
  for (let i = 0; i < 10; i++) {
    Bun.gc(true);
    await Bun.sleep(1);
  }
  say("collected");
  const stay = setInterval(() => {}, 1000);
  say(await heard);
  clearInterval(stay);
  passed(flags, GONE);
}

/** Promise operations of all kinds in this thread, `times` times; says "done", and keeps nothing open. */
export async function useAReactor({ say }: Context, { times, end }: { times: number; end: string }): Promise<void> {
  const listener = listen({ hostname: "127.0.0.1" });
  const source = new CancelSource();
  const name = (error: Error) => error.name;
  for (let i = 0; i < times; i++) {
    const [client, server] = await Promise.all([
      connect({ hostname: "127.0.0.1", port: listener.address.port }),
      listener.accept(),
    ]);
    const into = new Uint8Array(8);
    const read = server.read(into, { timeout: 20_000, cancel: source });
    await Bun.sleep(1);
    await client.write("hello");
    if ((await read) !== 5) throw new Error("expected 5 bytes");
    const cancelled = server.read(into, { cancel: source }).catch(name);
    const late = server.read(into, { timeout: 1 }).catch(name);
    setTimeout(() => source.cancel(), 1);
    if ((await cancelled) !== "AbortError" || (await late) !== "TimeoutError") throw new Error("not cancelled");
    source.reset();
    client.close();
    await server.closeGracefully();
  }
  listener.close();
  source.dispose();
  say("done");
  if (end === "throws") throw new Error("on purpose");
  if (end === "exits") process.exit(0);
}

/** Has operations of all kinds pending for good, and says "up". */
export async function waitForEver({ say }: Context): Promise<void> {
  const listener = listen({ hostname: "127.0.0.1" });
  const client = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  const server = listener.acceptSync({ timeout: 20_000 });
  const source = new CancelSource();
  void source.handle;
  source.signal.addEventListener("abort", () => say("aborted"));
  client.ref(); // idle, it would be collected
  await Promise.all([
    server.read(new Uint8Array(8), { cancel: source, timeout: 3_600_000 }),
    server.write(new Uint8Array(64 << 20)),
    listener.accept(),
    Bun.sleep(20).then(() => say("up")),
  ]);
}
