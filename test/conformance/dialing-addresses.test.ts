/** Go's net/dial_test.go: several addresses of a name, and the options of a dial. */
import { expect, test } from "bun:test";
import * as ffi from "../../ffi/index.ts";
import { monotonic } from "../../ffi/index.ts";
import {
  CancelSource,
  connect,
  connectSync,
  type InetAddress,
  listen,
  type TcpListener,
  type TcpSocket,
} from "../../src/index.ts";
import { failWith, faults } from "../faults.ts";
import { descriptors } from "../fds.ts";
import { resolveTo } from "../names.ts";
import { blackHole, keeper } from "../setup.ts";
import { unchangedSince, warmUp } from "./connections.ts";
import { type Both, type Form, failure, forms, timedOut } from "./forms.ts";

const keep = keeper();
const fault = faults();
const SOON = 50_000;
const LATER = 3_600_000;

interface Dial extends Both {
  port: number;
  fallbackDelay?: number;
}

/** Dials a name that has these addresses. */
function dial(form: Form, addresses: string[], options: Dial): Promise<TcpSocket> {
  const name = { hostname: "name.test", timeout: SOON, ...options };
  resolveTo(fault, addresses);
  if (form.name === "blocking") return form.connect(name);
  const found = addresses.map((address): InetAddress => {
    return { address, port: 0, family: address.includes(":") ? "IPv6" : "IPv4" };
  });
  return connect({ ...name, lookup: async () => found });
}

/** A port at which 127.0.0.1 and 127.0.0.5 do not answer, 127.0.0.2 and ::1 do, and all else refuses. */
function scene(): { port: number; fine: TcpListener } {
  for (;;) {
    const { port } = blackHole(keep);
    try {
      keep(listen({ hostname: "::1", port }));
      keep(listen({ hostname: silentToo, port, backlog: 0 }));
      keep(connectSync({ hostname: silentToo, port }));
      return { port, fine: keep(listen({ hostname: "127.0.0.2", port })) };
    } catch (error) {
      if ((error as { code?: string }).code !== "EADDRINUSE") throw error; // somebody else has that port there
    }
  }
}

const silent = "127.0.0.1";
const silentToo = "127.0.0.5";
const answers = "127.0.0.2";
const refuses = "127.0.0.3";

interface Case {
  what: string;
  addresses: string[];
  fallbackDelay?: number;
  /** Who is met, or the error; and no earlier than this. */
  outcome: string;
  least?: number;
}

const cases: Case[] = [
  { what: "the first answers", addresses: [answers, silent], fallbackDelay: LATER, outcome: answers },
  { what: "the first answers, a refusal behind it", addresses: [answers, refuses], fallbackDelay: 0, outcome: answers },
  { what: "the first is silent", addresses: [silent, answers], fallbackDelay: 100, outcome: answers, least: 100 },
  { what: "the first refuses: no wait", addresses: [refuses, answers], fallbackDelay: LATER, outcome: answers },
  { what: "the first refuses, never a race", addresses: [refuses, answers], fallbackDelay: Infinity, outcome: answers },
  { what: "all refuse", addresses: [refuses, "127.0.0.4"], fallbackDelay: LATER, outcome: "ECONNREFUSED" },
  { what: "two families, the first silent", addresses: [silent, "::1"], fallbackDelay: 50, outcome: "::1", least: 50 },
  { what: "two families, the first answers", addresses: ["::1", silent], fallbackDelay: LATER, outcome: "::1" },
  {
    what: "silent, refused, fine",
    addresses: [silent, refuses, answers],
    fallbackDelay: 50,
    outcome: answers,
    least: 50,
  },
  { what: "none but a silent one", addresses: [silent], fallbackDelay: 0, outcome: "ERR_TIMEOUT", least: 300 },
  { what: "silent ones only", addresses: [silent, silentToo], fallbackDelay: 0, outcome: "ERR_TIMEOUT", least: 300 },
  {
    what: "a thousand refuse before one answers",
    addresses: [...Array.from({ length: 1000 }, (_, i) => `127.1.${i >> 8}.${i & 255}`), answers],
    fallbackDelay: LATER,
    outcome: answers,
  },
  { what: "the default delay is 250 ms", addresses: [silent, answers], outcome: answers, least: 250 },
];

