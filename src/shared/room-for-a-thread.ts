/** Whether a thread can be started: Bun ends the whole process if one begins with too few descriptors left. */
import { fcntl } from "../../ffi/fd.ts";
import { constants } from "../../ffi/platform/index.ts";
import { closeOwned, own } from "./ledger.ts";

/** Descriptors that a thread may open while it starts. */
const ROOM = 16;

/** `fd`: any that is open. Throws `SystemError` (`EMFILE`, `ENFILE`). */
export function makeSureOfRoom(fd: number): void {
  const taken: number[] = [];
  try {
    while (taken.length < ROOM) taken.push(own(fcntl(fd, constants.F_DUPFD_CLOEXEC, 0)));
  } finally {
    for (const copy of taken) closeOwned(copy);
  }
}
