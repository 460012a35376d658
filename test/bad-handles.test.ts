import { deserialize, serialize } from "bun:jsc";
import { expect, test } from "bun:test";
import { join } from "node:path";
import {
  CancelSource,
  ClosedError,
  connectSync,
  type InetAddress,
  listen,
  TcpListener,
  TcpSocket,
  UnixListener,
  UnixSocket,
} from "../src/index.ts";
import type { Outcome } from "./bodies/blocked.ts";
import { systemCalls } from "./faults.ts";
import { keeper, readText, temporaryDirectory } from "./setup.ts";
import { fdTable, Thread, thrown } from "./thread.ts";

const keep = keeper();

/** What `from` takes, of each kind. */
const kinds = {
  CancelSource: (handle: unknown) => CancelSource.from(handle as never),
  TcpListener: (handle: unknown) => TcpListener.from(handle as never),
  TcpSocket: (handle: unknown) => TcpSocket.from(handle as never),
  UnixListener: (handle: unknown) => UnixListener.from(handle as never),
  UnixSocket: (handle: unknown) => UnixSocket.from(handle as never),
};
type Kind = keyof typeof kinds;
const names = Object.keys(kinds) as Kind[];
const withoutFamily = (kind: Kind) => kind.replace(/^(Tcp|Unix)/, "");

/** A handle of each kind, and how to see that what it stands for is still well. */
function make(kind: Kind): { handle: object; check: () => Promise<void> } {
  if (kind === "CancelSource") {
    const source = keep(new CancelSource());
    return { handle: source.handle, check: () => stillCancels(source) };
  }
  const unix = kind.startsWith("Unix");
  const path = join(keep(temporaryDirectory()).path, "socket");
  const listener = keep(unix ? listen({ path }) : listen({ hostname: "127.0.0.1" }));
  const dial = () => keep(connectSync("path" in listener.address ? listener.address : toLoopback(listener.address)));
  const client = dial();
  const server = keep(listener.acceptSync({ timeout: 5000 }));
  if (kind.endsWith("Listener")) {
    const check = async () => {
      const another = dial();
      keep(listener.acceptSync({ timeout: 5000 })).writeSync("hello");
      expect(readText(another)).toBe("hello");
    };
    return { handle: listener.handle, check };
  }
  const handle = server.detach();
  const check = async () => {
    client.writeSync("hello");
    expect(readText(keep(kinds[kind](handle) as TcpSocket | UnixSocket))).toBe("hello");
  };
  return { handle, check };
}

function toLoopback({ port }: InetAddress): { hostname: string; port: number } {
  return { hostname: "127.0.0.1", port };
}

/** Another thread that waits on it is woken. */
async function stillCancels(source: CancelSource): Promise<void> {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const job = { cancel: source.handle, listener: listener.handle };
  const thread = await Thread.start("blocked", "accept", job);
  await thread.blocked();
  expect(source.cancel("still here")).toBe(true);
  expect(await thread.next<Outcome>()).toMatchObject({ name: "AbortError", cause: "still here" });
  await thread.join();
}

const garbage: [string, unknown][] = [
  ["nothing", undefined],
  ["null", null],
  ["a number", 5],
  ["a string", "handle"],
  ["a function", () => {}],
  ["an empty object", {}],
  ["an array", []],
  ["a descriptor", { fd: 0 }],
  ["memory of its own", new SharedArrayBuffer(64)],
  ["foreign memory", { ledger: new SharedArrayBuffer(64), key: 0, ticket: 1, parents: [] }],
  ["memory that is not shared", { ledger: new ArrayBuffer(64), key: 0, ticket: 1, parents: [] }],
];

for (const kind of names) {
  test(`${kind}.from takes no garbage`, () => {
    const before = fdTable();
    const calls = systemCalls(() => {
      for (const [what, value] of garbage) {
        const error = thrown(() => kinds[kind](value));
        expect([what, error.name]).toEqual([what, "TypeError"]);
      }
    });
    expect(calls).toEqual([]);
    expect(fdTable()).toEqual(before);
  });

  test(`the handle of a ${kind} that went through a serializer is a copy, and a TypeError that says so`, async () => {
    const { handle, check } = make(kind);
    const copy = deserialize(serialize(handle));
    const error = thrown(() => kinds[kind](copy));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("postMessage");
    await check();
  });

  test(`the handle of a ${kind} that is cloned with its shared memory is as good as the handle`, async () => {
    const { handle } = make(kind);
    const object = kinds[kind](structuredClone(handle));
    object[Symbol.dispose]();
  });

  test(`a handle of a ${kind} with a wrong number in it is a ClosedError, and touches nobody's descriptor`, async () => {
    const { handle, check } = make(kind);
    const before = fdTable();
    const forged = Object.entries(handle)
      .filter(([, value]) => typeof value === "number")
      .flatMap(([key, value]) =>
        [value + 1, -1, 0.5, 2 ** 40, Number.NaN].map((wrong) => ({ ...handle, [key]: wrong })),
      );
    expect(forged.length).toBeGreaterThanOrEqual(10);
    for (const wrong of forged) expect(thrown(() => kinds[kind](wrong))).toBeInstanceOf(ClosedError);
    expect(fdTable()).toEqual(before);
    await check();
  });

  for (const other of names.filter((name) => name !== kind)) {
    test(`${kind}.from with the handle of a ${other} fails, and what that stands for lives on`, async () => {
      const { handle, check } = make(other);
      const before = fdTable();
      expect(thrown(() => kinds[kind](handle))).toBeInstanceOf(Error);
      expect(fdTable()).toEqual(before);
      await check();
    });

    // Between the two kinds of listener, and of socket, nobody's descriptor is at stake.
    if (withoutFamily(kind) !== withoutFamily(other)) {
      test(`the handle of a ${other} that calls itself one of a ${kind} fails, and what it stands for lives on`, async () => {
        const { handle, check } = make(other);
        const before = fdTable();
        expect(thrown(() => kinds[kind]({ ...handle, kind }))).toBeInstanceOf(Error);
        expect(fdTable()).toEqual(before);
        await check();
      });
    }

    test(`${kind}.from with the handle of a ${other} is a TypeError`, () => {
      const { handle } = make(other);
      expect(thrown(() => kinds[kind](handle))).toBeInstanceOf(TypeError);
      if (other.endsWith("Socket")) kinds[other](handle)[Symbol.dispose]();
    });
  }
}
