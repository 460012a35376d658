/**
 * promise-short-of-descriptors.ts WARM FREE: promise operations while no more than FREE descriptors are to be had, of a
 * thread that has waited before (`warm`) or has not (`cold`); then they are free again. Says what came of it.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { libc } from "../../ffi/libc.ts";
import { CancelSource, connect, connectSync, listen, type SystemError } from "../../src/index.ts";
import { CANCEL, CANCELLED } from "../bodies/reactor.ts";
import { reach } from "../gates.ts";
import { Thread, until } from "../thread.ts";

const [temperature, free] = process.argv.slice(2) as ["warm" | "cold", string];
const ROUNDS = 3;
const into = new Uint8Array(64);
const listener = listen({ hostname: "127.0.0.1" });
const address = { hostname: "127.0.0.1", port: listener.address.port };
const client = connectSync(address);
const server = listener.acceptSync({ timeout: 20_000 });
const source = new CancelSource();
const thread = await Thread.start("reactor", "cancelWhenTold", {
  cancel: source.handle,
  rounds: ROUNDS + 1,
  reset: true,
});
await thread.next();

/** Looks at what is ready, and tries to wait otherwise. */
let looks = 0;
for (const name of ["epoll_wait", "poll"] as const) {
  const real = libc[name] as (...parameters: never[]) => number;
  libc[name] = ((...parameters: never[]) => {
    looks++;
    return real(...parameters);
  }) as never;
}

const outcome = (operation: Promise<unknown>) =>
  operation.then(
    (value) => String(value),
    (error: SystemError) => `${error.name} ${error.code}`,
  );

async function readLater(): Promise<string> {
  const read = outcome(client.read(into));
  await Bun.sleep(30);
  server.writeSync("hello");
  return await read;
}

/** Reads that a cancel of the other thread ends. */
async function cancelled(round: number): Promise<string> {
  const read = outcome(client.read(into, { cancel: source, timeout: 5000 }));
  const aborted = new Promise((resolve) => source.signal.addEventListener("abort", () => resolve("aborted")));
  await Bun.sleep(30);
  reach(thread.flags, CANCEL, round);
  const result = `${await read}, ${await Promise.race([aborted, Bun.sleep(5000)])}`;
  await until("the source to be armed again", () => Atomics.load(thread.flags, CANCELLED) === round);
  return result;
}

/** The share of a processor that is used while a read waits, and how often it is looked at, a second. */
async function idle(): Promise<{ cpu: number; looks: number }> {
  const read = outcome(client.read(into));
  await Bun.sleep(100);
  const [begin, cpu, before] = [performance.now(), process.cpuUsage(), looks];
  await Bun.sleep(1000);
  const { user, system } = process.cpuUsage(cpu);
  const spent = performance.now() - begin;
  const result = { cpu: (user + system) / 1000 / spent, looks: ((looks - before) / spent) * 1000 };
  server.writeSync("enough");
  await read;
  return result;
}

if (temperature === "warm") for (let i = 0; i < 3; i++) await readLater();
const fillers: number[] = [];
try {
  for (;;) fillers.push(openSync("/dev/null", "r"));
} catch (error) {
  if ((error as SystemError).code !== "EMFILE") throw error;
}
for (let i = 0; i < Number(free); i++) closeSync(fillers.pop()!);

const result: Record<string, unknown> = {};
result.read = await readLater();
result.timeout = await outcome(client.read(into, { timeout: 50 }));
result.cancelled = [];
for (let round = 1; round <= ROUNDS; round++) (result.cancelled as string[]).push(await cancelled(round));
result.accept = await outcome(listener.accept({ timeout: 100 }));
if (free === "0") result.connect = await outcome(connect(address));
result.short = await idle();
for (const filler of fillers) closeSync(filler);
await Bun.sleep(100);
result.readAfterwards = await readLater();
result.cancelledAfterwards = await cancelled(ROUNDS + 1);
let afterwards = await idle();
// What was put off has to begin first, on a machine that may be busy.
for (let tries = 0; tries < 5 && afterwards.looks > 20; tries++) afterwards = await idle();
result.afterwards = afterwards;
writeSync(1, `${JSON.stringify(result)}\n`);
process.exit(0);
