import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  accept4,
  bind,
  connect,
  getpeername,
  getsockname,
  type InetAddress,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  ipVersion,
  listen,
  POLLIN,
  recv,
  SOCK_DGRAM,
  SOCK_STREAM,
  Sockaddr,
  send,
  setsockopt,
  socket,
  type UnixAddress,
} from "../ffi/index.ts";
import { connected, owner, waitFor } from "./fds.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { thrown } from "./thread.ts";
import { unless } from "./tool.ts";

const keep = keeper();
const own = owner(keep);
const interfaces = Object.entries(networkInterfaces()).flatMap(([name, all]) =>
  (all ?? []).map(({ address, family }) => ({ name, address, family })),
);
const withIPv6 = unless(interfaces.some(({ address }) => address === "::1") ? null : "no IPv6 loopback address");
const loopback = interfaces.find(({ address }) => address === "127.0.0.1")!.name;
const linkLocal = interfaces.find(({ address }) => address.startsWith("fe80:"));

const roundTrip = (address: InetAddress | UnixAddress) => new Sockaddr().encode(address).decode();

test("an address comes back from the struct as it went in", () => {
  for (const address of ["0.0.0.0", "127.0.0.1", "255.255.255.255", "10.0.200.3"]) {
    expect(roundTrip({ address, port: 65535, family: "IPv4" })).toEqual({ address, port: 65535, family: "IPv4" });
  }
  for (const address of ["::", "::1", "2001:db8::8:800:200c:417a", "::ffff:127.0.0.1", `fe80::1%${loopback}`]) {
    expect(roundTrip({ address, port: 258, family: "IPv6" })).toEqual({ address, port: 258, family: "IPv6" });
  }
  for (const path of ["/tmp/a socket", "relative", "grüß", "\0abstract", "\0with\0a NUL", "x".repeat(107)]) {
    expect(roundTrip({ path })).toEqual({ path });
  }
});

test("IPv6 addresses come back in their shortest form, and a zone by its name", () => {
  const address = (text: string) => (roundTrip({ address: text, port: 0, family: "IPv6" }) as InetAddress).address;
  expect(address("2001:0DB8:0:0:0:0:0:1")).toBe("2001:db8::1");
  expect(address("0:0:0:0:0:0:0:0")).toBe("::");
  expect(address("fe80::1%1")).toBe(`fe80::1%${loopback}`); // the loopback interface is the first one
  expect(address("fe80::1%4000000000")).toBe("fe80::1%4000000000"); // no such interface: its number is all there is
});

test("what is no address never becomes one", () => {
  const wrong = {
    IPv4: [
      "",
      "127.0.0",
      "127.0.0.256",
      "127.0.0.1 ",
      "127.1",
      "0x7f.0.0.1",
      "::1",
      "localhost",
      "127.0.0.1%lo",
      "1\x000",
    ],
    IPv6: [
      "",
      "127.0.0.1",
      ":::",
      "::1::",
      "12345::",
      "fe80::1%",
      "fe80::1%no-such-interface",
      "::1\x00",
      "1".repeat(70),
    ],
  } as const;
  for (const family of ["IPv4", "IPv6"] as const) {
    for (const address of wrong[family]) {
      expect(() => new Sockaddr().encode({ address, port: 1, family })).toThrow(TypeError);
    }
  }
  for (const port of [-1, 65536, 0.5, Number.NaN, "80" as unknown as number]) {
    expect(() => new Sockaddr().encode({ address: "127.0.0.1", port, family: "IPv4" })).toThrow(RangeError);
  }
});

test("a zone is a number that fits, or the name of an interface", () => {
  for (const zone of ["4294967296", "99999999999", "-1", "1.5", "lo\0x"]) {
    expect(() => roundTrip({ address: `fe80::1%${zone}`, port: 0, family: "IPv6" })).toThrow(TypeError);
  }
});

test("ipVersion tells addresses from names", () => {
  expect(["127.0.0.1", "0.0.0.0"].map(ipVersion)).toEqual([4, 4]);
  expect(["::", "::1", "fe80::1%eth0", "::ffff:1.2.3.4"].map(ipVersion)).toEqual([6, 6, 6, 6]);
  const names = [
    "",
    "localhost",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "::g",
    "a:b",
    "example.com",
    "::1\0",
    "x".repeat(300),
  ];
  expect(names.map(ipVersion)).toEqual(names.map(() => 0));
});

