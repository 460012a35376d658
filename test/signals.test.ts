import { afterAll, beforeAll, expect } from "bun:test";
import { readFileSync, writeSync } from "node:fs";
import { monotonic } from "../ffi/index.ts";
import { CancelSource } from "../src/index.ts";
import { changes } from "./fds.ts";
import { INTERRUPTED, Reader, WAITS } from "./reader.ts";
import { keeper } from "./setup.ts";
import { fdTable, until, waits } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const test = needs("python3");

// With a handler in JavaScript, a signal ends the system call of the thread that it hits.
let handled = 0;
const onSignal = () => {
  handled++;
};
beforeAll(() => void process.on("SIGUSR2", onSignal));
afterAll(() => void process.off("SIGUSR2", onSignal));

/** Sends SIGUSR2 to the reader's thread alone, so often, `pause` seconds apart. */
function signals(reader: Reader, times: number, pause = 0): Program {
  return keep(Program.python("signals.py", [process.pid, reader.thread.tid, "SIGUSR2", times, pause]));
}

const interrupted = (reader: Reader) => Atomics.load(reader.thread.flags, INTERRUPTED);

test("signals do not end a read: it sleeps on, and reads what comes, and what is cancelled after them is cancelled", async () => {
  await using reader = await Reader.start();
  const source = keep(new CancelSource());
  for (const end of ["data", "cancel"]) {
    const before = handled;
    reader.read({ cancel: source.handle });
    await reader.blocked();
    await signals(reader, 3, 0.01).done();
    await until("a signal to hit its sleep", () => interrupted(reader) >= 1);
    await until("the handler to run here", () => handled > before);
    if (end === "data") reader.far.writeSync("data");
    else source.cancel("why");
    const outcome = await reader.outcome();
    expect(outcome).toMatchObject(end === "data" ? { text: "data" } : { name: "AbortError", cause: "why" });
  }
});

test("with interruptible a signal ends a read with EINTR, nothing was read, and the next read gets it all", async () => {
  await using reader = await Reader.start();
  const source = keep(new CancelSource());
  for (const cancel of [undefined, source.handle]) {
    for (const timeout of [undefined, 60_000]) {
      reader.read({ cancel, timeout, interruptible: true });
      await reader.blocked();
      await signals(reader, 1).done();
      const outcome = await reader.outcome();
      expect(outcome).toMatchObject({ name: "SystemError", code: "EINTR", interrupted: 1 });
      reader.far.writeSync("all of it");
      reader.read({ cancel, interruptible: true });
      expect(await reader.outcome()).toMatchObject({ text: "all of it" });
    }
  }
});

test("a wait of 100 ms never ends before, while signals arrive and the doorbell is poked every 5 ms", async () => {
  await using reader = await Reader.start();
  const source = keep(new CancelSource());
  const before = fdTable();
  const cancel = source.handle;
  const bell = Object.keys(changes(before).opened).map(Number)[0]; // poll has none that stays
  signals(reader, 100_000, 0.005); // until the test is over
  let hit = 0;
  let woken = 0;
  for (const end = monotonic() + 20_000; (hit < 8 || woken < 8) && monotonic() < end; ) {
    const begun = monotonic();
    reader.read({ cancel, timeout: 100 });
    let over = false;
    const outcome = reader.outcome().finally(() => {
      over = true;
    });
    while (!over) {
      if (bell !== undefined) writeSync(bell, new Uint8Array(new BigUint64Array([1n]).buffer));
      await Bun.sleep(5);
    }
    const { name, at, interrupted, waits: slept } = await outcome;
    expect(name).toBe("TimeoutError");
    expect(at - begun).toBeGreaterThanOrEqual(100);
    hit += interrupted;
    woken += slept;
  }
  expect(hit).toBeGreaterThanOrEqual(8);
  expect(woken).toBeGreaterThanOrEqual(8);
});

test("a signal that comes while a thread is not in the kernel is none of the wait's business", async () => {
  await using reader = await Reader.start();
  reader.read({ pause: "after it found nothing" });
  await reader.paused();
  await signals(reader, 1).done();
  reader.goOn();
  await until("it to sleep", () => Atomics.load(reader.thread.flags, WAITS) > 0);
  reader.far.writeSync("data");
  expect(await reader.outcome()).toMatchObject({ text: "data" });
});

test("Ctrl-C in a main thread that blocks with interruptible: the handler runs at once, and nothing is lost", async () => {
  await using program = Program.script("interruptible-read.ts");
  for (let round = 0; round < 3; round++) {
    expect(await program.line()).toBe("asleep");
    const syscall = () => readFileSync(`/proc/${program.pid}/syscall`, "latin1").split(" ")[0]!;
    await until("the main thread to be blocked", () => waits[process.arch]!.has(syscall()));
    const before = performance.now();
    program.kill("SIGINT");
    expect(await program.line()).toMatch(/^EINTR of -\d+$/);
    expect(await program.line()).toBe("the handler ran");
    expect(performance.now() - before).toBeLessThan(5000);
  }
  expect(await program.line()).toBe("still there");
  expect(await program.exited()).toBe(0);
});
