/** Handles of queues and pollers: copies, forgeries and stale ones take nothing and touch nothing. */
import { deserialize, serialize } from "bun:jsc";
import { expect, test } from "bun:test";
import { CancelSource, ClosedError, listen, Poller, TcpListener, WakeQueue } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { changes, NONE } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const classes = { WakeQueue, Poller } as const;
type Name = keyof typeof classes;
const names = Object.keys(classes) as Name[];
const from = (name: Name, handle: unknown) => keep(classes[name].from(handle as never) as Disposable);
const make = (name: Name) => keep(new classes[name]());

/** What is in a handle, for those who want to forge one. */
interface Inside {
  ledger: SharedArrayBuffer;
  key: number;
  ticket: number;
}
const inside = (handle: object) => handle as unknown as Inside;
const copied = (handle: object) => ({ ...handle, ledger: new Uint8Array(inside(handle).ledger).slice().buffer });

for (const name of names) {
  test(`a copied handle of a ${name} is a TypeError that says how to send it, and takes nothing`, () => {
    const before = fdTable();
    const one = make(name);
    const { handle } = one;
    for (const copy of [
      JSON.parse(JSON.stringify(handle)),
      deserialize(serialize(handle)),
      copied(handle),
      { ...handle, ledger: undefined },
    ]) {
      const error = thrown(() => from(name, copy));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toContain("postMessage");
    }
    one[Symbol.dispose]();
    expect(changes(before)).toEqual(NONE);
  });

  test(`a forged handle of a ${name} is a ClosedError, without a system call`, () => {
    const { handle } = make(name);
    const { key, ticket } = inside(handle);
    expect(
      systemCalls(() => {
        for (const [forgedKey, forgedTicket] of [
          [key, ticket + 1],
          [key, ticket - 1],
          [key, 0],
          [key, -ticket],
          [key, ticket + 2 ** 32],
          [key, Number.NaN],
          [key + 1, ticket],
          [key + 0.5, ticket],
          [-1, ticket],
          [2 ** 40, ticket],
        ]) {
          const forged = { ...handle, key: forgedKey, ticket: forgedTicket };
          expect(thrown(() => from(name, forged))).toBeInstanceOf(ClosedError);
        }
      }),
    ).toEqual([]);
    from(name, handle)[Symbol.dispose]();
  });

  test(`a ${name}'s handle under the name of another kind, and another kind's under its, takes no hold`, () => {
    const before = fdTable();
    const one = make(name);
    const { handle } = one;
    const other = name === "Poller" ? new WakeQueue() : new Poller();
    const source = new CancelSource();
    const listener = listen({ hostname: "127.0.0.1" });
    for (const foreign of [other.handle, source.handle, listener.handle]) {
      expect(thrown(() => from(name, foreign))).toBeInstanceOf(TypeError);
      expect(thrown(() => from(name, { ...foreign, kind: name }))).toBeInstanceOf(ClosedError);
    }
    expect(thrown(() => CancelSource.from({ ...handle, kind: "CancelSource", parents: [] } as never))).toBeInstanceOf(
      ClosedError,
    );
    expect(thrown(() => TcpListener.from({ ...handle, kind: "TcpListener" } as never))).toBeInstanceOf(ClosedError);
    for (const resource of [one, other, source, listener]) resource[Symbol.dispose]();
    expect(changes(before)).toEqual(NONE);
  });

  test(`the handle of a ${name} that all have let go of is a ClosedError, though its memory and its numbers are another's by now`, () => {
    const before = fdTable();
    const stale: object[] = [];
    for (let round = 0; round < 30; round++) {
      const one = make(name);
      const { handle } = one;
      for (const old of stale) expect(thrown(() => from(name, old))).toBeInstanceOf(ClosedError);
      if (stale.length > 0) expect(inside(stale[0]!).key).toBe(inside(handle).key);
      stale.push(handle);
      one[Symbol.dispose]();
    }
    expect(changes(before)).toEqual(NONE);
  });
}

test("a queue and a poller that were never shared take nothing of what others share with them when they go", () => {
  const make = () => [new CancelSource(), new WakeQueue(), new Poller()] as const;
  const from = [CancelSource, WakeQueue, Poller] as const;
  for (let round = 0; round < 5; round++) {
    // The keys and the memory of those that were shared are free again.
    for (const one of make()) {
      void one.handle;
      one[Symbol.dispose]();
    }
    const shared = make();
    const handles = shared.map((one) => one.handle);
    for (const unshared of make()) unshared[Symbol.dispose]();
    for (const [i, handle] of handles.entries()) from[i]!.from(handle as never)[Symbol.dispose]();
    const again = new WakeQueue();
    again.close();
    for (const one of shared) one[Symbol.dispose]();
  }
});

test("a queue whose memory was another queue's begins empty, open, and without a receiver", () => {
  for (let round = 0; round < 10; round++) {
    const queue = new WakeQueue<number>({ capacity: 64 + round * 100 });
    expect(queue.closed).toBe(false);
    expect(queue.tryReceive()).toBeUndefined();
    while (queue.trySend(round));
    void queue.handle;
    if (round % 2) queue.close();
    queue.dispose();
  }
});