withIPv6("over IPv6 both ends know both addresses, and a dual-stack listener names IPv4 clients ::ffff:", () => {
  const { client, server } = connected(own, "IPv6");
  expect(getpeername(server)).toEqual(getsockname(client));
  expect(getsockname(server)).toMatchObject({ address: "::1", family: "IPv6" });

  const listener = own(socket(AF_INET6, SOCK_STREAM));
  setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  bind(listener, { address: "::", port: 0, family: "IPv6" });
  listen(listener, 1);
  const { port } = getsockname(listener) as InetAddress;
  const old = own(socket(AF_INET, SOCK_STREAM));
  connect(old, { address: "127.0.0.1", port, family: "IPv4" });
  waitFor(listener, POLLIN);
  const peer = new Sockaddr();
  own(accept4(listener, peer));
  expect(peer.decode()).toEqual({ ...(getsockname(old) as InetAddress), address: "::ffff:127.0.0.1", family: "IPv6" });
});

test.skipIf(linkLocal === undefined)("a link-local address is bound in its zone, and says so", () => {
  const { name, address } = linkLocal!;
  const zoned = `${address}%${name}`;
  const socketOf = (port: number) => {
    const fd = own(socket(AF_INET6, SOCK_DGRAM));
    bind(fd, { address: zoned, port, family: "IPv6" });
    return fd;
  };
  const [here, there] = [socketOf(0), socketOf(0)];
  const target = getsockname(there) as InetAddress;
  expect(target.address).toBe(zoned);
  expect(connect(here, target)).toBe(true); // a datagram socket has no handshake
  expect(getpeername(here)).toEqual(target);
  const outside = own(socket(AF_INET6, SOCK_DGRAM));
  expect(thrown(() => bind(outside, { address, port: 0, family: "IPv6" }))).toMatchObject({ code: "EINVAL" });
});

for (const [kind, place] of [
  ["a path", (directory: string) => join(directory, "socket")],
  ["an abstract name", () => `\0cancelfd-test-${process.pid}-${crypto.randomUUID()}`],
] as const) {
  test(`a Unix socket at ${kind}: connected at once, and the client has no name`, () => {
    using directory = temporaryDirectory();
    const path = place(directory.path);
    const listener = own(socket(AF_UNIX, SOCK_STREAM));
    bind(listener, { path });
    listen(listener, 1);
    expect(existsSync(path.replaceAll("\0", "@"))).toBe(kind === "a path");
    expect(getsockname(listener)).toEqual({ path });
    const client = own(socket(AF_UNIX, SOCK_STREAM));
    expect(getpeername(client)).toBeNull();
    expect(connect(client, { path })).toBe(true);
    const peer = new Sockaddr();
    const server = own(accept4(listener, peer));
    expect(peer.decode()).toEqual({ path: "" });
    expect(getsockname(client)).toEqual({ path: "" });
    expect(getpeername(client)).toEqual({ path });
    expect(getpeername(server)).toEqual({ path: "" });
    send(client, Buffer.from("hello"));
    expect(recv(server, new Uint8Array(8))).toBe(5);
  });
}

test("a Unix client that finds the backlog full gets null, and one that finds nobody the path in its error", () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "socket");
  const client = () => own(socket(AF_UNIX, SOCK_STREAM));
  expect(thrown(() => connect(client(), { path }))).toMatchObject({
    code: "ENOENT",
    syscall: "connect",
    address: path,
  });
  const listener = own(socket(AF_UNIX, SOCK_STREAM));
  bind(listener, { path });
  expect(thrown(() => connect(client(), { path }))).toMatchObject({ code: "ECONNREFUSED", address: path });
  listen(listener, 0);
  expect([connect(client(), { path }), connect(client(), { path })]).toEqual([true, null]);
  expect(thrown(() => bind(own(socket(AF_UNIX, SOCK_STREAM)), { path }))).toMatchObject({ code: "EADDRINUSE" });
});

test("a Unix path has room for 107 bytes, an abstract name for 108, and a path has no NUL inside", () => {
  const encode = (path: string) => () => new Sockaddr().encode({ path });
  expect(encode(`${"ü".repeat(53)}x`)().length).toBe(110); // 107 bytes, the NUL, the family
  expect(encode("ü".repeat(54))).toThrow(/at most 107 bytes, this one has 108/);
  expect(encode(`\0${"x".repeat(107)}`)().length).toBe(110);
  expect(encode(`\0${"x".repeat(108)}`)).toThrow(/at most 108 bytes, this one has 109/);
  expect(encode("x".repeat(5000))).toThrow(RangeError);
  expect(encode("/tmp/a\0b")).toThrow(TypeError);
});

test("the empty path is what an unnamed socket has, and nothing that can be bound or connected to", () => {
  const fd = own(socket(AF_UNIX, SOCK_STREAM));
  expect(getsockname(fd)).toEqual({ path: "" });
  expect(() => bind(fd, { path: "" })).toThrow(TypeError);
  expect(() => connect(fd, { path: "" })).toThrow(TypeError);
});
