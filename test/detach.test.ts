/** A socket moves from one thread to another: all of it, once, and nothing of it stays behind. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import {
  CancelSource,
  ClosedError,
  connectSync,
  listen,
  type SocketHandle,
  TcpListener,
  TcpSocket,
  UnixListener,
  UnixSocket,
} from "../src/index.ts";
import { type Known, type Moved, TAKEN } from "./bodies/movers.ts";
import { passed, reach } from "./gates.ts";
import { changes, changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper, readText, temporaryDirectory } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
const kinds = ["TcpSocket", "UnixSocket"] as const;
type Kind = Moved["kind"];
const classes = { TcpSocket, UnixSocket };
let paths = 0;

/** Both ends of a connection. */
function pairOf(kind: Kind): { here: TcpSocket | UnixSocket; far: TcpSocket | UnixSocket } {
  if (kind === "TcpSocket") {
    using listener = listen({ hostname: "127.0.0.1" });
    const far = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
    return { here: keep(listener.acceptSync({ timeout: 5000 })), far };
  }
  const path = join(directory.path, `${paths++}`);
  using listener = listen({ path });
  const far = keep(connectSync({ path }));
  return { here: keep(listener.acceptSync({ timeout: 5000 })), far };
}

/** Bytes `from` to `to` of the sequence 0, 1, … 255, 0, … */
function bytes(from: number, to: number): Uint8Array {
  return Uint8Array.from({ length: to - from }, (_, i) => (from + i) & 255);
}

