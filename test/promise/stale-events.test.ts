/** An event that was told for a descriptor that is closed by now never reaches whoever has its number next. */
import { expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { POLLIN } from "../../ffi/index.ts";
import { CancelSource, connectSync, type TcpListener, type TcpSocket } from "../../src/index.ts";
import { CANCEL, CANCELLED, type CancelJob } from "../bodies/reactor.ts";
import { waitFor } from "../fds.ts";
import { passed, reach } from "../gates.ts";
import { around, aroundWaits } from "../hooks.ts";
import { type Keep, keeper, pair } from "../setup.ts";
import { fdTable, Thread } from "../thread.ts";

const keep = keeper();
const nothing = () => {};

/**
 * Connects with a socket that has the number `fd`, which is free: with all below it taken, as one that an earlier thread
 * gives back late would be the socket's, and `fd` its epoll set's.
 */
function connectAs(fd: number, keep: Keep, listener: TcpListener): TcpSocket {
  for (let tries = 0; tries < 50; tries++) {
    const lower: number[] = [];
    for (let next = openSync("/dev/null", "r"); ; next = openSync("/dev/null", "r")) {
      if (next < fd) lower.push(next);
      else {
        closeSync(next);
        break;
      }
    }
    const socket = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, timeout: 20_000 }));
    for (const one of lower) closeSync(one);
    if (socket.fd === fd) return socket;
    socket.close();
  }
  throw new Error(`expected the number ${fd} to be given out again; it is ${fdTable()[fd]} now`);
}

/** Closes `old` and has a read wait on a new socket of the same number; counts what that read asks of the kernel. */
class Successor {
  readonly socket: TcpSocket;
  readonly peer: TcpSocket;
  readonly read: Promise<number>;
  asked = 0;

  constructor(old: TcpSocket, listener: TcpListener) {
    const { fd } = old;
    old.close();
    this.socket = connectAs(fd, keep, listener);
    const { port } = this.socket.localAddress;
    let peer = keep(listener.acceptSync({ timeout: 5000 }));
    while (peer.remoteAddress.port !== port) peer = keep(listener.acceptSync({ timeout: 5000 }));
    this.peer = peer;
    const asks = (...[of]: unknown[]) => {
      if (of === fd) this.asked++;
    };
    keep(around(["recv"], asks, nothing));
    this.read = this.socket.read(new Uint8Array(64));
    expect(this.asked).toBe(1);
  }

  /** Nobody has told it anything; it reads what its own peer sends. */
  async isUntouched(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(this.asked).toBe(1);
    this.peer.writeSync("mine");
    expect(await this.read).toBe(4);
  }
}

const settled = (read: Promise<unknown>) => read.then(String, (error: Error) => error.name);

/** One look finds that `source` is cancelled and, behind that, that there is something to read: `run` is the listener. */
async function inOneBatch(
  victims: number,
  run: (victims: TcpSocket[], listener: TcpListener) => void,
): Promise<string[]> {
  const { listener, client, server } = pair(keep);
  const pairs = [{ client, server }];
  while (pairs.length < victims) {
    pairs.push({
      client: keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port })),
      server: keep(listener.acceptSync({ timeout: 5000 })),
    });
  }
  const source = keep(new CancelSource());
  const job: CancelJob = { cancel: source.handle, rounds: 1 };
  const thread = await Thread.start("reactor", "cancelWhenTold", job);
  await thread.next();
  const aborted = new Promise<void>((resolve, reject) => {
    source.signal.addEventListener("abort", () => {
      try {
        run(
          pairs.map((one) => one.client),
          listener,
        );
        resolve();
      } catch (error) {
        reject(error);
      }
    });
  });
  const reads = pairs.map((one) => settled(one.client.read(new Uint8Array(64))));
  await Bun.sleep(5); // nothing is ready, and the loop is armed
  reach(thread.flags, CANCEL);
  passed(thread.flags, CANCELLED);
  for (const one of pairs) {
    one.server.writeSync("for the old one");
    waitFor(one.client.fd, POLLIN);
  }
  await aborted;
  await thread.join();
  return await Promise.all(reads);
}

test("a listener that runs within a batch closes a socket whose event is still to come: the socket that gets its number does not see it", async () => {
  let successor: Successor | undefined;
  const [outcome] = await inOneBatch(1, ([victim], listener) => {
    successor = new Successor(victim!, listener);
  });
  expect(outcome).toBe("ClosedError");
  await successor!.isUntouched();
});

test("so it is with many of them, whose places in the table go to others", async () => {
  const successors: Successor[] = [];
  const outcomes = await inOneBatch(10, (victims, listener) => {
    for (const victim of victims.slice(0, 5)) successors.push(new Successor(victim, listener));
  });
  expect(outcomes.slice(0, 5)).toEqual(Array(5).fill("ClosedError"));
  expect(outcomes.slice(5)).toEqual(Array(5).fill("15")); // what was in the same batch and is open gets its own
  for (const successor of successors) await successor.isUntouched();
});

test("a socket that is closed after the kernel has told its event and before anybody has looked at it leaves nothing to the next of its number", async () => {
  const { listener, client, server } = pair(keep);
  const read = settled(client.read(new Uint8Array(64)));
  await Bun.sleep(5);
  server.writeSync("for the old one");
  waitFor(client.fd, POLLIN);
  const successor = await new Promise<Successor>((resolve, reject) => {
    let swapped = false;
    keep(
      aroundWaits(nothing, (count) => {
        if (swapped || count <= 0) return;
        swapped = true; // the waits of connectSync come by here as well
        try {
          resolve(new Successor(client, listener));
        } catch (error) {
          reject(error);
        }
      }),
    );
  });
  expect(await read).toBe("ClosedError");
  await successor.isUntouched();
});

test("a socket that is closed while its event waits in the kernel leaves nothing to the next of its number", async () => {
  const { listener, client, server } = pair(keep);
  const read = settled(client.read(new Uint8Array(64)));
  await Bun.sleep(5);
  server.writeSync("for the old one");
  waitFor(client.fd, POLLIN);
  const successor = new Successor(client, listener);
  expect(await read).toBe("ClosedError");
  await successor.isUntouched();
});
