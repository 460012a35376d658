/** Which paths there are, which not, and what is said about those that are not. */
import { afterAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectSync, listen, SystemError, TcpListener, TcpSocket, UnixListener, UnixSocket } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { changes, NONE } from "./leaks.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";
import { Program } from "./tool.ts";
import { answers, dial, kindOf } from "./unix.ts";

const keep = keeper();
const directory = temporaryDirectory();
afterAll(() => directory[Symbol.dispose]());
/** struct sockaddr_un has room for so many bytes of a path, and one for its NUL. */
const ROOM = process.platform === "linux" ? 107 : 103;

/** What listen and connectSync throw for these options, and that neither made a system call before. */
function refusals(options: object): Error[] {
  const errors: Error[] = [];
  const calls = systemCalls(() => {
    for (const call of [listen, connectSync])
      errors.push(thrown(() => keep((call as (o: object) => Disposable)(options))));
  });
  expect(calls).toEqual([]);
  return errors;
}

test("{ path } makes a UnixListener and a UnixSocket, { hostname, port } a TcpListener", () => {
  const path = join(directory.path, "kinds");
  const listener = keep(listen({ path }));
  expect(listener).toBeInstanceOf(UnixListener);
  expect(keep(dial(path))).toBeInstanceOf(UnixSocket);
  expect(keep(listener.acceptSync({ timeout: 5000 }))).toBeInstanceOf(UnixSocket);
  expect(keep(listen({ hostname: "127.0.0.1" }))).toBeInstanceOf(TcpListener);
});

test("what is undefined does not decide which form is meant, unless nothing else does", () => {
  const path = join(directory.path, "forms");
  const listener = keep(listen({ path, hostname: undefined, port: undefined }));
  expect(listener).toBeInstanceOf(UnixListener);
  expect(keep(connectSync({ path, hostname: undefined, port: undefined }))).toBeInstanceOf(UnixSocket);
  const tcp = keep(listen({ path: undefined, hostname: "127.0.0.1" }));
  expect(tcp).toBeInstanceOf(TcpListener);
  const { port } = tcp.address;
  expect(keep(connectSync({ path: undefined, hostname: "127.0.0.1", port }))).toBeInstanceOf(TcpSocket);
  // A path from a variable that is not set is no wish for a port.
  expect(thrown(() => listen({ path: undefined } as unknown as { path: string }))).toBeInstanceOf(TypeError);
});

test("an abstract name has no file, is taken while somebody listens at it, and free after", () => {
  const open = fdTable();
  const files = readdirSync(".");
  const path = `\0cancelfd-test-${crypto.randomUUID()}`;
  const listener = listen({ path });
  expect(listener.address).toEqual({ path });
  expect(answers(listener, path)).toBe(true);
  expect(thrown(() => keep(listen({ path })))).toMatchObject({ code: "EADDRINUSE", address: path });
  using client = dial(path);
  expect(client.remoteAddress).toEqual({ path });
  listener.close();
  client.close();
  expect(thrown(() => keep(dial(path)))).toMatchObject({ code: "ECONNREFUSED" });
  listen({ path }).close();
  expect(readdirSync(".")).toEqual(files);
  expect(changes(open)).toEqual(NONE);
});

test("an abstract name may hold any bytes, a NUL among them, and fill all the room there is", () => {
  const unique = crypto.randomUUID();
  for (const path of [`\0${unique}\0and more`, `\0${unique}grün`, `\0${unique}`.padEnd(ROOM + 1, "x")]) {
    const listener = keep(listen({ path }));
    expect(listener.address).toEqual({ path });
    expect(answers(listener, path)).toBe(true);
  }
});

test("a path of just the length that fits works, in letters of one byte and of several", () => {
  const start = `${directory.path}/`;
  for (const fill of ["x", "ü", "🟢"]) {
    const size = Buffer.byteLength(fill);
    const path = start + fill.repeat(Math.floor((ROOM - start.length) / size));
    const padded = path + "y".repeat(ROOM - Buffer.byteLength(path));
    const listener = keep(listen({ path: padded }));
    expect(listener.address).toEqual({ path: padded });
    expect(answers(listener, padded)).toBe(true);
    expect(refusals({ path: `${padded}z` })).toEqual([expect.any(RangeError), expect.any(RangeError)]);
    listener.close();
    expect(kindOf(padded)).toBe("nothing");
  }
});

