import { expect, test } from "bun:test";
import {
  CancelledError,
  CancelSource,
  listen,
  type OperationOptions,
  type TcpSocket,
  TimeoutError,
} from "../../src/index.ts";
import {
  BEGIN,
  CANCEL_THEN_SEND,
  ENDED,
  ORDER,
  OUT,
  PAUSE,
  SEND,
  SEND_THEN_CANCEL,
  SEND_THEN_CANCEL_LATE,
  SENT,
  type SenderJob,
} from "../bodies/promise-races.ts";
import { passed, reach, spin } from "../gates.ts";
import { keeper } from "../setup.ts";
import { Thread } from "../thread.ts";
import { turn } from "./outcome.ts";

const keep = keeper();

/** One way to cancel a read that is pending. */
interface Way {
  /** What the read of a round is given. `tight`: its end and the data are to come at about the same time. */
  options(tight: boolean): OperationOptions;
  /** From this thread; missing if the peer does it, or the clock. */
  cancel?(socket: TcpSocket): void;
  /** Before the next round. */
  reset(socket: TcpSocket): void;
  isCancel(error: unknown): boolean;
}

/** How the two meet in a round. In every one of them the read is pending before either happens. */
const plans = ["both at once", "cancel first", "cancel without a turn", "data first", "both at once"] as const;

/**
 * In each round the peer sends a few bytes, and the read that waits for them is cancelled. Where both come at once the
 * pause between them grows when the cancel won and shrinks when the read did, so that about half go either way.
 */
async function race(rounds: number, way: Way, cancel?: CancelSource): Promise<void> {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const job: SenderJob = { port: listener.address.port, rounds, cancel: cancel?.handle };
  const thread = await Thread.start("promise-races", "sendInRounds", job);
  const { flags } = thread;
  const socket = keep(await listener.accept({ timeout: 20_000 }));
  const byPeer = cancel !== undefined;
  const byClock = way.cancel === undefined && !byPeer;

  const into = new Uint8Array(64);
  let received = 0;
  const count = (bytes: number) => {
    for (let i = 0; i < bytes; i++, received++) {
      if (into[i] !== (received & 255)) throw new Error(`byte ${received} is ${into[i]}, not ${received & 255}`);
    }
  };
  const begin = (round: number, order: number, wait = 0) => {
    Atomics.store(flags, ORDER, order);
    Atomics.store(flags, PAUSE, wait);
    reach(flags, BEGIN, round);
  };

  const seen = { data: 0, cancelled: 0, cancelledInTheLoop: 0 };
  /** Nanoseconds by which the cancel comes after the data. */
  let pause = 20_000;
  for (let round = 1; round <= rounds; round++) {
    const plan = plans[round % plans.length]!;
    const tight = plan === "both at once";
    let ended: "data" | "cancelled" | undefined;
    const reading = socket.read(into, way.options(tight)).then(
      (bytes) => {
        count(bytes);
        ended = "data";
      },
      (error) => {
        if (!way.isCancel(error)) throw error;
        ended = "cancelled";
      },
    );
    if (plan !== "cancel without a turn") await turn();
    if (ended !== undefined && !byClock) throw new Error(`round ${round}: ${ended} before anything was sent`);

    const wait = pause * (0.5 + Math.random());
    if (plan === "both at once") {
      begin(round, byPeer ? SEND_THEN_CANCEL : SEND, byPeer || byClock ? wait : 0);
      for (const end = Bun.nanoseconds() + wait; ended === undefined && Bun.nanoseconds() < end; ) await turn();
      way.cancel?.(socket);
    } else if (plan === "data first") {
      begin(round, byPeer ? SEND_THEN_CANCEL_LATE : SEND);
      await reading;
      way.cancel?.(socket);
    } else if (plan === "cancel without a turn") {
      begin(round, byPeer ? CANCEL_THEN_SEND : SEND, byPeer ? Math.random() * 10_000 : 0);
      spin(Math.random() * 20_000);
      if (byClock) socket.setReadDeadline(0);
      else way.cancel?.(socket);
    } else if (byPeer) {
      begin(round, CANCEL_THEN_SEND);
    } else {
      if (byClock) {
        socket.setReadDeadline(0);
        await reading; // a deadline has the last word only if there is nothing to read
      } else way.cancel!(socket);
      begin(round, SEND);
    }
    await reading;
    reach(flags, ENDED, round);
    passed(flags, OUT, round);
    // What a cancelled read left is all there, at once: loopback has delivered it when the peer's send returns.
    for (let bytes: number; (bytes = socket.tryRead(into) ?? 0) > 0; ) count(bytes);
    const sent = Atomics.load(flags, SENT);
    if (received !== sent) throw new Error(`round ${round}: ${sent} bytes were sent, ${received} received`);

    seen[ended!]++;
    if (ended === "cancelled" && plan !== "cancel without a turn") seen.cancelledInTheLoop++;
    if (tight) {
      // The clock cancels at a fixed time, and it is the data that moves.
      const later = byClock ? ended === "data" : ended === "cancelled";
      pause = Math.min(byClock ? 4_000_000 : 300_000, Math.max(50, later ? pause * 1.05 : pause * 0.95));
    }
    way.reset(socket);
  }
  expect(await thread.next<string>()).toBe("done");
  await thread.join();
  expect(socket.bytesRead).toBe(received);
  expect(seen.data + seen.cancelled).toBe(rounds);
  for (const [what, number] of Object.entries(seen)) expect([what, number > rounds / 20]).toEqual([what, true]);
}

const isCancelledError = (error: unknown) => error instanceof CancelledError;

test("reads and cancels of the same thread race 35,000 times: no byte is lost and none comes twice", async () => {
  const source = keep(new CancelSource());
  await race(35_000, {
    options: () => ({ cancel: source }),
    cancel: () => source.cancel(),
    reset: () => source.reset(),
    isCancel: isCancelledError,
  });
}, 300_000);

test("reads and an AbortSignal race 25,000 times: no byte is lost and none comes twice", async () => {
  let controller = new AbortController();
  const reason = new Error("the very object");
  await race(25_000, {
    options: () => ({ signal: controller.signal }),
    cancel: () => controller.abort(reason),
    reset: () => {
      controller = new AbortController();
    },
    isCancel: (error) => error === reason,
  });
}, 300_000);

test("reads and cancels of another thread race 30,000 times: no byte is lost and none comes twice", async () => {
  const source = keep(new CancelSource());
  await race(
    30_000,
    { options: () => ({ cancel: source }), reset: () => source.reset(), isCancel: isCancelledError },
    source,
  );
}, 300_000);

test("reads and deadlines race 10,000 times: no byte is lost and none comes twice", async () => {
  await race(10_000, {
    options: (tight) => ({ timeout: tight ? 0.2 : 20_000 }),
    reset: (socket) => socket.setReadDeadline(null),
    isCancel: (error) => error instanceof TimeoutError,
  });
}, 300_000);
