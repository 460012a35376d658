import { afterEach, expect, test } from "bun:test";
import { hostname as machineName } from "node:os";
import { close } from "../ffi/fd.ts";
import { EAI_MEMORY, EAI_NONAME, getaddrinfo } from "../ffi/index.ts";
import { libc } from "../ffi/libc.ts";
import { readInt32 } from "../ffi/memory.ts";
import { structs } from "../ffi/platform/index.ts";
import { CancelledError, CancelSource, connectSync, listen, SystemError, TimeoutError } from "../src/index.ts";
import { faults } from "./faults.ts";
import { lookUpInstead, resolveTo } from "./names.ts";
import { keeper, readText, refusedPort } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";
import { unless } from "./tool.ts";

const keep = keeper();
const fault = faults();
const unfinished: number[] = [];
afterEach(() => {
  for (const fd of unfinished.splice(0)) close(fd);
});

function resolves(name: string): boolean {
  try {
    return getaddrinfo(name).length > 0;
  } catch {
    return false;
  }
}

unless(resolves(machineName()) ? null : "this machine's own name has no address")(
  "the machine's own name is looked up and connected to",
  () => {
    const listener = keep(listen());
    const socket = keep(connectSync({ hostname: machineName(), port: listener.address.port, timeout: 20_000 }));
    const server = keep(listener.acceptSync({ timeout: 5000 }));
    server.writeSync("hello");
    expect(readText(socket)).toBe("hello");
    expect(getaddrinfo(machineName()).map(({ address }) => address)).toContain(socket.remoteAddress.address);
  },
);

const withAsynchronousLookup = unless(structs.gaicb === undefined ? "this libc has no getaddrinfo_a" : null);

withAsynchronousLookup("a lookup in a thread of libc tells its end through a pipe, and leaves nothing open", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  lookUpInstead(fault, "127.0.0.1");
  const before = fdTable();
  for (let i = 0; i < 100; i++) {
    using socket = connectSync({ hostname: "name.test", port, timeout: 20_000 });
    using server = listener.acceptSync({ timeout: 5000 });
    expect(socket.remoteAddress).toEqual({ address: "127.0.0.1", port, family: "IPv4" });
    expect(server.remoteAddress).toEqual(socket.localAddress);
  }
  expect(fdTable()).toEqual(before);
});

withAsynchronousLookup("a name of the wrong family is not found", () => {
  lookUpInstead(fault, "127.0.0.1");
  const before = fdTable();
  const error = thrown(() => connectSync({ hostname: "name.test", port: 1, family: 6, timeout: 20_000 }));
  expect(error).toMatchObject({ code: "ENOTFOUND", syscall: "getaddrinfo", address: "name.test" });
  expect(fdTable()).toEqual(before);
});

withAsynchronousLookup("a name that libc does not know is ENOTFOUND of getaddrinfo, and leaves nothing open", () => {
  lookUpInstead(fault, "127.0.0.1");
  fault("gai_error", () => () => EAI_NONAME);
  const before = fdTable();
  const error = thrown<SystemError>(() => connectSync({ hostname: "no-such.test", port: 1, timeout: 20_000 }));
  expect(error).toBeInstanceOf(SystemError);
  expect(error).toMatchObject({ code: "ENOTFOUND", syscall: "getaddrinfo", address: "no-such.test" });
  expect(error.errno).not.toBe(0);
  expect(error.message).toContain("no-such.test");
  expect(fdTable()).toEqual(before);
});

/** A lookup that never ends: libc has the request, and does nothing. Returns how to let it end after all. */
function neverEnds(): () => void {
  let writeEnd = -1;
  fault("getaddrinfo_a", () => (_mode, _list, _count, notification) => {
    writeEnd = readInt32((notification as number) + structs.sigevent!.fields.sigev_value[0]);
    unfinished.push(writeEnd);
    return 0;
  });
  return () => {
    unfinished.splice(unfinished.indexOf(writeEnd), 1);
    close(writeEnd);
  };
}

withAsynchronousLookup("a lookup that never ends is under the timeout, and closes its end of the pipe", () => {
  const end = neverEnds();
  const before = fdTable();
  expect(thrown(() => connectSync({ hostname: "name.test", port: 1, timeout: 50 }))).toBeInstanceOf(TimeoutError);
  end(); // libc's end is libc's to close
  expect(fdTable()).toEqual(before);
});

withAsynchronousLookup("a cancel in the instant before the lookup is waited for is not missed", () => {
  for (const shared of [false, true]) {
    using cancel = new CancelSource();
    if (shared) void cancel.handle;
    const before = fdTable();
    const end = neverEnds();
    const { getaddrinfo_a } = libc;
    fault("getaddrinfo_a", () => (...parameters) => {
      const status = getaddrinfo_a(...parameters);
      cancel.cancel("right now");
      return status;
    });
    const error = thrown(() => connectSync({ hostname: "name.test", port: 1, cancel, timeout: 20_000 }));
    expect(error).toBeInstanceOf(CancelledError);
    expect(error.cause).toBe("right now");
    end();
    expect(fdTable()).toEqual(before);
  }
});

withAsynchronousLookup("libc out of memory is an error of the lookup, and leaves nothing open", () => {
  const before = fdTable();
  fault("getaddrinfo_a", () => () => EAI_MEMORY);
  expect(thrown(() => connectSync({ hostname: "name.test", port: 1 }))).toMatchObject({ syscall: "getaddrinfo" });
  fault("malloc", () => () => 0);
  expect(thrown(() => connectSync({ hostname: "name.test", port: 1 }))).toMatchObject({ syscall: "getaddrinfo" });
  expect(fdTable()).toEqual(before);
});

test("without getaddrinfo_a a lookup blocks, and finds the same", () => {
  const listener = keep(listen({ hostname: "127.0.0.2" }));
  resolveTo(fault, ["127.0.0.2"]);
  const before = fdTable();
  const socket = keep(connectSync({ hostname: "name.test", port: listener.address.port, timeout: 20_000 }));
  expect(socket.remoteAddress.address).toBe("127.0.0.2");
  socket.close();
  expect(fdTable()).toEqual(before);
});

test("without getaddrinfo_a an unknown name is the same error", () => {
  resolveTo(fault, []);
  expect(thrown(() => connectSync({ hostname: "no-such.test", port: 1 }))).toMatchObject({
    name: "SystemError",
    code: "ENOTFOUND",
    syscall: "getaddrinfo",
    address: "no-such.test",
  });
});

test("a listener on a name looks it up first, and an unknown name is ENOTFOUND", () => {
  resolveTo(fault, ["127.0.0.3"]);
  const port = refusedPort("127.0.0.3");
  expect(keep(listen({ hostname: "name.test", port })).address).toEqual({ address: "127.0.0.3", port, family: "IPv4" });
  resolveTo(fault, []);
  expect(thrown(() => listen({ hostname: "no-such.test" }))).toMatchObject({
    code: "ENOTFOUND",
    syscall: "getaddrinfo",
    address: "no-such.test",
  });
});