test("a path that does not fit is a RangeError before any system call that says how long it may be", () => {
  const path = `/${"long/".repeat(50)}socket`;
  for (const error of [...refusals({ path }), ...refusals({ path: `\0${path}` })]) {
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(new RegExp(`at most (${ROOM}|${ROOM + 1}) bytes`));
  }
});

for (const [what, path] of [
  ["empty", ""],
  ["a path with a NUL in it", "/tmp/a\0b"],
  ["a number", 7],
  ["null", null],
  ["undefined", undefined],
  ["a URL", new URL("file:///tmp/socket")],
  ["bytes", Buffer.from("/tmp/socket")],
] as const) {
  test(`a path that is ${what} is a TypeError before any system call`, () => {
    for (const error of refusals({ path })) expect(error).toBeInstanceOf(TypeError);
  });
}

for (const [options, key, meant] of [
  [{ path: "/tmp/x", backlogs: 3 }, "backlogs", "backlog"],
  [{ path: "/tmp/x", hostname: "::" }, "hostname", null],
  [{ path: "/tmp/x", port: 1 }, "port", null],
  [{ path: "/tmp/x", reusePort: true }, "reusePort", null],
  [{ unix: "/tmp/x" }, "unix", "path"],
  [{ socketPath: "/tmp/x" }, "socketPath", "path"],
] as const) {
  test(`listen(${JSON.stringify(options)}) is a TypeError that names "${key}"${meant === null ? "" : ` and "${meant}"`}`, () => {
    const error = thrown(() => keep(listen(options as never)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(`"${key}"`);
    if (meant !== null) expect(error.message).toContain(`"${meant}"`);
  });
}

for (const [options, key, meant] of [
  [{ path: "/tmp/x", timeOut: 3 }, "timeOut", "timeout"],
  [{ path: "/tmp/x", cancelToken: null }, "cancelToken", "cancel"],
  [{ path: "/tmp/x", hostname: "::" }, "hostname", null],
  [{ path: "/tmp/x", noDelay: true }, "noDelay", null],
  [{ path: "/tmp/x", backlog: 5 }, "backlog", null],
  [{ unix: "/tmp/x" }, "unix", "path"],
  [{ socketPath: "/tmp/x" }, "socketPath", "path"],
] as const) {
  test(`connectSync(${JSON.stringify(options)}) is a TypeError that names "${key}"${meant === null ? "" : ` and "${meant}"`}`, () => {
    const error = thrown(() => keep(connectSync(options as never)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(`"${key}"`);
    if (meant !== null) expect(error.message).toContain(`"${meant}"`);
  });
}

test("a folder that is missing is ENOENT, for a server and for a client, with the path in the error", () => {
  const open = fdTable();
  const path = join(directory.path, "missing", "socket");
  expect(thrown(() => keep(listen({ path })))).toMatchObject({ code: "ENOENT", syscall: "bind", address: path });
  expect(thrown(() => keep(dial(path)))).toMatchObject({ code: "ENOENT", syscall: "connect", address: path });
  expect(changes(open)).toEqual(NONE);
});

test("what is no folder, and what is no socket, is an error that names the path, and left alone", () => {
  const open = fdTable();
  const file = join(directory.path, "file");
  const folder = join(directory.path, "folder");
  writeFileSync(file, "not a socket");
  mkdirSync(folder);
  chmodSync(file, 0o666);
  for (const path of [join(file, "socket"), file, folder]) {
    const error = thrown<SystemError>(() => keep(dial(path)));
    expect(error).toBeInstanceOf(SystemError);
    expect(error).toMatchObject({ syscall: "connect", address: path });
    expect(["ENOTDIR", "ECONNREFUSED", "ENOTSOCK"]).toContain(error.code);
  }
  expect(existsSync(file)).toBe(true);
  expect(changes(open)).toEqual(NONE);
});

for (const where of ["here", "a Worker"]) {
  test(`a relative path is where it was when listen was called, though the folder is another one at the close, in ${where}`, async () => {
    const folder = keep(temporaryDirectory());
    await using program = Program.script("relative-path.ts", [where], { cwd: folder.path });
    const inBetween = where === "here" ? "" : "true\n";
    expect(await program.done()).toBe(`{"path":"socket"}\n${inBetween}false true\n`);
  });
}
