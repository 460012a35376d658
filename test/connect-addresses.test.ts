import { expect, test } from "bun:test";
import { connectSync, type InetListenOptions, listen, type TcpConnectOptions, type TcpSocket } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { keeper, readText, refusedPort } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();

/** A listener, and a connection to it. */
function connected(
  listening: InetListenOptions,
  options: Omit<TcpConnectOptions, "port">,
): { client: TcpSocket; server: TcpSocket } {
  const listener = keep(listen(listening));
  const client = keep(connectSync({ ...options, port: listener.address.port, timeout: 5000 }));
  const server = keep(listener.acceptSync({ timeout: 5000 }));
  server.writeSync("hello");
  expect(readText(client)).toBe("hello");
  return { client, server };
}

for (const [hostname, server, address] of [
  ["127.0.0.1", "127.0.0.1", "127.0.0.1"],
  ["127.1.2.3", "0.0.0.0", "127.1.2.3"],
  ["::1", "::1", "::1"],
  ["[::1]", "::1", "::1"],
  ["0:0:0:0:0:0:0:1", "::1", "::1"],
  ["localhost", "127.0.0.1", "127.0.0.1"],
  ["localhost", "::1", "::1"],
  ["localhost", "::", "::1"], // both: IPv6 is tried first
  ["LocalHost.", "127.0.0.1", "127.0.0.1"],
  ["anything.localhost", "127.0.0.1", "127.0.0.1"], // RFC 6761
] as const) {
  test(`"${hostname}" reaches a server that listens on ${server}`, () => {
    const { client } = connected({ hostname: server }, { hostname });
    expect(client.remoteAddress.address).toBe(address);
  });
}

test("`family` chooses among the addresses of a name", () => {
  expect(connected({ hostname: "::" }, { hostname: "localhost", family: 4 }).client.remoteAddress.address).toBe(
    "127.0.0.1",
  );
  expect(connected({ hostname: "::" }, { hostname: "localhost", family: 6 }).client.remoteAddress.address).toBe("::1");
  expect(connected({ hostname: "::" }, { hostname: "localhost", family: 0 }).client.remoteAddress.address).toBe("::1");
  const port = refusedPort();
  expect(thrown(() => connectSync({ hostname: "localhost", port, family: 4 }))).toMatchObject({ address: "127.0.0.1" });
});

test("an address of another family than `family` is a TypeError before any system call", () => {
  const calls = systemCalls(() => {
    expect(thrown(() => connectSync({ hostname: "::1", port: 1, family: 4 }))).toBeInstanceOf(TypeError);
    expect(thrown(() => connectSync({ hostname: "127.0.0.1", port: 1, family: 6 }))).toBeInstanceOf(TypeError);
  });
  expect(calls).toEqual([]);
});

test("`localAddress` is what the server sees", () => {
  const { client, server } = connected(
    { hostname: "127.0.0.1" },
    { hostname: "127.0.0.1", localAddress: "127.0.0.42" },
  );
  expect(client.localAddress.address).toBe("127.0.0.42");
  expect(server.remoteAddress.address).toBe("127.0.0.42");
});

test("`localPort` is what the server sees, alone and with `localAddress`", () => {
  for (const options of [{}, { localAddress: "127.0.0.42" }]) {
    const localPort = refusedPort();
    const { server } = connected({ hostname: "127.0.0.1" }, { hostname: "127.0.0.1", localPort, ...options });
    expect(server.remoteAddress.port).toBe(localPort);
  }
});

test("a `localAddress` that this machine does not have is EADDRNOTAVAIL of bind, and leaves nothing open", () => {
  const before = fdTable();
  const options = { hostname: "127.0.0.1", port: refusedPort(), localAddress: "192.0.2.1" };
  expect(thrown(() => connectSync(options))).toMatchObject({
    code: "EADDRNOTAVAIL",
    syscall: "bind",
    address: "192.0.2.1",
  });
  expect(fdTable()).toEqual(before);
});

test("a `localPort` that somebody listens on is EADDRINUSE of bind", () => {
  const taken = keep(listen({ hostname: "127.0.0.1" }));
  const server = keep(listen({ hostname: "127.0.0.1" }));
  const options = { hostname: "127.0.0.1", port: server.address.port, localPort: taken.address.port };
  expect(thrown(() => connectSync(options))).toMatchObject({
    code: "EADDRINUSE",
    syscall: "bind",
    port: taken.address.port,
  });
});

test("a `localAddress` of another family than the address is a TypeError before any system call", () => {
  const calls = systemCalls(() => {
    for (const [hostname, localAddress] of [
      ["127.0.0.1", "::1"],
      ["::1", "127.0.0.1"],
    ] as const) {
      expect(thrown(() => connectSync({ hostname, port: 1, localAddress }))).toBeInstanceOf(TypeError);
    }
  });
  expect(calls).toEqual([]);
});

test("with a `localAddress`, only the addresses of its family are tried", () => {
  const { client } = connected({ hostname: "::" }, { hostname: "localhost", localAddress: "127.0.0.1" });
  expect(client.remoteAddress.address).toBe("127.0.0.1");
  const port = refusedPort("::");
  expect(thrown(() => connectSync({ hostname: "localhost", port, localAddress: "127.0.0.1" }))).toMatchObject({
    code: "ECONNREFUSED",
    address: "127.0.0.1",
  });
});
