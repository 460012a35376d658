/** Threads that accept on one listener. */
import { type CancelHandle, CancelSource, type ListenerHandle, TcpListener } from "../../src/index.ts";
import type { Context } from "../thread.ts";

export interface AcceptJob {
  listener: ListenerHandle;
  first: CancelHandle;
  second: CancelHandle;
}

/** Waits for a client until `first` is cancelled, then answers clients until `second` is; says how each went. */
export function acceptTwice({ say, aboutToBlock }: Context, job: AcceptJob): void {
  using listener = TcpListener.from(job.listener);
  for (const handle of [job.first, job.second]) {
    using cancel = CancelSource.from(handle);
    let answered = 0;
    for (;;) {
      aboutToBlock();
      try {
        using client = listener.acceptSync({ cancel });
        client.writeSync("hello");
        answered++;
      } catch (error) {
        say({ name: (error as Error).name, answered });
        break;
      }
    }
  }
}
