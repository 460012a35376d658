/** What a Worker leaves behind when it ends otherwise than blocked and terminated, and who is told to care. */
import { expect, test } from "bun:test";
import { close } from "../ffi/index.ts";
import { CancelSource, ClosedError, connectSync, listen, releaseOnExit, TcpListener, TcpSocket } from "../src/index.ts";
import { type Adrift, CLIENTS, END, type Owned, PORT, UP } from "./bodies/owners.ts";
import { changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { FLAGS, thrown, until } from "./thread.ts";
import { Victim, workerClasses } from "./victim.ts";

const keep = keeper();
const hostname = "127.0.0.1";

/** So many clients of the thread that has these gates, once it listens. */
async function connectTo(flags: Int32Array, count = CLIENTS): Promise<TcpSocket[]> {
  await until("the thread to listen", () => Atomics.load(flags, PORT) !== 0);
  const port = Atomics.load(flags, PORT);
  return Array.from({ length: count }, () => keep(connectSync({ hostname, port })));
}

/** Each client reads the end, and the port is free. */
function expectReleased(flags: Int32Array, clients: TcpSocket[]): void {
  for (const client of clients) {
    expect(client.readSync(new Uint8Array(1), { timeout: 1000 })).toBe(0);
    client.close();
  }
  listen({ hostname, port: Atomics.load(flags, PORT) }).close();
}

for (const kind of workerClasses) {
  for (const [what, end] of [
    ["its work is done", "return"],
    ["it calls process.exit", "exit"],
    ["it fails", "throw"],
  ] as const) {
    test(`a ${kind} Worker that ends because ${what} gives back what it did not close`, async () => {
      const before = await quietTable();
      const victim = new Victim(kind, "owners", "own", { listener: true, end });
      const clients = await connectTo(victim.flags);
      await until("the Worker to have everything", () => Atomics.load(victim.flags, UP) === 1);
      const { listener, cancel } = await victim.hears<Owned>(1);
      Atomics.store(victim.flags, END, 1);
      Atomics.notify(victim.flags, END);
      if (end === "throw") await expect(victim.ended()).rejects.toThrow("this thread fails");
      else await victim.ended();
      await until("what it had to be given back", () => clients[0]!.tryRead(new Uint8Array(1)) === 0);
      expectReleased(victim.flags, clients);
      expect(thrown(() => TcpListener.from(listener!))).toBeInstanceOf(ClosedError);
      expect(thrown(() => CancelSource.from(cancel))).toBeInstanceOf(ClosedError);
      expect(await changesSince(before)).toEqual(NONE);
    });
  }

  for (const inner of workerClasses) {
    test(`a ${kind} Worker is terminated: what the ${inner} Worker had that it started is given back as well`, async () => {
      const before = await quietTable();
      const flags = new Int32Array(new SharedArrayBuffer(FLAGS * 4)); // the inner one's gates
      const outer = new Victim(kind, "owners", "startAnother", { inner, flags });
      const clients = await connectTo(flags);
      await outer.hears(1); // the inner one is blocked
      await outer.blocked();
      await outer.terminate();
      expectReleased(flags, clients);
      expect(await changesSince(before)).toEqual(NONE);
    });
  }

  test(`a ${kind} Worker is terminated with a socket that it detached and nobody took: the socket ends, and its source with it`, async () => {
    const before = await quietTable();
    const victim = new Victim(kind, "owners", "detachAndBlock");
    const [client] = await connectTo(victim.flags, 1);
    const { socket, cancel } = await victim.hears<Adrift>(1);
    await victim.blocked();
    expect(client!.tryRead(new Uint8Array(1))).toBeNull(); // adrift, not closed
    await victim.terminate();
    expectReleased(victim.flags, [client!]);
    expect(thrown(() => TcpSocket.from(socket))).toBeInstanceOf(ClosedError);
    expect(thrown(() => CancelSource.from(cancel))).toBeInstanceOf(ClosedError);
    expect(await changesSince(before)).toEqual(NONE);
  });

  test(`a ${kind} Worker is terminated with a socket that it detached and this thread took: the socket is this thread's`, async () => {
    const before = await quietTable();
    const victim = new Victim(kind, "owners", "detachAndBlock");
    const [client] = await connectTo(victim.flags, 1);
    const { socket, cancel } = await victim.hears<Adrift>(1);
    await victim.blocked();
    const taken = TcpSocket.from(socket);
    await victim.terminate();
    client!.writeSync("still here");
    const into = new Uint8Array(16);
    expect(taken.readSync(into, { timeout: 5000 })).toBe(10);
    const source = CancelSource.from(cancel);
    expect(source.cancel("its own source")).toBe(true);
    expect(thrown(() => taken.readSync(into)).cause).toBe("its own source");
    for (const resource of [client!, taken]) resource.close();
    source.dispose();
    expect(await changesSince(before)).toEqual(NONE);
  });

  test(`a ${kind} Worker that nobody registered leaves its descriptors behind, and its clients waiting; nothing fails`, async () => {
    const before = await quietTable();
    const victim = new Victim(kind, "owners", "own", { listener: true }, { release: false });
    const clients = await connectTo(victim.flags);
    await victim.blocked();
    const { cancel, listener } = await victim.hears<Owned>(1);
    await victim.terminate();
    for (const client of clients) expect(client.tryRead(new Uint8Array(1))).toBeNull();
    // The dead thread holds what it held: whoever comes with a handle finds it alive.
    const source = CancelSource.from(cancel);
    expect(source.cancel()).toBe(true);
    source.dispose();
    TcpListener.from(listener!).close();
    for (const client of clients) client.close();
    const left = Object.keys((await changesSince(before)).opened);
    expect(left.length).toBeGreaterThan(CLIENTS);
    for (const fd of left) close(Number(fd));
    expect(await changesSince(before)).toEqual(NONE);
  });

  test(`releaseOnExit of a ${kind} Worker that has ended is a TypeError that says when to call it; twice in time is like once`, async () => {
    const before = await quietTable();
    const victim = new Victim(kind, "owners", "own", { listener: true });
    releaseOnExit(victim.worker);
    const clients = await connectTo(victim.flags);
    await victim.blocked();
    await victim.terminate();
    expectReleased(victim.flags, clients);
    const error = thrown(() => releaseOnExit(victim.worker));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("right after");
    expect(await changesSince(before)).toEqual(NONE);
  });
}

for (const wrong of [undefined, null, {}, { threadId: "1" }, 3, "worker", { threadId: 0 }, { threadId: -1 }]) {
  test(`releaseOnExit(${JSON.stringify(wrong)}) is a TypeError`, () => {
    expect(thrown(() => releaseOnExit(wrong as never))).toBeInstanceOf(TypeError);
  });
}
