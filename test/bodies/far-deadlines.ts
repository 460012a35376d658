/** Deadlines that no timer of JavaScript's reaches, in a thread that has had no others: one that is set stays set. */
import { CancelSource, connectSync, listen } from "../../src/index.ts";
import { around } from "../hooks.ts";
import type { Context } from "../thread.ts";

/** Longer than the longest `setTimeout`, which is 2 ** 31 - 1 milliseconds. */
const FAR = [2 ** 31 + 60_000, 2 ** 32, 2 ** 40];

export interface FarReport {
  /** What has ended early. */
  early: string[];
  /** How often the clock was looked at meanwhile. */
  looks: number;
}

/** Waits `time` milliseconds with all sorts of far deadlines, and says what became of them. */
export async function waitFarAway({ say }: Context, time: number): Promise<void> {
  using listener = listen({ hostname: "127.0.0.1" });
  using client = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  const report: FarReport = { early: [], looks: 0 };
  let over = false;
  const watch = (what: string, operation: Promise<unknown>) =>
    operation.catch((error: Error) => {
      if (!over) report.early.push(`${what}: ${error.name}`);
    });
  const sources = FAR.map((far) => CancelSource.timeout(far));
  const pending = FAR.map((far) => watch(`a timeout of ${far}`, client.read(new Uint8Array(1), { timeout: far })));
  for (const [i, source] of sources.entries()) {
    void source.handle; // kept until then, by a timer of its own
    source.signal.addEventListener("abort", () => void (over || report.early.push(`the signal of ${FAR[i]}`)));
    pending.push(watch(`a source of ${FAR[i]}`, client.read(new Uint8Array(1), { cancel: source })));
  }
  client.setReadDeadline(FAR[1]!);
  await Bun.sleep(50); // the loop opens meanwhile
  const hook = around(
    ["clock_gettime"],
    () => void report.looks++,
    () => {},
  );
  await Bun.sleep(time);
  hook[Symbol.dispose]();
  over = true;
  client.close();
  await Promise.all(pending);
  for (const source of sources) source.dispose();
  say(report);
}
