/** An AbortSignal among the ancestors of a source: a core that is cancelled when it fires, one a signal and thread. */
import { CancelCore } from "./core.ts";

const bridges = new WeakMap<AbortSignal, CancelCore>();

export function isAbortSignal(value: unknown): value is AbortSignal {
  return value instanceof AbortSignal;
}

/** The core of a signal, retained: its caller releases it. The last release takes the listener off the signal. */
export function coreOfSignal(signal: AbortSignal): CancelCore {
  const known = bridges.get(signal);
  if (known !== undefined) return known.retain();
  const core = CancelCore.create();
  const fire = () => {
    core.cancel(signal.reason);
  };
  core.onLetGo = () => {
    signal.removeEventListener("abort", fire);
    bridges.delete(signal);
  };
  bridges.set(signal, core);
  if (signal.aborted) fire();
  else signal.addEventListener("abort", fire);
  return core;
}