for (const kind of kinds) {
  test(`${kind}: bytes in flight before, during and after the move arrive in order, none lost and none twice`, async () => {
    const before = await quietTable();
    const { here, far } = pairOf(kind);
    far.writeSync(bytes(0, 3000));
    expect(here.readSync(new Uint8Array(1000))).toBe(1000);
    const socket = here.detach();
    far.writeSync(bytes(3000, 5000));
    const thread = await start(keep, "movers", "readToTheEnd", { kind, socket } satisfies Moved);
    far.writeSync(bytes(5000, 6000));
    passed(thread.flags, TAKEN);
    far.writeSync(bytes(6000, 9000));
    far.closeWrite();
    expect(await thread.next<object>()).toEqual({ next: 9000, wrong: "", bytesRead: 9000 });
    await thread.join();
    expect(readText(far as TcpSocket)).toBe("got 9000");
    expect(far.readSync(new Uint8Array(1), { timeout: 5000 })).toBe(0);
    far.close();
    expect(await changesSince(before)).toEqual(NONE);
  });

  test(`${kind}: it moves on from thread to thread, five times, while the peer writes`, async () => {
    const { here, far } = pairOf(kind);
    let socket = here.detach();
    far.writeSync(bytes(0, 250));
    const seen: number[] = [];
    for (let turn = 0; turn < 5; turn++) {
      const thread = await start(keep, "movers", "readAndMoveOn", { kind, socket } satisfies Moved);
      if (turn === 1) far.writeSync(bytes(250, 500));
      const said = await thread.next<{ bytes: number[]; socket: SocketHandle }>();
      seen.push(...said.bytes);
      const taken = classes[kind].from(said.socket);
      reach(thread.flags, TAKEN);
      await thread.join();
      socket = taken.detach();
    }
    expect(seen).toEqual([...bytes(0, 500)]);
    using last = classes[kind].from(socket);
    expect(last.bytesRead).toBe(500);
    expect(last.tryRead(new Uint8Array(1))).toBeNull();
  });

  test(`${kind}: addresses and counters move with it`, async () => {
    const { here, far } = pairOf(kind);
    const { localAddress, remoteAddress } = here;
    far.writeSync("hello world");
    here.readSync(new Uint8Array(5));
    here.writeSync("answer");
    const socket = here.detach();
    expect([here.bytesRead, here.bytesWritten]).toEqual([5, 6]);
    const thread = await start(keep, "movers", "tellAll", { kind, socket } satisfies Moved);
    const counters = { bytesRead: 5, bytesWritten: 6, read: "6", write: "4" };
    expect(await thread.next<Known>()).toEqual({ localAddress, remoteAddress, ...counters });
    await thread.join();
    expect(readText(far as TcpSocket)).toBe("answermore");
  });

  for (const [what, act, read, write] of [
    ["an expired read deadline", (socket: TcpSocket | UnixSocket) => socket.setReadDeadline(0), "TimeoutError", "4"],
    ["an expired write deadline", (socket: TcpSocket | UnixSocket) => socket.setWriteDeadline(0), "5", "TimeoutError"],
    ["a read deadline to come", (socket: TcpSocket | UnixSocket) => socket.setReadDeadline(60_000), "5", "4"],
    ["the end of its writing side", (socket: TcpSocket | UnixSocket) => socket.closeWrite(), "5", "ClosedError"],
    ["the end of its reading side", (socket: TcpSocket | UnixSocket) => socket.closeRead(), "0", "4"],
  ] as const) {
    test(`${kind}: ${what} moves with it`, async () => {
      const { here, far } = pairOf(kind);
      far.writeSync("bytes");
      act(here);
      const thread = await start(keep, "movers", "tellAll", { kind, socket: here.detach() } satisfies Moved);
      expect(await thread.next<Known>()).toMatchObject({ read, write });
      await thread.join();
    });
  }

  test(`${kind}: a deadline that passes on the way ends the read in the other thread, and not before its time`, async () => {
    const { here } = pairOf(kind);
    const from = performance.now();
    here.setReadDeadline(300);
    const thread = await start(keep, "movers", "blockInRead", { kind, socket: here.detach() } satisfies Moved);
    expect(await thread.next<object>()).toMatchObject({ name: "TimeoutError" });
    expect(performance.now() - from).toBeGreaterThanOrEqual(300);
    thread.worker.postMessage("once more");
    expect(await thread.next<object>()).toMatchObject({ name: "TimeoutError" });
    await thread.join();
  });

  test(`${kind}: a handle of its cancelSource that was taken before the move cancels it afterwards, from any thread`, async () => {
    const before = await quietTable();
    const { here, far } = pairOf(kind);
    const cancel = here.cancelSource.handle;
    const source = keep(CancelSource.from(cancel));
    const thread = await start(keep, "movers", "blockInRead", { kind, socket: here.detach() } satisfies Moved);
    await thread.blocked();
    expect(source.cancel("from where it was")).toBe(true);
    expect(await thread.next<object>()).toEqual({ name: "AbortError", cause: "from where it was" });
    source.reset();
    thread.worker.postMessage("once more");
    await thread.blocked();
    const third = await start(keep, "movers", "cancelOnce", { cancel });
    expect(await third.next<boolean>()).toBe(true);
    expect(await thread.next<object>()).toEqual({ name: "AbortError", cause: "from a third thread" });
    for (const one of [third, thread]) await one.join();
    far.close();
    source.dispose();
    expect(thrown(() => CancelSource.from(cancel))).toBeInstanceOf(ClosedError);
    expect(await changesSince(before)).toEqual(NONE);
  });

  test(`${kind}: a cancel of its cancelSource while nobody has it is not lost`, async () => {
    const { here } = pairOf(kind);
    const cancel = here.cancelSource.handle;
    const socket = here.detach();
    const source = keep(CancelSource.from(cancel)); // the handle in flight keeps it
    expect(source.cancel("in between")).toBe(true);
    source.dispose();
    const thread = await start(keep, "movers", "blockInRead", { kind, socket } satisfies Moved);
    expect(await thread.next<object>()).toEqual({ name: "AbortError", cause: "in between" });
    thread.worker.postMessage("once more");
    expect(await thread.next<object>()).toEqual({ name: "AbortError", cause: "in between" });
    await thread.join();
  });

  test(`${kind}: after detach everything here is ClosedError, and detach again as well`, () => {
    const { here } = pairOf(kind);
    const into = new Uint8Array(1);
    const source = here.cancelSource;
    using taken = classes[kind].from(here.detach());
    expect([here.closed, here.fd]).toEqual([true, -1]);
    for (const operation of [
      () => here.readSync(into),
      () => here.tryRead(into),
      () => here.writeSync(into),
      () => here.writevSync([into]),
      () => here.tryWrite(into),
      () => here.closeRead(),
      () => here.closeWrite(),
      () => here.setDeadline(1),
      () => here.setReadDeadline(1),
      () => here.setWriteDeadline(1),
      () => here.getOption(1, 1),
      () => here.detach(),
      () => source.handle,
    ]) {
      expect(thrown(operation)).toBeInstanceOf(ClosedError);
    }
    expect(source.cancel()).toBe(false);
    for (const quiet of [() => here.close(), () => here.cancel(), () => here.resetAndDestroy()]) quiet();
    expect(taken.closed).toBe(false);
    expect(taken.tryRead(into)).toBeNull(); // the peer was told nothing
    expect(taken.cancelSource.cancelled).toBe(false);
  });

  test(`${kind}: it is taken once; the same thread may; and if nobody did, from().close() ends it`, () => {
    const open = fdTable();
    const { here, far } = pairOf(kind);
    const handle = here.detach();
    const taken = classes[kind].from(handle);
    expect(thrown(() => classes[kind].from(handle))).toBeInstanceOf(ClosedError);
    far.writeSync("to the taker");
    expect(readText(taken as TcpSocket)).toBe("to the taker");
    classes[kind].from(taken.detach()).close();
    expect(far.readSync(new Uint8Array(1), { timeout: 5000 })).toBe(0);
    expect(thrown(() => classes[kind].from(handle))).toBeInstanceOf(ClosedError);
    far.close();
    expect(changes(open)).toEqual(NONE);
  });

  test(`${kind}: the handle of another kind is a TypeError that names both, and takes nothing`, () => {
    const open = fdTable();
    const other = kind === "TcpSocket" ? "UnixSocket" : "TcpSocket";
    const { here, far } = pairOf(kind);
    const socket = here.detach();
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const source = keep(new CancelSource());
    for (const [from, handle] of [
      [classes[other].from, socket],
      [TcpListener.from, socket],
      [UnixListener.from, socket],
      [CancelSource.from, socket],
      [classes[kind].from, listener.handle],
      [classes[kind].from, source.handle],
      [UnixListener.from, listener.handle],
    ] as const) {
      const error = thrown(() => (from as (handle: unknown) => unknown)(handle));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/not (of|the handle of) an? \w+/);
    }
    classes[kind].from(socket).close();
    expect(source.cancel()).toBe(true);
    for (const resource of [far, listener]) resource.close();
    source.dispose();
    expect(changes(open)).toEqual(NONE);
  });
}
