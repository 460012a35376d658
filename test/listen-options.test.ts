import { expect, test } from "bun:test";
import * as ffi from "../ffi/index.ts";
import { connectSync, listen, SystemError, type TcpListener, TimeoutError } from "../src/index.ts";
import { failWith, faults, systemCalls } from "./faults.ts";
import { resolveTo } from "./names.ts";
import { keeper, readText, refusedPort } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();

/** Whether a client that connects to this address is served. */
function reachable(listener: TcpListener, hostname: string): boolean {
  try {
    const client = keep(connectSync({ hostname, port: listener.address.port, timeout: 5000 }));
    keep(listener.acceptSync({ timeout: 5000 })).writeSync("hello");
    return readText(client) === "hello";
  } catch (error) {
    if ((error as { code?: string }).code === "ECONNREFUSED") return false;
    throw error;
  }
}

test("by default it listens on every address, of IPv6 and of IPv4, on a port that was free", () => {
  for (const listener of [
    listen(),
    listen({}),
    listen({ hostname: undefined, port: undefined, ipv6Only: undefined }),
  ]) {
    keep(listener);
    expect(listener.address).toEqual({ address: "::", port: expect.any(Number), family: "IPv6" });
    expect(listener.address.port).toBeGreaterThan(0);
    expect(["127.0.0.1", "127.1.2.3", "::1", "localhost"].map((host) => reachable(listener, host))).toEqual([
      true,
      true,
      true,
      true,
    ]);
  }
});

/** As on a machine without IPv6: `socket` refuses the family, or `bind` the address. */
function withoutIPv6(call: "socket" | "bind"): void {
  if (call === "socket") {
    fault("socket", (socket) => (domain, type, protocol) => {
      return domain === ffi.AF_INET6 ? failWith(ffi.EAFNOSUPPORT) : socket(domain, type, protocol);
    });
  } else {
    fault("bind", (bind) => (fd, address, length) => {
      return new ffi.Sockaddr().encode({ address: "::", port: 0, family: "IPv6" }).length === length
        ? failWith(ffi.EADDRNOTAVAIL)
        : bind(fd, address, length);
    });
  }
}

for (const call of ["socket", "bind"] as const) {
  test(`where ${call} says that there is no IPv6, the default is every IPv4 address`, () => {
    withoutIPv6(call);
    const listener = keep(listen());
    expect(listener.address).toMatchObject({ address: "0.0.0.0", family: "IPv4" });
    expect(reachable(listener, "127.0.0.1")).toBe(true);
  });

  test(`where ${call} says that there is no IPv6, ipv6Only is an error that leaves nothing open`, () => {
    withoutIPv6(call);
    const before = fdTable();
    expect(thrown(() => listen({ ipv6Only: true })).code).toBeOneOf(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);
    expect(thrown(() => listen({ hostname: "::1" })).code).toBeOneOf(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);
    expect(fdTable()).toEqual(before);
  });
}

test("ipv6Only keeps IPv4 clients out, and leaves IPv4's port to somebody else", () => {
  const six = keep(listen({ ipv6Only: true }));
  expect(six.getOption(ffi.IPPROTO_IPV6, ffi.IPV6_V6ONLY)).toBe(1);
  expect([reachable(six, "::1"), reachable(six, "127.0.0.1")]).toEqual([true, false]);
  const four = keep(listen({ hostname: "0.0.0.0", port: six.address.port }));
  expect([reachable(six, "::1"), reachable(four, "127.0.0.1")]).toEqual([true, true]);
});

test("an address is listened on, and no other", () => {
  for (const [hostname, others] of [
    ["127.0.0.1", ["127.0.0.2", "::1"]],
    ["127.0.0.2", ["127.0.0.1", "::1"]],
    ["::1", ["127.0.0.1"]],
    ["0.0.0.0", ["::1"]],
  ] as const) {
    const listener = keep(listen({ hostname }));
    expect(listener.address.address).toBe(hostname);
    expect(reachable(listener, hostname === "0.0.0.0" ? "127.0.0.1" : hostname)).toBe(true);
    for (const other of others) expect([other, reachable(listener, other)]).toEqual([other, false]);
  }
});

test("a name is looked up, and its first address listened on", () => {
  const local = keep(listen({ hostname: "localhost" }));
  expect(local.address.address).toBeOneOf(["127.0.0.1", "::1"]);
  expect(reachable(local, "localhost")).toBe(true);
  resolveTo(fault, ["127.0.0.7", "127.0.0.8"]);
  expect(keep(listen({ hostname: "name.test" })).address.address).toBe("127.0.0.7");
});

test("an IPv6 address in brackets, as `url.hostname` has it, is an address here as it is for connectSync", () => {
  resolveTo(fault, []); // no lookup leaves this machine if it is taken for a name
  const listener = keep(listen({ hostname: "[::1]" }));
  expect(listener.address.address).toBe("::1");
  expect(reachable(listener, "[::1]")).toBe(true);
});

test("a port in use is EADDRINUSE, with the address and the port in the error", () => {
  for (const [taken, wanted, address] of [
    [{ hostname: "127.0.0.1" }, { hostname: "127.0.0.1" }, "127.0.0.1"],
    [{ hostname: "::1" }, { hostname: "::1" }, "::1"],
    [{}, {}, "::"],
    [{ hostname: "127.0.0.1" }, {}, "::"],
    [{}, { hostname: "127.0.0.1" }, "127.0.0.1"],
    [{ hostname: "0.0.0.0" }, { hostname: "127.0.0.1" }, "127.0.0.1"],
  ] as const) {
    const { port } = keep(listen(taken)).address;
    const before = fdTable();
    const error = thrown<SystemError>(() => listen({ ...wanted, port }));
    expect(error).toBeInstanceOf(SystemError);
    expect(error).toMatchObject({ code: "EADDRINUSE", errno: -ffi.EADDRINUSE, address, port });
    expect(error.message).toContain(String(port));
    expect(fdTable()).toEqual(before);
  }
});

