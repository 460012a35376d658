/** The thread of test/stepper.ts. */
import { parentPort } from "node:worker_threads";
import { CancelSource } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { DONE, GO_ON, HELD, type StepJob, type Stepped } from "../stepper.ts";
import type { Context } from "../thread.ts";

const accesses = ["load", "store", "compareExchange", "exchange", "add", "sub", "and", "or", "xor"] as const;
type Access = (...parameters: unknown[]) => unknown;

/** Runs `run`, and `hold` before the accesses of these numbers. Says how often it came to one. */
function heldUp(steps: readonly number[], hold: (time: number) => void, run: () => void): number {
  const atomics = Atomics as unknown as Record<string, Access>;
  const real = Object.fromEntries(accesses.map((name) => [name, atomics[name]!]));
  let access = 0;
  let held = 0;
  let holding = false; // the gate is made of atomics itself
  for (const name of accesses) {
    atomics[name] = (...parameters) => {
      if (!holding && steps.includes(access++)) {
        holding = true;
        hold(++held);
        holding = false;
      }
      return real[name]!(...parameters);
    };
  }
  try {
    run();
  } finally {
    Object.assign(atomics, real);
  }
  return held;
}

function take(handle: StepJob["cancel"]): CancelSource | null {
  try {
    return CancelSource.from(handle);
  } catch {
    return null;
  }
}

function act({ deed, cancel, step, second }: StepJob, hold: (time: number) => void): Stepped {
  let source = deed === "from" ? null : take(cancel);
  const stepped: Stepped = { held: 0 };
  const steps = second === undefined ? [step] : [step, step + second];
  stepped.held = heldUp(steps, hold, () => {
    try {
      if (deed === "from") source = CancelSource.from(cancel);
      else if (deed === "look") stepped.result = source!.cancelled;
      else stepped.result = deed === "cancel" ? source!.cancel("the slow one") : source![deed]();
    } catch (error) {
      stepped.name = (error as Error).name;
    }
  });
  if (source !== null && deed !== "dispose") {
    stepped.cancelled = source.cancelled;
    stepped.reason = source.reason === undefined ? undefined : String(source.reason);
    source.dispose();
  }
  return stepped;
}

export async function stepWhenTold({ say, flags }: Context): Promise<void> {
  const hold = (time: number) => {
    reach(flags, HELD, time);
    passed(flags, GO_ON, time);
  };
  say("up");
  for (;;) {
    const job = await new Promise<StepJob | null>((resolve) => parentPort!.once("message", resolve));
    if (job === null) return;
    const stepped = act(job, hold);
    reach(flags, DONE);
    say(stepped);
  }
}
