/** The peer of a promise read that is cancelled while data comes. It sends 0, 1, 2, … 255, 0, a few bytes a round. */
import { type CancelHandle, CancelSource, connectSync } from "../../src/index.ts";
import { passed, reach, spin } from "../gates.ts";
import type { Context } from "../thread.ts";

/** Gates: the round that may begin, whose read is over, whose data and cancel are both out. */
export const BEGIN = 1;
export const ENDED = 2;
export const OUT = 3;
/** What to do in the round, and the pause in it, in nanoseconds. */
export const ORDER = 4;
export const PAUSE = 5;
/** How many bytes the rounds so far have sent. */
export const SENT = 6;

export const SEND = 0;
export const SEND_THEN_CANCEL = 1;
export const CANCEL_THEN_SEND = 2;
export const SEND_THEN_CANCEL_LATE = 3;

export interface SenderJob {
  port: number;
  rounds: number;
  /** What it cancels in the rounds that say so. */
  cancel?: CancelHandle | undefined;
}

export function sendInRounds({ say, flags }: Context, { port, rounds, cancel }: SenderJob): void {
  using source = cancel === undefined ? new CancelSource() : CancelSource.from(cancel);
  using socket = connectSync({ hostname: "127.0.0.1", port });
  let sent = 0;
  const send = () => {
    const bytes = Uint8Array.from({ length: 1 + (sent % 3) }, (_, i) => sent + i);
    socket.writeSync(bytes);
    sent += bytes.length;
    Atomics.store(flags, SENT, sent);
  };
  for (let round = 1; round <= rounds; round++) {
    passed(flags, BEGIN, round);
    const order = Atomics.load(flags, ORDER);
    const pause = Atomics.load(flags, PAUSE);
    if (order === SEND) {
      spin(pause);
      send();
    } else if (order === CANCEL_THEN_SEND) {
      spin(pause);
      source.cancel();
      send();
    } else {
      send();
      if (order === SEND_THEN_CANCEL) spin(pause);
      else passed(flags, ENDED, round);
      source.cancel();
    }
    reach(flags, OUT, round);
  }
  say("done");
}
