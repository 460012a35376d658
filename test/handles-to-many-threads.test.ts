/** A handle in flight holds nothing: whoever comes with it in time has a working object, and whoever does not a ClosedError. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { CancelSource, connectSync, listen, TcpSocket } from "../src/index.ts";
import { BEGIN, type Kind, type Outcome, type TakeJob } from "./bodies/takers.ts";
import { reach, spin } from "./gates.ts";
import { changes, changesSince, NONE, quietTable, type Table } from "./leaks.ts";
import { readText, temporaryDirectory } from "./setup.ts";
import { FLAGS, fdTable, Thread } from "./thread.ts";

const ROUNDS = 100;
const EIGHT = Array.from({ length: 8 }, (_, i) => i);
const hostname = "127.0.0.1";
const shared = new Int32Array(new SharedArrayBuffer(FLAGS * 4));
const directory = temporaryDirectory();
const threads: Thread[] = [];
let before: Table;
let round = 0;

beforeAll(async () => {
  before = await quietTable();
  threads.push(...(await Promise.all(EIGHT.map(() => Thread.start("takers", "takeWhenTold", shared)))));
  for (const thread of threads) await thread.next();
});
afterAll(async () => {
  for (const thread of threads) thread.worker.postMessage(null);
  for (const thread of threads) await thread.join();
  directory[Symbol.dispose]();
  expect(await changesSince(before)).toEqual(NONE);
});

/** Lets all threads take it at once, while this one lets go a little later or earlier; what came of it in each. */
async function race(kind: Kind, handle: unknown, pause: number, letGo: () => void): Promise<Outcome[]> {
  round++;
  for (const thread of threads) thread.worker.postMessage({ kind, handle, round } satisfies TakeJob);
  reach(shared, BEGIN, round);
  spin(pause * Math.random() * 2);
  letGo();
  const outcomes: Outcome[] = [];
  for (const thread of threads) outcomes.push(await thread.next<Outcome>());
  return outcomes;
}

/** How a sender makes one, and what there is to let go of. */
function make(kind: Kind, index: number): { handle: unknown; letGo: () => void } {
  if (kind === "source") {
    const source = new CancelSource();
    return { handle: source.handle, letGo: () => source.dispose() };
  }
  if (kind === "child") {
    const grandparent = new CancelSource();
    const parent = grandparent.child();
    const child = CancelSource.any(parent, grandparent);
    const letGo = () => {
      // The child leans on its parents: they are there as long as it is.
      for (const source of index % 2 === 0 ? [grandparent, parent, child] : [child, parent, grandparent])
        source.dispose();
    };
    return { handle: child.handle, letGo };
  }
  const listener = kind === "TcpListener" ? listen({ hostname }) : listen({ path: join(directory.path, `${index}`) });
  return { handle: listener.handle, letGo: () => listener.close() };
}

for (const kind of ["source", "child", "TcpListener", "UnixListener"] as const) {
  test(`a ${kind} that is posted to eight threads and let go of at once: each has a working one, or ClosedError`, async () => {
    const open = fdTable();
    const seen = { works: 0, closed: 0 };
    let pause = 50_000;
    for (let index = 0; index < ROUNDS; index++) {
      const { handle, letGo } = make(kind, index);
      const outcomes = await race(kind, handle, pause, letGo);
      const works = outcomes.filter((outcome) => outcome === "works").length;
      expect(outcomes.filter((outcome) => outcome !== "works" && outcome !== "closed")).toEqual([]);
      seen.works += works;
      seen.closed += outcomes.length - works;
      pause *= works > 4 ? 0.8 : 1.25; // so that both happen, on any machine
      expect((await race(kind, handle, 0, () => {})).every((outcome) => outcome === "closed")).toBe(true);
    }
    expect(seen.works).toBeGreaterThan(0);
    expect(seen.closed).toBeGreaterThan(0);
    expect(changes(open)).toEqual(NONE);
  });
}

test("a detached socket that is posted to eight threads, and taken back by its sender in every other round: one of them gets it", async () => {
  const open = fdTable();
  const listener = listen({ hostname });
  for (let index = 0; index < ROUNDS; index++) {
    const client = connectSync({ hostname, port: listener.address.port });
    const handle = listener.acceptSync({ timeout: 5000 }).detach();
    let takenBack = 0;
    const outcomes = await race("TcpSocket", handle, 50_000, () => {
      if (index % 2 === 1) return;
      try {
        using socket = TcpSocket.from(handle);
        socket.writeSync(`round ${round}`);
        takenBack++;
      } catch (error) {
        expect((error as Error).name).toBe("ClosedError");
      }
    });
    expect(outcomes.filter((outcome) => outcome === "works")).toHaveLength(1 - takenBack);
    expect(outcomes.filter((outcome) => outcome === "closed")).toHaveLength(7 + takenBack);
    expect(readText(client)).toBe(`round ${round}`);
    expect(client.readSync(new Uint8Array(1), { timeout: 5000 })).toBe(0);
    client.close();
  }
  listener.close();
  expect(changes(open)).toEqual(NONE);
});
