/** A reader that is cancelled while data comes: what it read is counted byte by byte. */
import { type CancelHandle, CancelledError, CancelSource, connectSync } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { aroundWaits } from "../hooks.ts";
import type { Context } from "../thread.ts";

/** Gates: the round that may begin, that the reader has begun, whose read is over, whose data and cancel are both out. */
export const BEGIN = 1;
export const BEGUN = 2;
export const ENDED = 3;
export const OUT = 4;
/** The round in which the reader has gone to sleep last. */
export const ASLEEP = 5;
/** How the round ended: READ or CANCELLED; and 1 if the cancel came while it slept and woke it. */
export const ENDING = 6;
export const WOKEN_BY_CANCEL = 7;
/** How many bytes the rounds so far have sent. */
export const SENT = 8;
export const READ = 1;
export const CANCELLED = 2;

export interface RaceJob {
  cancel: CancelHandle;
  port: number;
  rounds: number;
}

export function readAgainstCancel({ say, flags }: Context, { cancel, port, rounds }: RaceJob): void {
  using source = CancelSource.from(cancel);
  using socket = connectSync({ hostname: "127.0.0.1", port });
  const into = new Uint8Array(64);
  let received = 0;
  const count = (bytes: number) => {
    // The peer's bytes are 0, 1, 2, … 255, 0: a lost one and a doubled one both break the sequence.
    for (let i = 0; i < bytes; i++) {
      if (into[i] !== (received & 255)) throw new Error(`byte ${received} is ${into[i]}, not ${received & 255}`);
      received++;
    }
  };
  let round = 1;
  let armedAtSleep = false;
  using _sleeps = aroundWaits(
    () => {
      armedAtSleep = !source.cancelled;
      reach(flags, ASLEEP, round);
    },
    (ready) => void Atomics.store(flags, WOKEN_BY_CANCEL, Number(armedAtSleep && ready > 0 && source.cancelled)),
  );
  for (; round <= rounds; round++) {
    passed(flags, BEGIN, round);
    Atomics.store(flags, WOKEN_BY_CANCEL, 0);
    reach(flags, BEGUN, round);
    try {
      count(socket.readSync(into, { cancel: source }));
      Atomics.store(flags, ENDING, READ);
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
      Atomics.store(flags, ENDING, CANCELLED);
    }
    reach(flags, ENDED, round);
    passed(flags, OUT, round);
    // What a cancelled read left is all there, at once: loopback has delivered it when the peer's send returns.
    for (let bytes: number | null; (bytes = socket.tryRead(into)) !== null; ) count(bytes);
    const sent = Atomics.load(flags, SENT);
    if (received !== sent) throw new Error(`round ${round}: ${sent} bytes were sent, ${received} received`);
  }
  say("done");
}
