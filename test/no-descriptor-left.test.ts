/** Blocking operations of a process that has no file descriptor left: a real limit, in a child process. */
import { expect, test } from "bun:test";
import { connectSync, type TcpSocket } from "../src/index.ts";
import { keeper, readText } from "./setup.ts";
import { Program, peer } from "./tool.ts";

const keep = keeper();

interface Result {
  result?: unknown;
  name?: string;
  code?: string;
  cause?: unknown;
  syscall?: string;
  /** Milliseconds. */
  wall: number;
  cpu: number;
  accepts: number;
}

/** The child, with every descriptor taken, one client accepted, and another waiting to be. */
async function full(
  scenario: string,
): Promise<{ accepted: TcpSocket; queued: TcpSocket; result: () => Promise<Result> }> {
  const script = [process.execPath, peer("short-of-descriptors.ts"), scenario];
  const child = keep(Program.start(["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", ...script]));
  const port = Number(await child.line());
  const accepted = keep(connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 }));
  const queued = keep(connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 }));
  expect(await child.line()).toBe("full");
  const result = async () => {
    const line = await child.line();
    await child.done();
    return JSON.parse(line) as Result;
  };
  return { accepted, queued, result };
}

test("tryAccept throws EMFILE", async () => {
  const { result } = await full("tryAccept");
  expect(await result()).toMatchObject({ name: "SystemError", code: "EMFILE", syscall: "accept" });
});

test("connectSync throws EMFILE", async () => {
  const { result } = await full("connect");
  expect(await result()).toMatchObject({ name: "SystemError", code: "EMFILE", syscall: "socket" });
});

test("acceptSync tries less and less often, uses next to no CPU, and keeps its timeout", async () => {
  const { result } = await full("accept");
  const { name, wall, cpu, accepts } = await result();
  expect(name).toBe("TimeoutError");
  expect(wall).toBeGreaterThanOrEqual(2000);
  expect(cpu).toBeLessThan(wall / 2);
  expect(accepts).toBeLessThan(20); // 5 + 10 + 20 + … ms: nine of them in two seconds
});

test("so it does the first time that the listener waits, though there is no descriptor for its epoll set", async () => {
  const { result } = await full("accept on a fresh listener");
  const { name, wall, cpu, accepts } = await result();
  expect(name).toBe("TimeoutError");
  expect(wall).toBeGreaterThanOrEqual(300);
  expect(cpu).toBeLessThan(wall / 2);
  expect(accepts).toBeLessThan(20);
});

test("clients that come during the shortage do not make acceptSync try more often", async () => {
  const { queued, result } = await full("accept");
  const { port } = queued.remoteAddress;
  const until = Date.now() + 700; // it tries for two seconds
  for (let i = 0; i < 100 && Date.now() < until; i++) {
    keep(connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 }));
    await Bun.sleep(1); // so that each is an event of its own
  }
  const { name, accepts } = await result();
  expect(name).toBe("TimeoutError");
  expect(accepts).toBeLessThan(20);
});

test("acceptSync that sits out the shortage is cancelled from another thread", async () => {
  const { result } = await full("accept, cancelled");
  expect(await result()).toMatchObject({ name: "AbortError", cause: "enough" });
});

test("acceptSync takes the client that waited, once descriptors are free again", async () => {
  const { queued, result } = await full("accept, freed");
  expect(readText(queued, 20_000)).toBe("at last");
  expect(await result()).toMatchObject({ result: "accepted" });
});

test("a blocking read of a healthy socket works, though there is no descriptor for its epoll set", async () => {
  const { accepted, result } = await full("read");
  accepted.writeSync("hello");
  expect(await result()).toMatchObject({ result: "hello" });
});

test("such a read keeps its timeout, and does not spin", async () => {
  const { result } = await full("read in time");
  const { name, wall, cpu } = await result();
  expect(name).toBe("TimeoutError");
  expect(wall).toBeGreaterThanOrEqual(200);
  expect(cpu).toBeLessThan(wall / 2);
});

test("such a read is cancelled from another thread", async () => {
  const { result } = await full("read, cancelled");
  expect(await result()).toMatchObject({ name: "AbortError", cause: "enough" });
});

test("a blocking write of a healthy socket works as well", async () => {
  const { accepted, result } = await full("write");
  let received = 0;
  const buffer = new Uint8Array(1 << 20);
  for (let count: number; (count = accepted.readSync(buffer, { timeout: 20_000 })) > 0; ) received += count;
  expect(received).toBe(16 << 20);
  expect(await result()).toMatchObject({ result: 16 << 20 });
});

test("a source whose doorbell has no descriptor throws EMFILE when its handle is taken", async () => {
  const { result } = await full("handle");
  const outcome = await result();
  // A doorbell that is a pipe is made at the wait, not before.
  if (process.env.CANCELFD_BACKEND === "poll") expect(outcome.result).toBe("object");
  else expect(outcome).toMatchObject({ name: "SystemError", code: "EMFILE" });
});
