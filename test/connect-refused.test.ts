import { expect, test } from "bun:test";
import { ECONNREFUSED, EHOSTUNREACH } from "../ffi/index.ts";
import { connectSync, SystemError } from "../src/index.ts";
import { faults } from "./faults.ts";
import { resolveTo } from "./names.ts";
import { blackHole, keeper, refusedPort } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();

for (const [hostname, shown] of [
  ["127.0.0.1", "127.0.0.1:"],
  ["::1", "::1 port "],
] as const) {
  test(`a refused connect to ${hostname} says who refused, in Node's shape, and leaves nothing open`, () => {
    const port = refusedPort(hostname);
    const before = fdTable();
    const error = thrown<SystemError>(() => connectSync({ hostname, port }));
    expect(error).toBeInstanceOf(SystemError);
    expect(error).toMatchObject({
      name: "SystemError",
      code: "ECONNREFUSED",
      errno: -ECONNREFUSED,
      syscall: "connect",
      address: hostname,
      port,
    });
    expect(error.message).toContain(`ECONNREFUSED ${shown}${port}`);
    expect("errors" in error).toBe(false);
    expect(fdTable()).toEqual(before);
  });
}

test("a name of several addresses fails with the first one's error, and `errors` has them all, in the order tried", () => {
  const port = refusedPort("::");
  const before = fdTable();
  const error = thrown<SystemError>(() => connectSync({ hostname: "localhost", port }));
  expect(error).toMatchObject({ code: "ECONNREFUSED", address: "::1", port });
  expect((error.errors as SystemError[]).map(({ code, address }) => [code, address])).toEqual([
    ["ECONNREFUSED", "::1"],
    ["ECONNREFUSED", "127.0.0.1"],
  ]);
  expect(fdTable()).toEqual(before);
});

test("such an error can be written as JSON, as loggers do", () => {
  const error = thrown(() => connectSync({ hostname: "localhost", port: refusedPort("::") }));
  expect(JSON.parse(JSON.stringify(error))).toMatchObject({ code: "ECONNREFUSED", syscall: "connect" });
});

test("the families of a name's addresses take turns", () => {
  const port = refusedPort("::");
  resolveTo(fault, ["::1", "::ffff:127.0.0.9", "127.0.0.2", "127.0.0.3", "127.0.0.4"]);
  const error = thrown<SystemError>(() => connectSync({ hostname: "many.test", port }));
  expect((error.errors as SystemError[]).map(({ address }) => address)).toEqual([
    "::1",
    "127.0.0.2",
    "::ffff:127.0.0.9",
    "127.0.0.3",
    "127.0.0.4",
  ]);
});

test("three hundred addresses that refuse are three hundred errors, without a delay between them", () => {
  const port = refusedPort("0.0.0.0");
  const addresses = Array.from({ length: 300 }, (_, i) => `127.0.${1 + (i >> 8)}.${i & 255}`);
  resolveTo(fault, addresses);
  const begin = Date.now();
  const error = thrown<SystemError>(() => connectSync({ hostname: "many.test", port }));
  expect((error.errors as SystemError[]).map(({ address }) => address)).toEqual(addresses);
  expect(Date.now() - begin).toBeLessThan(10_000); // 75 s with the delay
});

test("refusals again and again leave the descriptor table as it was", () => {
  const port = refusedPort("::");
  const before = fdTable();
  for (let i = 0; i < 500; i++) {
    expect(thrown(() => connectSync({ hostname: "localhost", port })).code).toBe("ECONNREFUSED");
  }
  expect(fdTable()).toEqual(before);
});

test("it is the first address's error that is thrown, though it came after the others'", () => {
  const silent = blackHole(keep);
  resolveTo(fault, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
  // The first address stays silent until the second has refused; then a router says that there is no way to it.
  let first = -1;
  let asked = 0;
  fault("connect", (connect) => (fd, address, length) => {
    if (first === -1) first = fd;
    return connect(fd, address, length);
  });
  fault("getsockopt", (getsockopt) => (fd, level, name, value, length) => {
    const result = getsockopt(fd, level, name, value, length);
    if (fd === first && ++asked > 2) {
      (value as Int32Array)[0] = EHOSTUNREACH;
      first = -2; // its number goes to the third one
    }
    return result;
  });
  const options = { hostname: "many.test", port: silent.port, fallbackDelay: 30, timeout: 20_000 };
  const error = thrown<SystemError>(() => connectSync(options));
  expect((error.errors as SystemError[]).map(({ address, code }) => [address, code])).toEqual([
    ["127.0.0.1", "EHOSTUNREACH"],
    ["127.0.0.2", "ECONNREFUSED"],
    ["127.0.0.3", "ECONNREFUSED"],
  ]);
  expect(error).toMatchObject({ code: "EHOSTUNREACH", address: "127.0.0.1" });
});
