/** One connect by name in a thread of its own; what came of it is said. */
import { type CancelHandle, CancelSource, connectSync } from "../../src/index.ts";
import type { Context } from "../thread.ts";

export interface Job {
  hostname: string;
  cancel: CancelHandle;
}

export function dial({ say, aboutToBlock }: Context, { hostname, cancel }: Job): void {
  using source = CancelSource.from(cancel);
  aboutToBlock();
  try {
    using socket = connectSync({ hostname, port: 1, cancel: source });
    say(socket.remoteAddress.address);
  } catch (error) {
    const { name, cause } = error as Error;
    say({ name, cause });
  }
}
