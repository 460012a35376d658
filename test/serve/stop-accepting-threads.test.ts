import { expect } from "bun:test";
import {
  CancelSource,
  ClosedError,
  connect,
  listen,
  releaseOnExit,
  TcpListener as Tcp,
  type TcpListener,
} from "../../src/index.ts";
import { STOPPING } from "../bodies/stopping.ts";
import { keeper } from "../setup.ts";
import { Thread, until } from "../thread.ts";
import { unless } from "../tool.ts";
import { dial, getsIn, hostname, LIMIT, rejection } from "./clients.ts";

const keep = keeper();
const onLinux = unless(process.platform === "linux" ? null : "only Linux can drop the first packet of a handshake");

const open = (): TcpListener => keep(listen({ hostname }));

onLinux("of two objects in one thread, one stops: the other still gets clients, until it closes", async () => {
  const one = open();
  const other = keep(Tcp.from(one.handle));
  one.stopAccepting();
  expect(await getsIn(other)).toBe(true);
  expect(await rejection(acceptAll(one))).toBeInstanceOf(ClosedError); // does not wait for a silence
  expect(await getsIn(other)).toBe(true);
  const third = keep(Tcp.from(other.handle));
  third.stopAccepting({ settle: LIMIT });
  expect(await getsIn(other)).toBe(true);
  const { fd } = third;
  expect(fd).toBeGreaterThan(0);
  other.close(); // counts as stopping from now on
  expect(await getsIn(third)).toBe(false);
});

async function acceptAll(listener: TcpListener): Promise<never> {
  for (;;) (await listener.accept()).close();
}

onLinux(
  "with three threads that block in accept: new clients are kept out when the last of them stops, and nobody is lost",
  async () => {
    const listener = keep(listen({ hostname }));
    const sources = Array.from({ length: 3 }, () => keep(new CancelSource()));
    const threads: Thread[] = [];
    for (const source of sources) {
      const job = { listener: listener.handle, cancel: source.handle, settle: 400 };
      const thread = await Thread.start("stopping", "acceptUntilStopped", job);
      threads.push(thread);
      await thread.blocked();
    }
    const { port } = listener.address;
    listener.close(); // the threads have it now
    const greet = async () => {
      const client = await dial(port);
      await client.write("?");
      const buffer = new Uint8Array(16);
      const text = Buffer.from(buffer.subarray(0, await client.read(buffer, { timeout: LIMIT }))).toString();
      client.close();
      return text;
    };
    expect(await greet()).toBe("ok");
    for (const [i, source] of sources.entries()) {
      expect(await greet()).toBe("ok"); // somebody still takes clients
      source.cancel();
      await until("the thread to stop", () => Atomics.load(threads[i]!.flags, STOPPING) === 1);
    }
    // All have stopped: within the settle time a SYN is dropped, after it the port is closed.
    const late = await rejection(connect({ hostname, port, timeout: 10_000 }));
    expect(late.code).toBe("ECONNREFUSED");
    let answered = 0;
    for (const thread of threads) {
      const end = await thread.next<{ answered: number; closed: boolean }>();
      expect(end.closed).toBe(true);
      answered += end.answered;
      await thread.join();
    }
    expect(answered).toBe(4);
  },
);

onLinux("a thread that was terminated does not block the stop of the others", async () => {
  const listener = keep(listen({ hostname }));
  const cancel = keep(new CancelSource());
  const far = open();
  const job = { listener: listener.handle, cancel: cancel.handle, port: far.address.port };
  const thread = await Thread.start("stopping", "hold", job);
  releaseOnExit(thread.worker);
  await thread.next();
  await thread.blocked();
  listener.stopAccepting({ settle: LIMIT });
  expect(await getsIn(listener)).toBe(true); // it may still accept
  await thread.terminate();
  let shut = false;
  for (let i = 0; i < 50 && !shut; i++) shut = !(await getsIn(listener));
  expect(shut).toBe(true);
});

onLinux(
  "an object that comes to a thread which has begun to stop goes on with it: the hold is not stopping any more",
  async () => {
    const listener = open();
    const cancel = keep(new CancelSource());
    const far = open();
    const { handle } = listener;
    const thread = await Thread.start("stopping", "hold", {
      listener: handle,
      cancel: cancel.handle,
      port: far.address.port,
    });
    releaseOnExit(thread.worker);
    await thread.next();
    listener.stopAccepting({ settle: LIMIT });
    const late = keep(Tcp.from(handle));
    await thread.terminate();
    expect(await getsIn(late)).toBe(true);
    late.close(); // now all are stopping
    let shut = false;
    for (let i = 0; i < 50 && !shut; i++) shut = !(await getsIn(listener));
    expect(shut).toBe(true);
  },
);
