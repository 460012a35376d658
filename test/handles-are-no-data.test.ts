/** What a handle stands for is in shared memory and in this process: a copy of it is worth nothing, wherever it was made. */
import { deserialize, serialize } from "bun:jsc";
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CancelSource, connectSync, listen, TcpListener, TcpSocket, UnixListener, UnixSocket } from "../src/index.ts";
import { changes, NONE } from "./leaks.ts";
import { keeper, pair, temporaryDirectory } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
const classes = { CancelSource, TcpListener, UnixListener, TcpSocket, UnixSocket };
type Name = keyof typeof classes;
const names = Object.keys(classes) as Name[];
let paths = 0;

/** A handle of each kind, and how to end what they stand for. */
function handles(): { all: Record<Name, object>; end: () => void } {
  const source = keep(new CancelSource());
  const child = keep(source.child());
  const tcp = keep(listen({ hostname: "127.0.0.1" }));
  const path = join(directory.path, `${paths++}`);
  const unix = keep(listen({ path }));
  const clients = [
    keep(connectSync({ hostname: "127.0.0.1", port: tcp.address.port })),
    keep(connectSync({ path })),
  ] as const;
  const [accepted, other] = [tcp.acceptSync({ timeout: 5000 }), unix.acceptSync({ timeout: 5000 })];
  void accepted.cancelSource;
  const all = {
    CancelSource: child.handle,
    TcpListener: tcp.handle,
    UnixListener: unix.handle,
    TcpSocket: accepted.detach(),
    UnixSocket: other.detach(),
  };
  const end = () => {
    // What they stand for is as well as before.
    for (const name of ["CancelSource", "TcpListener", "UnixListener"] as const) {
      classes[name].from(all[name] as never)[Symbol.dispose]();
    }
    expect(clients.map((client) => client.tryRead(new Uint8Array(1)))).toEqual([null, null]);
    for (const name of ["TcpSocket", "UnixSocket"] as const) classes[name].from(all[name] as never).close();
    expect(clients.map((client) => client.readSync(new Uint8Array(1), { timeout: 5000 }))).toEqual([0, 0]);
    expect(source.cancel()).toBe(true);
    for (const resource of [...clients, tcp, unix]) resource.close();
    for (const one of [child, source]) one.dispose();
  };
  return { all, end };
}

const fromAny = (name: Name, handle: unknown) => keep(classes[name].from(handle as never));

for (const [what, copy] of [
  ["JSON", (handle: object) => JSON.parse(JSON.stringify(handle))],
  ["bun:jsc's serialize", (handle: object) => deserialize(serialize(handle))],
  ["its own properties, with the memory copied", copied],
  ["its own properties, without the memory", (handle: object) => ({ ...handle, ledger: undefined })],
] as [string, (handle: object) => unknown][]) {
  test(`a handle that was copied by ${what} is a TypeError, of every kind, and the copy takes nothing`, () => {
    const open = fdTable();
    const { all, end } = handles();
    for (const name of names) {
      const error = thrown(() => fromAny(name, copy(all[name])));
      expect([name, error.name]).toEqual([name, "TypeError"]);
      expect(error.message).toContain("postMessage");
    }
    end();
    expect(changes(open)).toEqual(NONE);
  });
}

function copied(handle: object): object {
  const { ledger } = handle as { ledger: SharedArrayBuffer };
  return { ...handle, ledger: new Uint8Array(ledger).slice().buffer };
}

for (const serialization of ["advanced", "json"] as const) {
  test(`a handle that was sent to a child process (${serialization}) is a TypeError there, and the child takes nothing`, async () => {
    const open = fdTable();
    const { all, end } = handles();
    const said: unknown[] = [];
    const child = Bun.spawn([process.execPath, fileURLToPath(new URL("./peers/takes-handles.ts", import.meta.url))], {
      serialization,
      ipc: (message, process) => {
        if (message === "up") process.send(serialization === "json" ? JSON.parse(JSON.stringify(all)) : all);
        else said.push(message);
      },
      stdout: "ignore",
      stderr: "inherit",
    });
    expect(await child.exited).toBe(0);
    expect(said).toEqual([Object.fromEntries(names.map((name) => [name, "TypeError"]))]);
    end();
    // Bun opens what it watches child processes with once and for all.
    expect(Object.values(changes(open).opened).filter((kind) => kind.startsWith("socket:"))).toEqual([]);
  });
}

test("a detached socket whose source is a copy is refused, and is there for whoever comes with the handle itself", () => {
  const open = fdTable();
  const { client, server: accepted, listener } = pair(keep);
  void accepted.cancelSource;
  const handle = accepted.detach();
  const { cancel } = handle as unknown as { cancel: object };
  for (const wrong of [copied(cancel), JSON.parse(JSON.stringify(cancel)), {}, null, 7]) {
    expect(thrown(() => fromAny("TcpSocket", { ...handle, cancel: wrong }))).toBeInstanceOf(TypeError);
  }
  client.writeSync("still there");
  const taken = TcpSocket.from(handle);
  expect(taken.readSync(new Uint8Array(16), { timeout: 5000 })).toBe(11);
  expect(taken.cancelSource.cancel()).toBe(true);
  for (const resource of [taken, client, listener]) resource.close();
  expect(changes(open)).toEqual(NONE);
});
