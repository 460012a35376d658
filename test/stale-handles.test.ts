/** Handles that are worth nothing any more, or never were: ClosedError, and never an operation on a stranger's descriptor. */
import { expect, test } from "bun:test";
import { close, F_DUPFD_CLOEXEC, fcntl } from "../ffi/index.ts";
import {
  CancelSource,
  ClosedError,
  connectSync,
  type ListenerHandle,
  listen,
  type SocketHandle,
  TcpListener,
  TcpSocket,
  UnixListener,
} from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { takeNumber } from "./fds.ts";
import { changes, changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper, pair } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const hostname = "127.0.0.1";

/** What is in a handle, for those who want to forge one. */
interface Inside {
  key: number;
  ticket: number;
  fd: number;
  state: Record<string, unknown>;
}
const inside = (handle: object) => handle as unknown as Inside;

/** Expects `from` to say ClosedError without a system call. */
function expectRefused(from: () => unknown): void {
  let error: unknown;
  expect(
    systemCalls(() => {
      error = thrown(from);
    }),
  ).toEqual([]);
  expect(error).toBeInstanceOf(ClosedError);
}

/** `handle` with other numbers in it, those of strangers' descriptors among them. */
function forgeries(handle: SocketHandle, strangers: number[]): SocketHandle[] {
  const { fd, ticket } = inside(handle);
  const numbers = [...strangers, fd, -1, 0.5, 1 << 20, 2 ** 31, 2 ** 40, Number.NaN];
  const tickets = [0, -1, 0.5, ticket - 1, ticket + 1, ticket + 2 ** 32, -ticket, 2 ** 32, 2 ** 40, Number.NaN];
  const forged = numbers.flatMap((number) => tickets.map((one) => ({ ...handle, fd: number, ticket: one })));
  return [...forged, ...strangers.filter((number) => number !== fd).map((number) => ({ ...handle, fd: number }))];
}

test("the handle of a source whose memory, key and doorbell are another source's now is a ClosedError", () => {
  const open = fdTable();
  const stale: object[] = [];
  for (let round = 0; round < 50; round++) {
    const source = new CancelSource();
    const { handle } = source;
    for (const old of stale) expectRefused(() => CancelSource.from(old as never));
    // Key and memory are used again at once: only the ticket tells one from the other.
    if (stale.length > 0) expect(inside(stale[0]!).key).toBe(inside(handle).key);
    expect(source.cancelled).toBe(false);
    stale.push(handle);
    source.dispose();
  }
  expect(changes(open)).toEqual(NONE);
});

test("the handle of a listener whose descriptor's number is another listener's now is a ClosedError", () => {
  const first = listen({ hostname });
  const { handle, fd } = first;
  first.close();
  const second = keep(listen({ hostname }));
  expect(second.fd).toBe(fd);
  void second.handle;
  expect(inside(second.handle).key).toBe(inside(handle).key);
  expectRefused(() => TcpListener.from(handle));
  using client = connectSync({ hostname, port: second.address.port });
  expect(keep(second.acceptSync({ timeout: 5000 })).remoteAddress).toEqual(client.localAddress);
});

test("the handle of a source is nobody's when a listener has its key and memory, and the other way round", () => {
  const source = new CancelSource();
  const ofSource = source.handle;
  source.dispose();
  const listener = keep(listen({ hostname }));
  const ofListener = listener.handle;
  expect(inside(ofListener).key).toBe(inside(ofSource).key);
  expectRefused(() => CancelSource.from(ofSource));
  expectRefused(() => CancelSource.from({ ...ofSource, ticket: inside(ofListener).ticket } as never));
  listener.close();
  using next = new CancelSource();
  void next.handle;
  expectRefused(() => TcpListener.from(ofListener));
  expectRefused(() => TcpListener.from({ ...ofListener, ticket: inside(next.handle).ticket } as never));
  expect(next.cancel()).toBe(true);
});

/** A socket of this thread that was detached, and what became of its number since. */
const fates: [string, (handle: SocketHandle) => Disposable][] = [
  ["was taken and closed", (handle) => TcpSocket.from(handle)],
  [
    "was taken and closed, and is a file's now",
    (handle) => {
      TcpSocket.from(handle).close();
      const { fd } = inside(handle);
      takeNumber(fd);
      return { [Symbol.dispose]: () => close(fd) };
    },
  ],
  [
    "was taken and closed, and is another socket's now",
    (handle) => {
      TcpSocket.from(handle).close();
      const listener = listen({ hostname });
      expect(listener.fd).toBe(inside(handle).fd);
      return listener;
    },
  ],
  [
    "was taken and closed, and is that of another socket that is adrift",
    (handle) => {
      const listener = keep(listen({ hostname }));
      TcpSocket.from(handle).close();
      const another = keep(connectSync({ hostname, port: listener.address.port })).detach();
      expect(inside(another).fd).toBe(inside(handle).fd);
      return { [Symbol.dispose]: () => TcpSocket.from(another).close() };
    },
  ],
];
for (const [what, come] of fates) {
  test(`the handle of a socket that ${what} is a ClosedError`, () => {
    const { server } = pair(keep);
    const handle = server.detach();
    using _ = come(handle);
    const open = fdTable();
    expectRefused(() => TcpSocket.from(handle));
    expect(changes(open)).toEqual(NONE);
  });
}

