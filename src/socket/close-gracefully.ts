/** The end of a connection that no peer sees as a reset. */
import { recv } from "../../ffi/socket.ts";
import { toCore } from "../cancel/source.ts";
import { ClosedError } from "../errors.ts";
import { admit, checkOperationOptions, type OperationOptions } from "../wait/attempt.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import type { Task } from "../wait/task.ts";
import { toDeadline } from "../when.ts";
import type { StreamCore } from "./core.ts";

/** Milliseconds that the peer has to end its side. */
const TIMEOUT = 5000;
const NAME = "closeGracefully";
/** Where goes what nobody wants to read any more. */
const scrap = new Uint8Array(65_536);

/** Its place in the queue says it: what was to be written before is written, and the half-close behind it is done. */
const WRITTEN: Task<StreamCore, () => void, true> = {
  name: NAME,
  interest: WRITABLE,
  step: (_core, next) => {
    next();
    return true;
  },
};

const READ_TO_THE_END: Task<StreamCore, undefined, true> = {
  name: NAME,
  interest: READABLE,
  step: (core) => {
    const count = recv(core.fd, scrap);
    return count === null ? null : count === 0 ? true : undefined;
  },
};

/** See `StreamSocket.closeGracefully`; `holder` is the object of `core`. */
export async function closeGracefully(
  core: StreamCore,
  holder: object & { closeWrite(): void; close(): void },
  options: OperationOptions = {},
): Promise<void> {
  checkOperationOptions(options);
  const { cancel, signal, timeout = TIMEOUT } = options;
  if (cancel !== undefined) toCore(cancel, "cancel");
  const until = toDeadline(timeout, "timeout");
  if (core.closed) return;
  try {
    const entry = admit(NAME, core, 0, until, { cancel, signal }, checkOperationOptions);
    holder.closeWrite();
    let reading: Promise<true> | undefined;
    // Out of the step that ends the writing, with no turn between: whoever closes or cancels meets one of the two.
    const readOn = () => {
      const own = core.ownSource;
      const ownRound = own === entry.own ? entry.ownRound : own!.round;
      reading = core.reads.add(READ_TO_THE_END, core, undefined, holder, { ...entry, own, ownRound }, false);
      reading.catch(() => {});
    };
    if (core.writes.head === null) readOn();
    else await core.writes.add(WRITTEN, core, readOn, holder, entry, false);
    await reading;
  } catch (error) {
    // Another call of this was first, and is done.
    if (error instanceof ClosedError && core.endedGracefully) return;
    holder.close();
    throw error;
  }
  core.endedGracefully = true;
  holder.close();
}