test("so it is when listen(2), not bind(2), finds it in use: somebody else was between the two", () => {
  const port = refusedPort();
  let others = -1;
  fault("listen", (listen) => (fd, backlog) => {
    if (others === -1) {
      others = ffi.socket(ffi.AF_INET, ffi.SOCK_STREAM);
      ffi.setsockopt(others, ffi.SOL_SOCKET, ffi.SO_REUSEADDR, 1);
      ffi.bind(others, { address: "127.0.0.1", port, family: "IPv4" });
      listen(others, 1);
    }
    return listen(fd, backlog);
  });
  const error = thrown(() => listen({ hostname: "127.0.0.1", port }));
  ffi.close(others);
  expect(error).toMatchObject({ code: "EADDRINUSE", address: "127.0.0.1", port });
});

test("an address that this machine does not have is EADDRNOTAVAIL", () => {
  const error = thrown(() => listen({ hostname: "192.0.2.1", port: 1234 }));
  expect(error).toMatchObject({ code: "EADDRNOTAVAIL", syscall: "bind", address: "192.0.2.1", port: 1234 });
});

test("reusePort lets listeners share a port, and the kernel spreads the clients", () => {
  const first = keep(listen({ hostname: "127.0.0.1", reusePort: true }));
  const { port } = first.address;
  const second = keep(listen({ hostname: "127.0.0.1", port, reusePort: true }));
  expect(thrown(() => listen({ hostname: "127.0.0.1", port })).code).toBe("EADDRINUSE");
  for (let i = 0; i < 64; i++) keep(connectSync({ hostname: "127.0.0.1", port, timeout: 5000 }));
  const taken = [first, second].map((listener) => {
    let count = 0;
    for (let client = listener.tryAccept(); client !== null; client = listener.tryAccept()) {
      client.close();
      count++;
    }
    return count;
  });
  expect(taken[0]! + taken[1]!).toBe(64);
  expect(Math.min(...taken)).toBeGreaterThan(0); // by chance alone: once in 2^63
});

test("the backlog is how many clients the kernel connects before anybody accepts them", () => {
  // Linux counts one more than it is told.
  for (const [backlog, room] of [
    [0, 1],
    [3, 4],
  ] as const) {
    const listener = keep(listen({ hostname: "127.0.0.1", backlog }));
    const dial = (timeout: number) =>
      keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, timeout }));
    for (let i = 0; i < room; i++) dial(5000);
    expect(thrown(() => dial(100))).toBeInstanceOf(TimeoutError);
    for (let i = 0; i < room; i++) keep(listener.acceptSync({ timeout: 5000 }));
  }
});

test("by default hundreds of clients find room, and as large a backlog as an int is taken", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  for (let i = 0; i < 500; i++) keep(connectSync({ hostname: "127.0.0.1", port, timeout: 5000 }));
  keep(listen({ hostname: "127.0.0.1", backlog: 0x7fff_ffff }));
});

const bad: [string, unknown, ErrorConstructor][] = [
  ["port -1", { port: -1 }, RangeError],
  ["port 65536", { port: 65536 }, RangeError],
  ["port 1.5", { port: 1.5 }, RangeError],
  ["port NaN", { port: Number.NaN }, RangeError],
  ['port "80"', { port: "80" }, TypeError],
  ["port null", { port: null }, TypeError],
  ["port 80n", { port: 80n }, TypeError],
  ["backlog -1", { backlog: -1 }, RangeError],
  ["backlog 1.5", { backlog: 1.5 }, RangeError],
  ["backlog 2^31", { backlog: 2 ** 31 }, RangeError],
  ["backlog NaN", { backlog: Number.NaN }, RangeError],
  ['backlog "5"', { backlog: "5" }, TypeError],
  ["hostname 5", { hostname: 5 }, TypeError],
  ["hostname null", { hostname: null }, TypeError],
  ["an empty hostname", { hostname: "" }, TypeError],
  ["a hostname with a NUL", { hostname: "127.0.0.1\0.test" }, TypeError],
  ["reusePort 1", { reusePort: 1 }, TypeError],
  ['ipv6Only "yes"', { ipv6Only: "yes" }, TypeError],
  ["options null", null, TypeError],
  ["options 8080", 8080, TypeError],
  ['options ":8080"', ":8080", TypeError],
  ["an unknown key", { port: 0, colour: "red" }, TypeError],
];
for (const [what, options, kind] of bad) {
  test(`${what} is a ${kind.name} before any system call`, () => {
    const calls = systemCalls(() => {
      expect(thrown(() => keep(listen(options as never)))).toBeInstanceOf(kind);
    });
    expect(calls).toEqual([]);
  });
}

for (const [key, meant] of [
  ["host", "hostname"],
  ["hostnam", "hostname"],
  ["Port", "port"],
  ["prot", "port"],
  ["backlg", "backlog"],
  ["exclusive", "reusePort"],
  ["reuseport", "reusePort"],
  ["v6only", "ipv6Only"],
]) {
  test(`the unknown key "${key}" is named, and "${meant}" suggested`, () => {
    const error = thrown(() => listen({ [key!]: 1 } as never));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(`"${key}"`);
    expect(error.message).toContain(`did you mean "${meant}"?`);
  });
}
