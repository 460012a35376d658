/** Many operations that are cancelled, and what they leave registered in the kernel. */
import { readdirSync, readFileSync } from "node:fs";
import {
  type CancelHandle,
  CancelledError,
  CancelSource,
  connectSync,
  listen,
  type TcpSocket,
  type WaitOptions,
} from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { aroundWaits } from "../hooks.ts";
import type { Context } from "../thread.ts";

/** Gates: the round that may begin, and the one whose operation is about to sleep. */
export const BEGIN = 1;
export const ENTERED = 2;

export interface LeftoverJob {
  cancel: CancelHandle;
  /** A port that never answers, to connect to. */
  blackHole: number;
  atEntry: number;
  asleep: number;
  fresh: number;
}

/** How many descriptors stand in epoll sets together with `fd`. */
function registrations(fd: number): number {
  let count = 0;
  for (const number of readdirSync("/proc/self/fdinfo")) {
    try {
      const members = readFileSync(`/proc/self/fdinfo/${number}`, "latin1").match(/^tfd:\s+\d+/gm) ?? [];
      if (members.some((line) => Number(line.slice(4)) === fd)) count += members.length;
    } catch {
      // The descriptor of this very listing is gone by now.
    }
  }
  return count;
}

function cancelled(operation: () => unknown): void {
  try {
    operation();
  } catch (error) {
    if (error instanceof CancelledError) return;
    throw error;
  }
  throw new Error(`it was cancelled, and succeeded: ${operation}`);
}

/** Says what is registered: after the first operations, after those at entry, those asleep, and those with fresh sources. */
export function cancelMany({ say, flags }: Context, job: LeftoverJob): void {
  using source = CancelSource.from(job.cancel);
  using listener = listen({ hostname: "127.0.0.1" });
  using near = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  using full = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  using _far = listener.acceptSync({ timeout: 20_000 });
  using _other = listener.acceptSync({ timeout: 20_000 });
  const into = new Uint8Array(64);
  fill(full);
  const operations: ((options: WaitOptions) => unknown)[] = [
    (options) => near.readSync(into, options),
    (options) => listener.acceptSync(options),
    (options) => full.writeSync(into, options),
    (options) => full.writevSync([into, into], options),
    (options) => connectSync({ hostname: "127.0.0.1", port: job.blackHole, ...options }),
  ];
  const report = () => say([near.fd, listener.fd, full.fd].map(registrations));
  let round = 0;
  const asleep = (times: number) => {
    using _sleep = aroundWaits(
      () => reach(flags, ENTERED, round),
      () => {},
    );
    for (let i = 0; i < times; i++) {
      passed(flags, BEGIN, ++round);
      cancelled(() => operations[i % operations.length]!({ cancel: source }));
    }
  };

  asleep(operations.length); // each has its selector now
  report();
  using own = new CancelSource();
  own.cancel();
  for (let i = 0; i < job.atEntry; i++) cancelled(() => operations[i % operations.length]!({ cancel: own }));
  report();
  asleep(job.asleep);
  report();
  for (let i = 0; i < job.fresh; i++) {
    using fresh = new CancelSource();
    say(fresh.handle);
    cancelled(() => operations[i % 4]!({ cancel: fresh }));
  }
  report();
}

/** Until it has taken nothing more for a tenth of a second: the kernel moves data on for a while. */
function fill(socket: TcpSocket): void {
  const data = new Uint8Array(1 << 20);
  for (;;) {
    try {
      socket.writeSync(data, { timeout: 100 });
    } catch (error) {
      if ((error as { bytesWritten?: number }).bytesWritten === 0) return;
    }
  }
}
