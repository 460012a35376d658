import { expect, test } from "bun:test";
import { monotonic } from "../ffi/index.ts";
import { constants } from "../ffi/platform/index.ts";
import { CancelledError, CancelSource, connectSync, SystemError, TimeoutError } from "../src/index.ts";
import { failWith, faults } from "./faults.ts";
import { keeper, pair, readText } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();

/** accept(2) fails so often, then tells the truth. Returns how often it was asked. */
function failing(errno: number, times: number): () => number {
  let asked = 0;
  const replacement =
    <A extends unknown[]>(accept: (...parameters: A) => number) =>
    (...parameters: A) =>
      asked++ < times ? failWith(errno) : accept(...parameters);
  fault("accept4", replacement);
  return () => asked;
}

for (const name of [
  "EPERM",
  "ECONNABORTED",
  "EPROTO",
  "ENETDOWN",
  "ENOPROTOOPT",
  "EHOSTDOWN",
  "ENONET",
  "EHOSTUNREACH",
  "EOPNOTSUPP",
  "ENETUNREACH",
  "ENOSR",
  "ESOCKTNOSUPPORT",
  "EPROTONOSUPPORT",
  "ETIMEDOUT",
  "ECONNRESET",
  "EINTR",
] as const) {
  test(`${name} of accept(2) is passed over: the next client is what the caller gets`, () => {
    const { listener } = pair(keep);
    const { port } = listener.address;
    for (const accept of [() => listener.acceptSync({ timeout: 5000 }), () => listener.tryAccept()!]) {
      const client = keep(connectSync({ hostname: "127.0.0.1", port }));
      const asked = failing(constants[name], 3);
      const server = keep(accept());
      expect(asked()).toBe(4);
      expect(server.remoteAddress).toEqual(client.localAddress);
      server.writeSync("hello");
      expect(readText(client)).toBe("hello");
    }
  });
}

test("clients that are gone, and none behind them: tryAccept says null, and acceptSync waits", () => {
  const { listener } = pair(keep);
  failing(constants.ECONNABORTED, 3);
  expect(listener.tryAccept()).toBeNull();
  failing(constants.ECONNABORTED, 3);
  expect(thrown(() => listener.acceptSync({ timeout: 20 }))).toBeInstanceOf(TimeoutError);
});

test("between one client that is gone and the next a cancel gets its turn", () => {
  const { listener } = pair(keep);
  using cancel = new CancelSource();
  let asked = 0;
  fault("accept4", () => () => {
    if (++asked === 50) cancel.cancel("enough of them");
    return asked > 1000 ? -1 : failWith(constants.ECONNABORTED);
  });
  expect(thrown(() => listener.acceptSync({ cancel, timeout: 5000 }))).toBeInstanceOf(CancelledError);
  expect(asked).toBe(50);
});

for (const name of ["EINVAL", "EBADF", "ENOTSOCK"] as const) {
  test(`${name} is about the listener itself, and is thrown`, () => {
    const { listener } = pair(keep);
    for (const accept of [() => listener.acceptSync({ timeout: 5000 }), () => listener.tryAccept()]) {
      failing(constants[name], 1);
      const error = thrown(accept);
      expect(error).toBeInstanceOf(SystemError);
      expect(error).toMatchObject({ code: name, syscall: "accept" });
    }
  });
}

for (const name of ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] as const) {
  test(`${name} is sat out by acceptSync, with longer and longer pauses, and thrown by tryAccept`, () => {
    const { listener } = pair(keep);
    const client = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
    failing(constants[name], 1);
    expect(thrown(() => listener.tryAccept())).toMatchObject({ name: "SystemError", code: name, syscall: "accept" });

    const asked = failing(constants[name], 5);
    const begin = monotonic();
    const server = keep(listener.acceptSync({ timeout: 20_000 }));
    expect(monotonic() - begin).toBeGreaterThanOrEqual(5 + 10 + 20 + 40 + 80);
    expect(asked()).toBe(6);
    expect(server.remoteAddress).toEqual(client.localAddress);

    // Once it is over, it is over: the next shortage begins with a short pause again.
    keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
    const again = failing(constants[name], 1);
    keep(listener.acceptSync({ timeout: 20_000 }));
    expect(again()).toBe(2);
  });
}

test("a shortage that is over is forgotten: with nobody there, acceptSync sleeps", () => {
  const { listener } = pair(keep);
  const asked = failing(constants.EMFILE, 1);
  expect(thrown(() => listener.acceptSync({ timeout: 300 }))).toBeInstanceOf(TimeoutError);
  expect(asked()).toBeLessThan(10);
});

test("a client that reset its connection before it was accepted still has its address", () => {
  const { listener } = pair(keep);
  const client = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  const address = client.localAddress;
  client.resetAndDestroy();
  const server = keep(listener.acceptSync({ timeout: 5000 }));
  expect(server.remoteAddress).toEqual(address);
  expect(thrown(() => server.readSync(new Uint8Array(1), { timeout: 5000 })).code).toBe("ECONNRESET");
  expect(server.localAddress.port).toBe(listener.address.port);
});

test("an accept that fails in any of these ways leaves the descriptor table as it was", () => {
  const { listener } = pair(keep);
  thrown(() => listener.acceptSync({ timeout: 1 })); // its epoll set stays, for the next wait
  const before = fdTable();
  for (const name of ["ECONNABORTED", "EMFILE", "EINVAL"] as const) {
    failing(constants[name], 2);
    expect(thrown(() => listener.acceptSync({ timeout: 1 }))).toBeInstanceOf(Error);
  }
  expect(fdTable()).toEqual(before);
});
