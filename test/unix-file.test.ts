/** The file of a Unix listener: who makes it, who removes it, and who may take it over. */
import { afterAll, expect, test } from "bun:test";
import { lstatSync, mkdirSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ECONNREFUSED, EINVAL } from "../ffi/index.ts";
import { type ListenerHandle, listen, SystemError, UnixListener } from "../src/index.ts";
import { UP } from "./bodies/unix.ts";
import { failWith, faults } from "./faults.ts";
import { passed } from "./gates.ts";
import { changes, changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";
import { needs, Program } from "./tool.ts";
import { answers, dial, kindOf } from "./unix.ts";
import { start, Victim, workerClasses } from "./victim.ts";

const keep = keeper();
const fault = faults();
const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
let paths = 0;
const freshPath = () => join(directory.path, `${paths++}`);

test("listen makes a socket file, clients come in by it, and close removes it", () => {
  const open = fdTable();
  const path = freshPath();
  const listener = listen({ path });
  expect(kindOf(path)).toBe("socket");
  expect(listener.address).toEqual({ path });
  expect(answers(listener, path)).toBe(true);
  listener.close();
  listener.close();
  expect(kindOf(path)).toBe("nothing");
  expect(thrown(() => keep(dial(path)))).toMatchObject({ code: "ENOENT", syscall: "connect", address: path });
  expect(changes(open)).toEqual(NONE);
});

test("sockets that were accepted or connected leave the file alone when they close, and live on after it", () => {
  const path = freshPath();
  const listener = keep(listen({ path }));
  using client = dial(path);
  const accepted = keep(listener.acceptSync({ timeout: 5000 }));
  accepted.close();
  dial(path).close();
  expect(kindOf(path)).toBe("socket");
  using survivor = dial(path);
  using far = keep(listener.tryAccept() ?? listener.acceptSync({ timeout: 5000 }));
  far.close();
  using last = listener.acceptSync({ timeout: 5000 });
  listener.close();
  last.writeSync("still");
  expect(survivor.readSync(new Uint8Array(8), { timeout: 5000 })).toBe(5);
  expect(client.readSync(new Uint8Array(8), { timeout: 5000 })).toBe(0);
});

test("of two threads that hold a listener the last one to close it removes the file", async () => {
  for (const last of ["this thread", "the other"] as const) {
    const path = freshPath();
    const listener = keep(listen({ path }));
    const thread = await start(keep, "unix", "hold", { listener: listener.handle });
    passed(thread.flags, UP);
    if (last === "the other") listener.close();
    else await thread.terminate();
    expect(kindOf(path)).toBe("socket");
    if (last === "the other") {
      using client = dial(path);
      expect(client.readSync(new Uint8Array(8), { timeout: 20_000 })).toBe(5); // it accepts still
      await thread.terminate();
    } else {
      expect(answers(listener, path)).toBe(true);
      listener.close();
    }
    expect(kindOf(path)).toBe("nothing");
  }
});

for (const kind of workerClasses) {
  for (const share of [true, false]) {
    test(`a ${kind} Worker that is terminated with a listener ${share ? "whose handle it took" : "of its own"}: the file goes with it`, async () => {
      const before = await quietTable();
      const path = freshPath();
      const victim = new Victim(kind, "unix", "hold", { path, share });
      await victim.blocked();
      expect(kindOf(path)).toBe("socket");
      const handle = share ? await victim.hears<ListenerHandle>(1) : undefined;
      await victim.terminate();
      const left = kindOf(path);
      if (left === "socket") unlinkSync(path);
      expect(left).toBe("nothing");
      if (handle !== undefined) expect(thrown(() => UnixListener.from(handle)).name).toBe("ClosedError");
      expect(await changesSince(before)).toEqual(NONE);
    });
  }
}

for (const [what, replace] of [
  ["a file", (path: string) => writeFileSync(path, "somebody else's")],
  ["another listener", (path: string) => void keep(listen({ path }))],
  ["a folder", (path: string) => mkdirSync(path)],
] as const) {
  test(`close does not remove ${what} that has taken the place of its file`, () => {
    const path = freshPath();
    const listener = keep(listen({ path }));
    unlinkSync(path);
    replace(path);
    const before = kindOf(path);
    listener.close();
    expect(kindOf(path)).toBe(before);
  });
}

test("close is quiet about a file that somebody has removed or renamed, and leaves the renamed one", () => {
  const path = freshPath();
  const removed = listen({ path });
  unlinkSync(path);
  removed.close();
  const renamed = listen({ path });
  renameSync(path, `${path}.old`);
  renamed.close();
  expect(kindOf(`${path}.old`)).toBe("socket");
});

needs("python3")("the file of a server that was killed is taken over", async () => {
  const path = freshPath();
  const server = keep(Program.python("unix.py", ["echo", path]));
  await server.line();
  server.kill("SIGKILL");
  expect(await server.exited()).toBe("SIGKILL");
  const open = fdTable();
  expect(thrown(() => keep(dial(path)))).toMatchObject({ code: "ECONNREFUSED", address: path });
  const stale = lstatSync(path, { bigint: true }).ctimeNs;
  const listener = listen({ path });
  expect(lstatSync(path, { bigint: true }).ctimeNs).not.toBe(stale);
  expect(answers(listener, path)).toBe(true);
  listener.close();
  expect(kindOf(path)).toBe("nothing");
  expect(changes(open)).toEqual(NONE);
});

needs("python3")(
  "a path where another process listens is EADDRINUSE, with room in its backlog or without",
  async () => {
    for (const command of ["echo", "hold"]) {
      const path = freshPath();
      const server = keep(Program.python("unix.py", [command, path]));
      await server.line();
      const open = fdTable();
      for (let i = 0; i < 200; i++) {
        expect(thrown(() => keep(listen({ path })))).toMatchObject({
          name: "SystemError",
          code: "EADDRINUSE",
          address: path,
        });
      }
      expect(kindOf(path)).toBe("socket");
      expect(changes(open)).toEqual(NONE);
    }
  },
);

test("a path where this process listens is EADDRINUSE, and that listener goes on", () => {
  for (const backlog of [511, 0]) {
    const path = freshPath();
    const listener = keep(listen({ path, backlog }));
    if (backlog === 0) keep(dial(path)); // full
    expect(thrown(() => keep(listen({ path })))).toMatchObject({ code: "EADDRINUSE", syscall: "bind", address: path });
    for (let one = listener.tryAccept(); one !== null; one = listener.tryAccept()) one.close();
    expect(answers(listener, path)).toBe(true);
  }
});

for (const [what, make] of [
  ["a regular file", (path: string) => writeFileSync(path, "precious")],
  ["an empty file", (path: string) => writeFileSync(path, "")],
  ["a folder", (path: string) => mkdirSync(path)],
  ["a link to nowhere", (path: string) => symlinkSync("/nowhere/at/all", path)],
] as const) {
  test(`${what} at the path is EADDRINUSE, and is left as it is`, () => {
    const open = fdTable();
    const path = freshPath();
    make(path);
    const { ino, size, mtimeMs } = lstatSync(path);
    expect(thrown(() => keep(listen({ path })))).toMatchObject({ code: "EADDRINUSE", address: path });
    expect(lstatSync(path)).toMatchObject({ ino, size, mtimeMs });
    if (what === "a regular file") expect(readFileSync(path, "utf8")).toBe("precious");
    expect(changes(open)).toEqual(NONE);
  });
}

test("a server that takes over the stale file between our look at it and its removal keeps its file", async () => {
  const path = freshPath();
  leaveStale(path);
  let other: UnixListener | undefined;
  // The interleaving: bind says EADDRINUSE, the probe is refused; and then the other server is faster.
  fault("connect", (connect) => () => {
    fault("connect", () => connect);
    unlinkSync(path);
    other = keep(listen({ path }));
    return failWith(ECONNREFUSED);
  });
  expect(thrown(() => keep(listen({ path })))).toMatchObject({ code: "EADDRINUSE" });
  expect(kindOf(path)).toBe("socket");
  expect(answers(other!, path)).toBe(true);
});

/** The file of a listener that is gone. */
function leaveStale(path: string): void {
  const listener = listen({ path: `${path}.first` });
  renameSync(`${path}.first`, path);
  listener.close();
}

test("a listen(2) that fails after the bind leaves neither a file nor a descriptor", () => {
  const open = fdTable();
  const path = freshPath();
  fault("listen", () => () => failWith(EINVAL));
  expect(thrown(() => keep(listen({ path })))).toBeInstanceOf(SystemError);
  expect(kindOf(path)).toBe("nothing");
  expect(changes(open)).toEqual(NONE);
});
