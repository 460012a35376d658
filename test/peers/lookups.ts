/** Connects by name, where name-server.py is the name server: `bun run lookups.ts SCENARIO`. Prints JSON. */
import { monotonic } from "../../ffi/index.ts";
import { CancelSource, connectSync, listen, type SystemError } from "../../src/index.ts";
import { fdTable, Thread, until } from "../thread.ts";

const scenarios: Record<string, () => unknown> = {
  /** A name of two addresses, the first of which refuses. */
  found() {
    using listener = listen({ hostname: "127.0.0.2" });
    using socket = connectSync({ hostname: "here.test", port: listener.address.port, timeout: 20_000 });
    return socket.remoteAddress.address;
  },

  missing() {
    return failure(() => connectSync({ hostname: "nobody.test", port: 1, timeout: 20_000 }));
  },

  unanswered() {
    return failure(() => connectSync({ hostname: "slow.test", port: 1, timeout: 20_000 }));
  },

  timeout() {
    return failure(() => connectSync({ hostname: "slow.test", port: 1, timeout: 100 }));
  },

  async cancel() {
    using source = new CancelSource();
    const { handle } = source;
    const thread = await Thread.start("dial", "dial", { hostname: "slow.test", cancel: handle });
    await thread.blocked();
    const begin = monotonic();
    source.cancel("enough");
    const outcome = await thread.next();
    const took = monotonic() - begin;
    await thread.join();
    return { outcome, took };
  },

  /** Once libc has given up, nothing of an abandoned lookup is left. */
  async leftovers() {
    failure(() => connectSync({ hostname: "missing.test", port: 1 }));
    const before = fdTable();
    for (let i = 0; i < 10; i++) failure(() => connectSync({ hostname: "slow.test", port: 1, timeout: 1 }));
    await until("the lookups to end", () => Bun.deepEquals(fdTable(), before));
    return "nothing";
  },

  /** How long a healthy lookup takes after many that were abandoned. */
  crowd() {
    const [, , , count] = process.argv;
    for (let i = 0; i < Number(count); i++) failure(() => connectSync({ hostname: "slow.test", port: 1, timeout: 1 }));
    const descriptors = Object.keys(fdTable()).length;
    const begin = monotonic();
    const { code } = failure(() => connectSync({ hostname: "here.test", port: 1, timeout: 10_000 }));
    return { code, took: monotonic() - begin, descriptors };
  },
};

function failure(dial: () => unknown): { code: string; took: number } & object {
  const begin = monotonic();
  try {
    dial();
  } catch (error) {
    const { name, code, syscall, address, message } = error as SystemError;
    const failed = { name, code, syscall, address, message, took: monotonic() - begin };
    return failed;
  }
  throw new Error("connected");
}

console.log(JSON.stringify(await scenarios[process.argv[2]!]!()));
process.exit();
