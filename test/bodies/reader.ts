/** The thread of test/reader.ts. */
import { parentPort } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";
import { errno } from "../../ffi/libc.ts";
import { constants } from "../../ffi/platform/index.ts";
import { CancelSource, connectSync, type TcpSocket } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { around, aroundWaits, type Hook } from "../hooks.ts";
import { GO_ON, INTERRUPTED, PAUSED, type ReadJob, type ReadOutcome, WAITS } from "../reader.ts";
import type { Context } from "../thread.ts";

/** Holds this thread up, the first time that it comes to the instant. */
function pauseAt(instant: ReadJob["pause"], flags: Int32Array): Hook {
  let held = false;
  const hold = () => {
    if (held) return;
    held = true;
    reach(flags, PAUSED);
    passed(flags, GO_ON);
  };
  const nothing = () => {};
  if (instant === "after it found nothing") return around(["recv"], nothing, (count) => count === -1 && hold());
  if (instant === "before it sleeps") return aroundWaits(hold, nothing);
  if (instant === "after it slept") return aroundWaits(nothing, hold);
  return around([], nothing, nothing);
}

function read({ aboutToBlock, flags }: Context, socket: TcpSocket, job: ReadJob): Partial<ReadOutcome> {
  const into = new Uint8Array(64);
  using source = job.cancel === undefined ? undefined : CancelSource.from(job.cancel);
  using child = job.child ? source?.child() : undefined;
  const cancel = child ?? source;
  using _counts = aroundWaits(
    () => void Atomics.add(flags, WAITS, 1),
    (result) => void (result === -1 && errno() === constants.EINTR && Atomics.add(flags, INTERRUPTED, 1)),
  );
  using _pause = pauseAt(job.pause, flags);
  aboutToBlock();
  try {
    const { timeout, interruptible } = job;
    return {
      text: new TextDecoder().decode(into.subarray(0, socket.readSync(into, { cancel, timeout, interruptible }))),
    };
  } catch (error) {
    const { name, code, cause } = error as ReadOutcome;
    return { name: name!, code: code!, cause };
  }
}

export async function readWhenTold(context: Context, port: number): Promise<void> {
  const { say, flags } = context;
  using socket = connectSync({ hostname: "127.0.0.1", port });
  say("up");
  for (;;) {
    const job = await new Promise<ReadJob | null>((resolve) => parentPort!.once("message", resolve));
    if (job === null) return;
    const outcome = read(context, socket, job);
    const [waits, interrupted] = [Atomics.load(flags, WAITS), Atomics.load(flags, INTERRUPTED)];
    say({ ...outcome, at: monotonic(), waits, interrupted });
  }
}
