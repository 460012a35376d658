/** Operations that are to block although a deadline of the same object has passed once. */
import { type CancelHandle, CancelSource, connectSync, listen, type WaitOptions } from "../../src/index.ts";
import type { Context } from "../thread.ts";

/** Each of these has to go on waiting until it is cancelled, by a source each; says the names of the errors that end it. */
export function blockAfterClearing({ say, aboutToBlock }: Context, handles: CancelHandle[]): void {
  using listener = listen({ hostname: "127.0.0.1" });
  using near = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  using _far = listener.acceptSync({ timeout: 20_000 });
  const block = (operation: (options: WaitOptions) => unknown) => {
    using cancel = CancelSource.from(handles.shift()!);
    aboutToBlock();
    try {
      operation({ cancel });
      say("it succeeded");
    } catch (error) {
      say((error as Error).name);
    }
  };

  listener.setDeadline(0);
  listener.setDeadline(null);
  block((options) => listener.acceptSync(options));

  near.setDeadline(0);
  near.setWriteDeadline(0);
  near.setReadDeadline(null);
  block((options) => near.readSync(new Uint8Array(1), options));

  near.setDeadline(0);
  near.setWriteDeadline(null);
  block((options) => near.writeSync(new Uint8Array(64 << 20), options));
}
