import { expect, test } from "bun:test";
import { ENOTCONN, monotonic } from "../ffi/index.ts";
import { constants } from "../ffi/platform/index.ts";
import { connectSync, listen, type TcpListener, type TcpSocket, TimeoutError } from "../src/index.ts";
import { failWith, faults } from "./faults.ts";
import { resolveTo } from "./names.ts";
import { blackHole, keeper } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();
const buffer = new Uint8Array(10);

/** `name.test` is 127.0.0.1, where nobody answers, and 127.0.0.2, where somebody does. */
function silentThenFine(): { port: number; fine: TcpListener } {
  for (;;) {
    const { port } = blackHole(keep);
    try {
      const fine = keep(listen({ hostname: "127.0.0.2", port }));
      resolveTo(fault, ["127.0.0.1", "127.0.0.2"]);
      return { port, fine };
    } catch (error) {
      if ((error as { code?: string }).code !== "EADDRINUSE") throw error; // somebody has that port on 127.0.0.2
    }
  }
}

function timed(dial: () => TcpSocket): { socket: TcpSocket; took: number } {
  const begin = monotonic();
  const socket = keep(dial());
  return { socket, took: monotonic() - begin };
}

test("if the first address does not answer, the second is tried after 250 ms, not before", () => {
  const { port, fine } = silentThenFine();
  const { socket, took } = timed(() => connectSync({ hostname: "name.test", port, timeout: 20_000 }));
  expect(socket.remoteAddress.address).toBe("127.0.0.2");
  expect(took).toBeGreaterThanOrEqual(250);
  expect(took).toBeLessThan(10_000);
  expect(keep(fine.acceptSync({ timeout: 5000 })).remoteAddress).toEqual(socket.localAddress);
});

for (const fallbackDelay of [0, 30, 400]) {
  test(`a fallbackDelay of ${fallbackDelay} ms is kept, and never cut short`, () => {
    const { port } = silentThenFine();
    const { socket, took } = timed(() => connectSync({ hostname: "name.test", port, fallbackDelay, timeout: 20_000 }));
    expect(socket.remoteAddress.address).toBe("127.0.0.2");
    expect(took).toBeGreaterThanOrEqual(fallbackDelay);
    expect(took).toBeLessThan(10_000);
  });
}

test("if the first address refuses, the second is tried at once, however long the delay", () => {
  const fine = keep(listen({ hostname: "127.0.0.2" }));
  resolveTo(fault, ["127.0.0.1", "127.0.0.2"]);
  for (const fallbackDelay of [60_000, Number.POSITIVE_INFINITY]) {
    const dial = () => connectSync({ hostname: "name.test", port: fine.address.port, fallbackDelay, timeout: 20_000 });
    expect(timed(dial).socket.remoteAddress.address).toBe("127.0.0.2");
  }
});

test("with a fallbackDelay of Infinity the second address waits for the first, until the timeout", () => {
  const { port, fine } = silentThenFine();
  const before = fdTable();
  const begin = monotonic();
  const options = { hostname: "name.test", port, fallbackDelay: Number.POSITIVE_INFINITY, timeout: 500 };
  expect(thrown(() => connectSync(options))).toBeInstanceOf(TimeoutError);
  expect(monotonic() - begin).toBeGreaterThanOrEqual(500);
  expect(fine.tryAccept()).toBeNull();
  expect(fdTable()).toEqual(before);
});

test("a timeout before the delay is over ends it all, and the second address was never tried", () => {
  const { port, fine } = silentThenFine();
  const before = fdTable();
  const options = { hostname: "name.test", port, fallbackDelay: 60_000, timeout: 100 };
  expect(thrown(() => connectSync(options))).toBeInstanceOf(TimeoutError);
  expect(fine.tryAccept()).toBeNull();
  expect(fdTable()).toEqual(before);
});

test("a timeout in the middle of a race of two leaves nothing open", () => {
  const { port } = blackHole(keep);
  const listener = keep(listen({ hostname: "127.0.0.2", port, backlog: 0 }));
  keep(connectSync({ hostname: "127.0.0.2", port: listener.address.port }));
  resolveTo(fault, ["127.0.0.1", "127.0.0.2"]);
  const before = fdTable();
  const options = { hostname: "name.test", port, fallbackDelay: 20, timeout: 200 };
  expect(thrown(() => connectSync(options))).toBeInstanceOf(TimeoutError);
  expect(fdTable()).toEqual(before);
});

test("the loser is closed: its peer, if it saw a connection at all, sees it end, without a reset", () => {
  const first = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = first.address;
  const second = keep(listen({ hostname: "127.0.0.2", port }));
  resolveTo(fault, ["127.0.0.1", "127.0.0.2"]);
  // The first connection stands, and this side learns of it too late: the second is begun, and wins.
  let late = true;
  let firstFd = -1;
  fault("connect", (connect) => (fd, address, length) => {
    if (firstFd === -1) firstFd = fd;
    return connect(fd, address, length);
  });
  fault("getpeername", (getpeername) => (fd, address, length) => {
    if (fd === firstFd && late) return failWith(ENOTCONN);
    return getpeername(fd, address, length);
  });
  const before = fdTable();
  const winner = connectSync({ hostname: "name.test", port, fallbackDelay: 0, timeout: 5000 });
  late = false;
  expect(winner.remoteAddress.address).toBe("127.0.0.2");
  const loser = keep(first.acceptSync({ timeout: 5000 }));
  expect(loser.readSync(buffer, { timeout: 5000 })).toBe(0);
  loser.close();
  const peer = keep(second.acceptSync({ timeout: 5000 }));
  winner.writeSync("alive");
  expect(peer.readSync(buffer, { timeout: 5000 })).toBe(5);
  winner.close();
  peer.close();
  expect(fdTable()).toEqual(before);
});

test("the winner keeps nothing of the race: a cancel or a deadline of the connect does not reach it", () => {
  const { port, fine } = silentThenFine();
  const socket = keep(connectSync({ hostname: "name.test", port, fallbackDelay: 20, timeout: 500 }));
  const peer = keep(fine.acceptSync({ timeout: 5000 }));
  expect(thrown(() => socket.readSync(buffer, { timeout: 700 }))).toBeInstanceOf(TimeoutError);
  peer.writeSync("later");
  expect(socket.readSync(buffer, { timeout: 5000 })).toBe(5);
});

test("an address to which connect says yes at once, and whose name cannot be had: the next one is tried", () => {
  const fine = keep(listen({ hostname: "127.0.0.2" }));
  resolveTo(fault, ["127.0.0.1", "127.0.0.2"]);
  let calls = 0;
  fault(
    "connect",
    (connect) =>
      (...parameters) =>
        ++calls === 1 ? 0 : connect(...parameters),
  );
  fault(
    "getpeername",
    (real) =>
      (...parameters) =>
        calls === 1 ? failWith(constants.ENOBUFS) : real(...parameters),
  );
  const { socket } = timed(() => connectSync({ hostname: "name.test", port: fine.address.port, timeout: 20_000 }));
  expect(socket.remoteAddress.address).toBe("127.0.0.2");
  expect(keep(fine.acceptSync({ timeout: 5000 })).remoteAddress).toEqual(socket.localAddress);
});