for (const form of forms) {
  const row = (name: string, body: () => Promise<void>) => test(`dial_test ${name}, ${form.name}`, body);

  for (const { what, addresses, fallbackDelay, outcome, least = 0 } of cases) {
    row(`TestDialParallel, TestDialerFallbackDelay: ${what}`, async () => {
      const { port } = scene();
      await warmUp(keep);
      const before = descriptors();
      const timeout = outcome === "ERR_TIMEOUT" ? least : SOON;
      const options: Dial = { port, timeout, ...(fallbackDelay !== undefined && { fallbackDelay }) };
      const begin = monotonic();
      const met = await dial(form, addresses, options).then(
        (socket) => {
          using open = socket;
          return open.remoteAddress.address;
        },
        (error: { code: string }) => error.code,
      );
      expect(met).toBe(outcome);
      const took = monotonic() - begin;
      expect(took).toBeGreaterThanOrEqual(least);
      expect(took).toBeLessThan(least + 20_000); // or it was the deadline that moved it on
      await unchangedSince(before);
      // And each once more, cut short: whatever is under way, the cancel ends it, or is too late.
      using cancel = new CancelSource();
      cancel.cancel("before it began");
      expect((await failure(dial(form, addresses, { ...options, cancel }))).cause).toBe("before it began");
      if (form.name === "promises") {
        using soon = new CancelSource();
        const again = dial(form, addresses, { ...options, cancel: soon });
        setImmediate(() => soon.cancel());
        const name = await again.then(
          (socket) => {
            using _open = socket;
            return "connected";
          },
          (error: Error & { code: string }) => error.code,
        );
        expect([outcome, "connected", "ABORT_ERR"]).toContain(name);
      }
      await unchangedSince(before);
    });
  }

  row(
    "TestDialParallelSpuriousConnection: when both connect, the loser is closed and its peer sees the end",
    async () => {
      const first = keep(listen({ hostname: "127.0.0.1" }));
      const { port } = first.address;
      const second = keep(listen({ hostname: "127.0.0.2", port }));
      let loser = -1;
      // The first one stands, and is taken for unfinished until the second one has won.
      fault("getpeername", (getpeername) => (fd, address, length) => {
        if (loser === -1) loser = fd as number;
        return fd === loser ? failWith(ffi.ENOTCONN) : getpeername(fd, address, length);
      });
      const winner = keep(await dial(form, ["127.0.0.1", "127.0.0.2"], { port, fallbackDelay: 0 }));
      loser = -2;
      expect(winner.remoteAddress.address).toBe("127.0.0.2");
      const end = keep(await form.accept(first, { timeout: SOON }));
      expect(await form.read(end, new Uint8Array(1), { timeout: SOON })).toBe(0);
      const peer = keep(await form.accept(second, { timeout: SOON }));
      await form.write(winner, "alive");
      expect(await form.read(peer, new Uint8Array(8), { timeout: SOON })).toBe(5);
    },
  );

  row("TestDialerDualStack: localhost is met over whichever family somebody listens on", async () => {
    for (const hostname of ["127.0.0.1", "::1"]) {
      using listener = listen({ hostname });
      using socket = await form.connect({ hostname: "localhost", port: listener.address.port, timeout: SOON });
      expect(socket.remoteAddress.address).toBe(hostname);
    }
  });

  row("TestDialListenerAddr: the address that a wildcard listener has can be dialled as it is", async () => {
    for (const hostname of ["0.0.0.0", "::", undefined]) {
      using listener = listen({ hostname });
      const { address, port } = listener.address;
      using socket = await form.connect({ hostname: address, port, timeout: SOON });
      using server = await form.accept(listener, { timeout: SOON });
      expect(server.remoteAddress).toEqual(socket.localAddress);
    }
  });

  row(
    "TestDialerLocalAddr, TestProhibitionaryDialArg: a local address has to be one of the remote one's family",
    async () => {
      const both = keep(listen({ hostname: "::" }));
      const { port } = both.address;
      for (const [hostname, localAddress, outcome] of [
        ["127.0.0.1", "127.0.0.1", "127.0.0.1"],
        ["127.0.0.1", "127.0.0.9", "127.0.0.9"],
        ["127.0.0.1", "0.0.0.0", "127.0.0.1"],
        ["::1", "::1", "::1"],
        ["::1", "::", "::1"],
        ["localhost", "127.0.0.1", "127.0.0.1"],
        ["localhost", "::1", "::1"],
        ["127.0.0.1", "::1", "TypeError"],
        ["::1", "127.0.0.1", "TypeError"],
        ["127.0.0.1", "name.test", "TypeError"],
        ["127.0.0.1", "192.0.2.1", "SystemError"],
      ] as const) {
        const met = await form.connect({ hostname, port, localAddress, timeout: SOON }).then(
          (socket) => {
            using open = socket;
            return open.localAddress.address;
          },
          (error: Error) => error.name,
        );
        expect([hostname, localAddress, met]).toEqual([hostname, localAddress, outcome]);
      }
    },
  );

  row("TestDialerKeepAlive, TestTCPConnKeepAliveConfig: what the options say is what the kernel has", async () => {
    const { port } = keep(listen({ hostname: "127.0.0.1" })).address;
    const { SOL_SOCKET, SO_KEEPALIVE, IPPROTO_TCP, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT } = ffi;
    const asked = { idle: 5, interval: 3, count: 10 };
    // Off is the default here, as in Bun and Node.js; in Go it is on.
    for (const [keepAlive, on] of [
      [undefined, false],
      [false, false],
      [true, true],
      [asked, true],
      [{ idle: 7 }, true],
    ] as const) {
      using socket = await form.connect({ hostname: "127.0.0.1", port, keepAlive, timeout: SOON });
      expect(socket.getOption(SOL_SOCKET, SO_KEEPALIVE) !== 0).toBe(on);
      const idle = socket.getOption(IPPROTO_TCP, TCP_KEEPIDLE);
      if (typeof keepAlive === "object") expect(idle).toBe(keepAlive.idle);
      socket.setKeepAlive(asked);
      const now = [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map((name) => socket.getOption(IPPROTO_TCP, name));
      expect(now).toEqual([5, 3, 10]);
      socket.setKeepAlive(false);
      expect(socket.getOption(SOL_SOCKET, SO_KEEPALIVE)).toBe(0);
    }
  });
}

for (const form of forms) {
  // Go divides what is left of the time by the addresses that are left. Here an address does not use up time: the next
  // one is tried beside it.
  const name = "all addresses are under the one deadline, and a silent one leaves the others what fallbackDelay says";
  test(`dial_test TestDialerPartialDeadline: ${name}, ${form.name}`, async () => {
    const { port } = scene();
    const begin = monotonic();
    await timedOut(dial(form, [silent, silentToo, answers], { port, fallbackDelay: LATER, timeout: 150 }));
    expect(monotonic() - begin).toBeGreaterThanOrEqual(150);
    keep(await dial(form, [silent, silentToo, answers], { port, fallbackDelay: 20 }));
  });
}