test("a forged handle of a socket takes no descriptor of this process, whatever number and ticket it names", () => {
  const { server, client, listener } = pair(keep);
  const handle = server.detach();
  const open = fdTable();
  for (const forged of forgeries(handle, [listener.fd, client.fd])) expectRefused(() => TcpSocket.from(forged));
  expect(changes(open)).toEqual(NONE);
  client.writeSync("untouched");
  using taken = TcpSocket.from(handle);
  expect(taken.readSync(new Uint8Array(16), { timeout: 5000 })).toBe(9);
});

test("a thread that tried forged handles of sockets owns nothing of what they name when it ends", async () => {
  const before = await quietTable();
  const { server, client, listener } = pair(keep);
  const handle = server.detach();
  const strangers = [0, 1, 2].map(() => fcntl(2, F_DUPFD_CLOEXEC, 20)); // not Bun's own: if this fails, it may go on
  const open = fdTable();
  const thread = await start(keep, "forgers", "takeAll", { kind: "TcpSocket", handles: forgeries(handle, strangers) });
  expect(await thread.next<string[]>()).toEqual(["ClosedError"]);
  await thread.join();
  await quietTable();
  expect(changes(open)).toEqual(NONE);
  client.writeSync("untouched");
  const taken = TcpSocket.from(handle);
  expect(taken.readSync(new Uint8Array(16), { timeout: 5000 })).toBe(9);
  for (const resource of [taken, client, listener]) resource.close();
  for (const fd of strangers) close(fd);
  expect(await changesSince(before)).toEqual(NONE);
});

test("a thread that tried forged handles of sources and listeners holds nothing of what they name, and ends nothing", async () => {
  const before = await quietTable();
  const source = keep(new CancelSource());
  const other = keep(new CancelSource());
  const listener = keep(listen({ hostname }));
  const three = [source.handle, other.handle, listener.handle] as unknown as (Inside & { kind: string })[];
  const forged = three.flatMap((handle) =>
    three.flatMap(({ kind, key, ticket }) => {
      const tickets = [ticket - 1, ticket + 1, ticket + 2 ** 32, 0, -1, 0.5, 2 ** 40, Number.NaN];
      // A good ticket, in the handle of another kind; of the same kind it would be the other's own handle.
      return [...tickets, ...(kind === handle.kind ? [] : [ticket])].map((one) => ({ ...handle, key, ticket: one }));
    }),
  );
  for (const kind of ["CancelSource", "TcpListener"]) {
    const handles = forged.filter((handle) => handle.kind === kind);
    const thread = await start(keep, "forgers", "takeAll", { kind, handles });
    expect(await thread.next<string[]>()).toEqual(["ClosedError"]);
    await thread.join();
    const from = kind === "CancelSource" ? CancelSource.from : TcpListener.from;
    for (const handle of handles) expect(thrown(() => from(handle as never))).toBeInstanceOf(ClosedError);
  }
  const client = keep(connectSync({ hostname, port: listener.address.port }));
  const accepted = keep(listener.acceptSync({ timeout: 5000 }));
  expect(accepted.remoteAddress).toEqual(client.localAddress);
  expect([source.cancelled, source.cancel(), other.cancelled, other.cancel()]).toEqual([false, true, false, true]);
  for (const resource of [client, accepted, listener]) resource.close();
  for (const resource of [source, other]) resource.dispose();
  expect(await changesSince(before)).toEqual(NONE);
});

test("a forged state of a detached socket changes neither its descriptor nor what it can do", () => {
  const { server, client, listener } = pair(keep);
  const handle = server.detach();
  const { fd, state } = inside(handle);
  const forged = { ...state, fd: listener.fd, closed: true, kind: "TcpListener", park: null, ownSource: 3, deaf: true };
  const taken = keep(TcpSocket.from({ ...handle, state: forged } as never));
  expect([taken.fd, taken.closed]).toEqual([fd, false]);
  client.writeSync("to it");
  expect(taken.readSync(new Uint8Array(16), { timeout: 5000 })).toBe(5);
  taken.close();
  expect(listener.tryAccept()).toBeNull(); // open still
  expect(client.readSync(new Uint8Array(1), { timeout: 5000 })).toBe(0);
});

test("the handle of a TcpListener that says it is a UnixListener's is a ClosedError, and the listener works on", () => {
  const listener = keep(listen({ hostname }));
  const forged = { ...listener.handle, kind: "UnixListener" } as ListenerHandle;
  expectRefused(() => UnixListener.from(forged));
  const client = keep(connectSync({ hostname, port: listener.address.port }));
  expect(keep(listener.acceptSync({ timeout: 20_000 })).remoteAddress).toEqual(client.localAddress);
});
