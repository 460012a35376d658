/** promise-dropped.ts SCENARIO WARNINGS: drops objects that promises have to do with, and says what becomes of them. */
import { CancelSource, connect, connectSync, listen, type TcpSocket } from "../../src/index.ts";
import { changes } from "../leaks.ts";
import { fdTable } from "../thread.ts";

const [scenario, expected] = process.argv.slice(2) as [string, string];
const warnings: string[] = [];
process.on("warning", (warning) => warnings.push((warning as { code?: string }).code ?? warning.message));

const listener = listen({ hostname: "127.0.0.1" }).ref();
const address = { hostname: "127.0.0.1", port: listener.address.port };
const into = () => new Uint8Array(64);
/** The ends that are not dropped. */
const peers: TcpSocket[] = [];
const results: string[] = [];
const note = (operation: Promise<unknown>) =>
  void operation.then(
    (value) => results.push(String(value)),
    (error: Error) => results.push(error.name),
  );

/** One to drop; its peer is kept. */
function socket(): TcpSocket {
  const client = connectSync(address);
  peers.push(listener.acceptSync({ timeout: 20_000 }));
  return client;
}
async function connected(): Promise<TcpSocket> {
  const [client, peer] = await Promise.all([connect(address), listener.accept()]);
  peers.push(peer);
  return client;
}

/** What is done once it was to be collected. */
let afterwards: () => void = () => {};

const drops: Record<string, () => unknown> = {
  "an idle socket that connected as a promise": async () => void (await connected()),
  "ten of them": async () => {
    for (let i = 0; i < 10; i++) await connected();
  },
  "an accepted socket": async () => {
    const [client] = await Promise.all([connect(address), listener.accept()]);
    peers.push(client);
  },
  "a socket that has read": async () => {
    const one = socket();
    const read = one.read(into());
    peers.at(-1)!.writeSync("x");
    await read;
  },
  "a socket whose read was cancelled": async () => {
    const source = new CancelSource();
    const read = socket().read(into(), { cancel: source, signal: new AbortController().signal, timeout: 3_600_000 });
    source.cancel();
    await read.catch(() => {});
  },
  "a socket with an iterator that was left": async () => {
    const one = socket();
    peers.at(-1)!.writeSync("x");
    for await (const _ of one) break;
  },
  "a listener that has accepted": async () => {
    const other = listen({ hostname: "127.0.0.1" });
    const accepted = other.accept();
    connectSync({ hostname: "127.0.0.1", port: other.address.port }).resetAndDestroy();
    (await accepted).close();
  },
  "a socket that was unref'ed after ref": () => void socket().ref().unref(),
  "a socket with a deadline": () => socket().setDeadline(3_600_000),

  "a socket with a pending read": () => note(socket().read(into())),
  "a socket with a pending write": () => note(socket().write(new Uint8Array(16 << 20))),
  "a connected socket with a pending read": async () => note((await connected()).read(into())),
  "a socket with a pending read and a source that is dropped, too": () =>
    note(socket().read(into(), { cancel: new CancelSource() })),
  "a listener with a pending accept": () => {
    const other = listen({ hostname: "127.0.0.1" });
    const { port } = other.address;
    note(other.accept().then((accepted) => accepted.read(into())));
    afterwards = () => peers.push(connectSync({ hostname: "127.0.0.1", port }));
  },
  "a ref'ed socket": () => void socket().ref(),
};

process.emitWarning("the first one costs Bun a descriptor");
await Bun.sleep(1);
warnings.length = 0;
// The reactor stays open.
await Promise.all([connect(address), listener.accept()]).then((both) => both.map((one) => one.close()));
await Bun.sleep(20);

const before = fdTable();
await drops[scenario]!();
// What the stack still refers to is not collected: something else has to come by there.
for (let i = 0; i < 5; i++) {
  for (const one of await Promise.all([connect(address), listener.accept()])) one.close();
}
const opened = () => Object.values(changes(before).opened).filter((what) => what.startsWith("socket:")).length;
const end = Date.now() + 20_000;
for (let turns = 0; turns < 20; ) {
  Bun.gc(true);
  await Bun.sleep(5);
  if (warnings.length >= Number(expected) || Date.now() > end) turns++;
}
const open = opened() - peers.length;
const dropped = [...warnings];
afterwards();
// What is pending still does its work.
const sink = new Uint8Array(1 << 20);
for (const peer of peers) {
  if (peer.closed) continue;
  if (scenario.includes("write")) for (let left = 16 << 20; left > 0; ) left -= await peer.read(sink);
  else if (scenario.includes("pending")) await peer.write("hello");
}
if (scenario.includes("pending")) for (let i = 0; i < 1000 && results.length === 0; i++) await Bun.sleep(10);
console.log(JSON.stringify({ warnings: dropped, open, results }));
process.exit(listener.closed ? 1 : 0);
