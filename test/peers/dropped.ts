/** Drops an object without closing it, and says what the library and the descriptor table make of it. */
import { existsSync } from "node:fs";
import { CancelSource, connectSync, listen, Poller, TcpSocket, WakeQueue } from "../../src/index.ts";
import { changes } from "../leaks.ts";
import { fdTable } from "../thread.ts";

/** A path for Unix sockets; then what to drop, and how many warnings to wait for: `a socket=1`. */
const [path, ...scenarios] = process.argv.slice(2) as [string, ...string[]];
const warnings: string[] = [];
process.on("warning", (warning) => warnings.push(`${(warning as { code?: string }).code}: ${warning.message}`));

const listener = listen({ hostname: "127.0.0.1" });
const { port } = listener.address;
const connect = () => connectSync({ hostname: "127.0.0.1", port });
const controller = new AbortController();

/** What each makes is garbage when it returns. */
const drops: Record<string, () => unknown> = {
  "a socket": () => void connect(),
  "a socket with a source that has a handle": () => void connect().cancelSource.handle,
  "an accepted socket": () => {
    connect().close();
    void listener.acceptSync();
  },
  "a listener": () => void listen({ hostname: "127.0.0.1" }),
  "a Unix listener": () => void listen({ path }),
  "a Unix socket": () => {
    using unix = listen({ path });
    void connectSync({ path });
    unix.acceptSync().close();
  },
  "a socket that was taken": () => void TcpSocket.from(connect().detach()),
  "a source": () => void new CancelSource().handle,
  "a child": () => void new CancelSource().child().handle,
  "a source that was taken": () => {
    using source = new CancelSource();
    const again = CancelSource.from(source.handle);
    void again.cancelled;
  },
  "a source whose signal was handed out": () => {
    const source = new CancelSource();
    void source.handle;
    void source.signal;
  },
  "a source whose signal has aborted": () => {
    const source = new CancelSource();
    void source.handle;
    void source.signal;
    source.cancel();
  },
  "a source whose signal was handed out aborted": () => {
    const source = new CancelSource();
    void source.handle;
    source.cancel();
    void source.signal;
  },
  "a source whose signal was handed out by another object, which was disposed": () => {
    const source = new CancelSource();
    using other = CancelSource.from(source.handle);
    void other.signal;
  },
  "a source that never had a handle": () => void new CancelSource().child(),
  "a source with a timeout, without a handle": () => void CancelSource.timeout(60_000).child(),
  "what was closed": () => {
    connect().close();
    using source = new CancelSource();
    void source.handle;
    listen({ hostname: "127.0.0.1" }).close();
    const moved = TcpSocket.from(connect().detach());
    moved.close();
  },
  "a queue": () => new WakeQueue().send(1),
  "a queue that was taken": () => {
    using queue = new WakeQueue();
    const again = WakeQueue.from(queue.handle);
    void again.closed;
  },
  "a queue that nobody could wait for any more": () => {
    const queue = new WakeQueue();
    queue.send(1);
    queue.close(); // what is in it could be received, and so it is not gone by itself
  },
  "a queue that was closed": () => new WakeQueue().close(),
  "a queue with a handle": () => new WakeQueue().handle,
  "a poller": () => {
    const poller = new Poller();
    poller.add(0, { readable: true });
    poller.wait({ timeout: 0 });
  },
  "a poller with a queue in it": () => new Poller().add(new WakeQueue(), { readable: true }),
  "a poller with a handle": () => new Poller().handle,
  "a listener with a handle": () => listen({ hostname: "127.0.0.1" }).handle,
  "a source with a handle and a timeout": () => CancelSource.timeout(60_000).handle,
  "a source with a handle and a timeout above it": () => CancelSource.timeout(60_000).child().handle,
  "a source with a handle and a signal above it": () => new CancelSource({ parent: controller.signal }).handle,
  "a source with a handle whose timeout passes": () => CancelSource.timeout(1).handle,
  "a source with a handle whose signal fires": () => {
    const { signal, abort } = { signal: controller.signal, abort: () => controller.abort() };
    const { handle } = new CancelSource({ parent: signal });
    abort();
    return handle;
  },
};

process.emitWarning("the first one costs Bun a descriptor");
await Bun.sleep(1);

/** Collects until there are so many warnings, twenty seconds at most, and then a little longer: there may be more. */
async function collect(expected: number): Promise<void> {
  const end = Date.now() + 20_000;
  for (let turns = 0; turns < 20; ) {
    Bun.gc(true);
    await Bun.sleep(1);
    if (warnings.length >= expected || Date.now() > end) turns++;
  }
}

for (const scenario of scenarios) {
  const [what, expected] = scenario.split("=") as [string, string];
  warnings.length = 0;
  const before = fdTable();
  const handle = drops[what]!(); // a handle alone keeps nothing: it is plain data
  await collect(Number(expected));
  const opened = Object.values(changes(before).opened).map((kind) => kind.replace(/:.*/, ""));
  console.log(JSON.stringify({ what, warnings, opened, file: existsSync(path) }));
  void handle;
}
process.exit(0);
