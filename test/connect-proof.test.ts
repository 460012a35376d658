import { expect, test } from "bun:test";
import { EINTR } from "../ffi/index.ts";
import { ipVersion } from "../ffi/sockaddr.ts";
import { connectSync, listen, TimeoutError } from "../src/index.ts";
import { failWith, faults } from "./faults.ts";
import { blackHole, keeper, pair, readText, refusedPort } from "./setup.ts";
import { fdTable, Thread, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();
const range = await Bun.file("/proc/sys/net/ipv4/ip_local_port_range")
  .text()
  .catch(() => "49152");
const lowest = Number.parseInt(range, 10);

test("a connect to its own local port meets itself, and is refused all the same", () => {
  const before = fdTable();
  for (const hostname of ["127.0.0.1", "::1"]) {
    for (const localAddress of [undefined, hostname]) {
      const port = refusedPort(hostname);
      const error = thrown(() => connectSync({ hostname, port, localPort: port, localAddress, timeout: 5000 }));
      expect(error).toMatchObject({ code: "ECONNREFUSED", syscall: "connect", address: hostname, port });
    }
  }
  expect(fdTable()).toEqual(before);
});

test("dials of a closed ephemeral port never succeed, even when the kernel connects one to itself", () => {
  const before = fdTable();
  // Of the parity that connect(2) chooses from; bind(2) to port 0 takes the other one.
  const port = lowest + 2 * Math.floor(Math.random() * 5000);
  let selfConnects = 0;
  fault("getsockname", (getsockname) => (...parameters) => {
    selfConnects++; // asked only once SO_ERROR and getpeername had no objection
    return getsockname(...parameters);
  });
  for (const end = Date.now() + 3000; selfConnects === 0 && Date.now() < end; ) {
    expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout: 5000 })).code).toBe("ECONNREFUSED");
  }
  if (selfConnects === 0) console.warn("the kernel connected no socket to itself this time");
  expect(fdTable()).toEqual(before);
});

for (const lies of [1, 2, 3, 100]) {
  const outcome = lies < 3 ? "is closed and dialled anew" : "is given up as refused";
  test(`what looks connected to itself ${lies === 1 ? "once" : `${lies} times`} ${outcome}`, () => {
    const { listener } = pair(keep);
    const { port } = listener.address;
    const before = fdTable();
    let left = lies;
    // getsockname says the peer's address, as it does of a socket that met itself.
    fault("getsockname", (getsockname) => (fd, address, length) => {
      if (left-- > 0) getsockname(listener.fd, address, length);
      else getsockname(fd, address, length);
      return 0;
    });
    if (lies < 3) {
      const socket = keep(connectSync({ hostname: "127.0.0.1", port, timeout: 5000 }));
      for (let i = 0; i < lies; i++) {
        using given = listener.acceptSync({ timeout: 5000 });
        expect(given.readSync(new Uint8Array(1), { timeout: 5000 })).toBe(0);
      }
      const server = keep(listener.acceptSync({ timeout: 5000 }));
      server.writeSync("hello");
      expect(readText(socket)).toBe("hello");
      socket.close();
      server.close();
    } else {
      expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout: 5000 }))).toMatchObject({
        code: "ECONNREFUSED",
        port,
      });
    }
    expect(fdTable()).toEqual(before);
  });
}

test("success is never followed by ENOTCONN: 5,000 dials of a server that hangs up at once", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const thread = await Thread.start("hang-up", "hangUp", listener.handle);
  const { port } = listener.address;
  const codes = new Set<string | undefined>();
  for (let i = 0; i < 5000; i++) {
    using socket = connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 });
    expect(ipVersion(socket.localAddress.address)).toBe(4);
    try {
      socket.writeSync("x");
      socket.readSync(new Uint8Array(1), { timeout: 20_000 });
    } catch (error) {
      codes.add((error as { code?: string }).code);
    }
  }
  // The server's end, or its reset because of the byte that it did not read.
  expect([...codes].filter((code) => code !== "ECONNRESET" && code !== "EPIPE")).toEqual([]);
  Atomics.store(thread.flags, 1, 1);
  connectSync({ hostname: "127.0.0.1", port }).close();
  await thread.join();
});

test("a signal that interrupts connect(2) does not show: the handshake goes on, and is waited for", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  let calls = 0;
  fault("connect", (connect) => (...parameters) => {
    calls++;
    connect(...parameters);
    return failWith(EINTR);
  });
  const socket = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port, timeout: 5000 }));
  const server = keep(listener.acceptSync({ timeout: 5000 }));
  server.writeSync("hello");
  expect(readText(socket)).toBe("hello");
  expect(calls).toBe(1);
});

test("a refusal after an interrupted connect(2) is a refusal", () => {
  const port = refusedPort();
  fault("connect", (connect) => (...parameters) => {
    connect(...parameters);
    return failWith(EINTR);
  });
  expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout: 5000 })).code).toBe("ECONNREFUSED");
});

test("a wake-up before the handshake is done is no success", () => {
  const { port } = blackHole(keep);
  const before = fdTable();
  let wakes = 0;
  // Five times it says that something is ready, as after a wake-up that somebody else caused.
  fault(
    "epoll_wait",
    (wait) =>
      (...parameters) =>
        wakes++ < 5 ? 1 : wait(...parameters),
  );
  fault(
    "poll",
    (wait) =>
      (...parameters) =>
        wakes++ < 5 ? 1 : wait(...parameters),
  );
  expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout: 100 }))).toBeInstanceOf(TimeoutError);
  expect(wakes).toBeGreaterThan(5);
  expect(fdTable()).toEqual(before);
});
