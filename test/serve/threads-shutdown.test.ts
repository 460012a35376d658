/** `serveThreads` comes to its end: gracefully, by force, and at any moment. */
import { expect, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { monotonic } from "../../ffi/index.ts";
import { connectSync, listen, type ShutdownResult, serveThreads, type TcpSocket } from "../../src/index.ts";
import { NONE } from "../leaks.ts";
import { changesAtRest, restingTable } from "../promise/settled.ts";
import { keeper, temporaryDirectory } from "../setup.ts";
import { until } from "../thread.ts";
import { needs, Program } from "../tool.ts";
import { dial, gate, hear, hostname, LIMIT, readText, rejection } from "./clients.ts";
import { client, clientsInEachThread, commandServer, handlers, order } from "./threads.ts";

const keep = keeper();

/** A path that is not there yet, and that the handlers of late.ts, second-is-late.ts and quiet-second.ts look at. */
function lateFlag(): string {
  const flag = join(keep(temporaryDirectory()).path, "flag");
  process.env.LATE_FLAG = flag;
  keep({ [Symbol.dispose]: () => delete process.env.LATE_FLAG });
  return flag;
}

test("idle, busy and blocked handlers in all threads come to their ends, and the threads are joined", async () => {
  const before = await restingTable();
  const { server, port, crashes } = commandServer(keep, 4);
  const sockets = [...(await clientsInEachThread(keep, server, port)).values()];
  const [idle, busy, waits, blocked] = sockets as [(typeof sockets)[0], ...typeof sockets];
  await order(busy!, "slow");
  await order(waits!, "signal");
  await order(blocked!, "block");
  const result = server.shutdown({ grace: null });
  expect(await hear(idle)).toEqual({ text: "", end: "end" });
  expect(await hear(waits!)).toEqual({ text: "AbortError\n", end: "end" });
  expect(await hear(blocked!)).toEqual({ text: "", end: "end" });
  await until("all but the busy one to be gone", () => server.active === 1);
  await busy!.write("go on");
  expect(await hear(busy!)).toEqual({ text: "did slow\n", end: "end" });
  expect(await result).toEqual({ completed: 4, forced: 0 });
  await server.finished;
  expect(crashes).toEqual([]);
  expect((await rejection(dial(port))).code).toBe("ECONNREFUSED");
  expect(await changesAtRest(before)).toEqual(NONE);
});

test("what is active when the grace has passed is reset, and a thread that cannot hear of it is terminated", async () => {
  const before = await restingTable();
  const { server, port, crashes } = commandServer(keep, 3);
  const sockets = [...(await clientsInEachThread(keep, server, port)).values()];
  await order(sockets[0]!, "stuck");
  await order(sockets[1]!, "block-for-ever");
  const begin = monotonic();
  const result = server.shutdown({ grace: 300 });
  const ends = await Promise.all(sockets.map(async (socket) => (await hear(socket)).end));
  expect(monotonic() - begin).toBeGreaterThanOrEqual(300);
  expect(ends[0]).toBe("ECONNRESET");
  expect(ends[1]).toBeOneOf(["ECONNRESET", "end"]); // it is closed from outside
  expect(ends[2]).toBe("end");
  expect(await result).toEqual({ completed: 1, forced: 2 });
  expect(crashes).toEqual([]);
  expect(await changesAtRest(before)).toEqual(NONE);
});

test("a grace of decades is none that a thread takes for a time stamp", async () => {
  const { server, port } = commandServer(keep, 1);
  const { socket } = await client(keep, port);
  const result = server.shutdown({ grace: new Date(Date.now() * 2) });
  expect(await hear(socket)).toEqual({ text: "", end: "end" });
  expect(await result).toEqual({ completed: 1, forced: 0 });
});

test("of two shutdowns the earlier grace holds, also for a thread that cannot hear of it", async () => {
  const { server, port } = commandServer(keep, 1);
  const { socket } = await client(keep, port);
  await order(socket, "block-for-ever");
  const results = [server.shutdown({ grace: 50 }), server.shutdown({ grace: null })];
  await hear(socket);
  expect(await Promise.all(results)).toEqual([
    { completed: 0, forced: 1 },
    { completed: 0, forced: 1 },
  ]);
});

test("close resets all at once; a shutdown that was under way is over, and so is a second close", async () => {
  const { server, port, crashes } = commandServer(keep, 3);
  const sockets = [...(await clientsInEachThread(keep, server, port)).values()];
  const [blocked, ...stuck] = sockets as [(typeof sockets)[0], ...typeof sockets];
  for (const socket of stuck) await order(socket, "stuck");
  await order(blocked, "block-for-ever");
  const result = server.shutdown({ grace: null });
  server.close();
  server.close();
  for (const socket of stuck) expect((await hear(socket)).end).toBe("ECONNRESET");
  await hear(blocked); // its thread has to be terminated for it
  expect(await result).toEqual({ completed: 0, forced: 3 });
  await server.finished;
  expect(await server.shutdown()).toEqual({ completed: 0, forced: 0 });
  expect(crashes).toEqual([]);
});

test("closed before a thread serves: nothing is left", async () => {
  const before = await restingTable();
  for (let time = 0; time < 5; time++) {
    const { server, crashes } = commandServer(keep, 2);
    server.close();
    await server.finished;
    expect(crashes).toEqual([]);
  }
  expect(await changesAtRest(before)).toEqual(NONE);
});

test("a client that is queued when the server is told to stop is served, though no thread was up yet", async () => {
  const flag = lateFlag();
  const server = keep(serveThreads(handlers("late"), { listen: { hostname }, threads: 2 }));
  const queued = keep(await dial(server.address.port));
  const result = server.shutdown({ grace: null });
  writeFileSync(flag, "");
  expect(await hear(queued)).toEqual({ text: "at last", end: "end" });
  expect(await result).toEqual({ completed: 1, forced: 0 });
  rmSync(flag);
});

test("and so is one that is queued while the only thread is being replaced", async () => {
  const { server, port, crashes } = commandServer(keep, 1);
  const { socket } = await client(keep, port);
  await order(socket, "exit");
  await until("it to have crashed", () => crashes.length === 1);
  const queued = keep(await dial(port));
  const result = server.shutdown({ grace: null });
  expect((await hear(queued)).text).toMatch(/^\d+\n$/);
  expect(await result).toEqual({ completed: 1, forced: 0 });
  expect(server.threads).toMatchObject([{ restarts: 1 }]);
});

test("a thread that is still starting does not hold up the others' end", async () => {
  lateFlag();
  const server = keep(serveThreads(handlers("second-is-late"), { listen: { hostname }, threads: 2 }));
  const socket = keep(await dial(server.address.port));
  await readText(socket);
  const result = server.shutdown({ grace: null });
  expect(await hear(socket)).toEqual({ text: "", end: "end" });
  expect(await result).toEqual({ completed: 1, forced: 0 });
});

test("a thread that has accepted, and of which nobody has heard yet, serves its client while the others end", async () => {
  const flag = lateFlag();
  const crashes: unknown[] = [];
  const onCrash = (error: unknown) => crashes.push(error);
  const setting = { listen: { hostname }, threads: 2, maxConnections: 1, onCrash };
  const server = keep(serveThreads(handlers("quiet-second"), setting));
  const first = keep(await dial(server.address.port));
  const thread = await readText(first);
  const second = keep(await dial(server.address.port));
  const result = server.shutdown({ grace: null, settle: 0 });
  writeFileSync(`${flag}/go`, "");
  expect(await readText(second)).not.toBe(thread);
  await first.write("x");
  expect(await hear(first)).toEqual({ text: "bye", end: "end" });
  await until("the first thread to have found the queue empty, and to end", () => !existsSync(`/proc/${thread}`));
  await second.write("x");
  expect(await hear(second)).toEqual({ text: "bye", end: "end" });
  writeFileSync(`${flag}/up`, "");
  expect(await result).toEqual({ completed: 2, forced: 0 });
  expect(crashes).toEqual([]);
});

test("a connection that had come to its end, and failed after all, takes back no end that was counted since", async () => {
  const { server, port } = commandServer(keep, 1);
  const idle = await client(keep, port);
  const { socket } = await client(keep, port);
  await order(socket, "close-and-fail");
  expect(await hear(socket)).toEqual({ text: "", end: "end" });
  await until("it to be over", () => server.active === 1);
  const result = server.shutdown({ grace: null }); // it fails once it is told
  expect(await hear(idle.socket)).toEqual({ text: "", end: "end" });
  expect(await result).toEqual({ completed: 1, forced: 0 });
});

test("onCrash may shut the server down: whoever is queued then is served, and nobody crashes any more", async () => {
  const crashes: number[] = [];
  const shutdown = gate<{ queued: TcpSocket; result: Promise<ShutdownResult> }>();
  const { server, port } = commandServer(keep, 1, {
    onCrash: (_, { id }) => {
      crashes.push(id);
      const queued = keep(connectSync({ hostname, port, timeout: LIMIT }));
      shutdown.resolve({ queued, result: server.shutdown({ grace: null }) });
    },
  });
  const { socket, thread } = await client(keep, port);
  await order(socket, "exit");
  const { queued, result } = await shutdown.promise;
  expect(await hear(queued)).toMatchObject({ text: expect.stringMatching(/^\d+\n$/), end: "end" });
  expect(await result).toEqual({ completed: 1, forced: 0 });
  await server.finished;
  expect(crashes).toEqual([thread]);
});

test("one that is about to be replaced is not, if others are there to take what is queued", async () => {
  const shutdown = gate<Promise<ShutdownResult>>();
  const { server, port } = commandServer(keep, 2, {
    onCrash: () => shutdown.resolve(server.shutdown({ grace: null })), // the pause has begun
  });
  const [first, second] = [...(await clientsInEachThread(keep, server, port)).values()];
  await order(first!, "exit");
  expect(await hear(second!)).toEqual({ text: "", end: "end" });
  expect(await shutdown.promise).toEqual({ completed: 1, forced: 0 });
  await Bun.sleep(100); // time in which the next one would begin
  expect(server.threads).toMatchObject([{ restarts: 0 }, { restarts: 0 }]);
});

test("a thread that crashes during a shutdown is reported, and not replaced if others take what is queued", async () => {
  const { server, port, crashes } = commandServer(keep, 2);
  const [first, second] = [...(await clientsInEachThread(keep, server, port))].map(([id, socket]) => ({ id, socket }));
  await order(first!.socket, "throw-when-told");
  await order(second!.socket, "slow");
  const result = server.shutdown({ grace: null });
  await first!.socket.write("now");
  expect(await hear(first!.socket)).toMatchObject({ text: "" });
  await until("it to be reported", () => crashes.length === 1);
  expect(crashes).toMatchObject([{ id: first!.id, error: { message: "thrown where nobody catches it" } }]);
  await second!.socket.write("go on");
  expect(await hear(second!.socket)).toEqual({ text: "did slow\n", end: "end" });
  expect(await result).toEqual({ completed: 1, forced: 1 });
  expect(server.threads.map(({ restarts }) => restarts)).toEqual([0, 0]);
});

test("the only thread crashes during a shutdown: another one serves those in the queue, and ends", async () => {
  const { server, port, crashes } = commandServer(keep, 1, { maxConnections: 1 });
  const { socket, thread } = await client(keep, port);
  await order(socket, "throw-when-told");
  const queued = await Promise.all(Array.from({ length: 5 }, () => dial(port)));
  const result = server.shutdown({ grace: null });
  await socket.write("now");
  await hear(socket);
  for (const one of queued) {
    const { text, end } = await hear(one);
    expect(end).toBe("end");
    expect(Number(text)).toBeGreaterThan(thread);
  }
  expect(await result).toEqual({ completed: 5, forced: 1 });
  expect(crashes).toHaveLength(1);
});

test("a thread that is blocked, and says nothing, lets no client in that nobody would serve", async () => {
  const { server, port } = commandServer(keep, 2);
  const [blocked, free] = [...(await clientsInEachThread(keep, server, port)).values()];
  await order(blocked!, "block-for-ever");
  const result = server.shutdown({ grace: null });
  expect(await hear(free!)).toEqual({ text: "", end: "end" });
  for (let time = 0; time < 10; time++) {
    // Kept out, or refused; whoever gets in is served.
    const late = await dial(port, { timeout: 100 }).catch(() => null);
    if (late !== null) expect(await hear(late)).toMatchObject({ end: "end" });
  }
  await blocked!.write("go on");
  expect(await hear(blocked!)).toEqual({ text: "did block-for-ever\n", end: "end" });
  expect(await result).toEqual({ completed: 2, forced: 0 });
});

needs("python3")(
  "10 shutdowns of 4 threads under 16 clients that connect without a pause: no reset, and nobody hangs",
  async () => {
    const first = listen({ hostname });
    const { port } = first.address;
    first.close();
    const clients = keep(Program.python("impatient.py", [port, 16, 0.1]));
    expect(await clients.line()).toBe("up");
    let served = 0;
    for (let stop = 0; stop < 10; stop++) {
      const server = keep(serveThreads(handlers("answer"), { listen: { hostname, port }, threads: 4 }));
      const sum = () => server.threads.reduce((all, thread) => all + thread.served, 0);
      await until("every thread to be busy", () => server.threads.every((thread) => thread.served >= 5));
      expect((await server.shutdown({ grace: null })).forced).toBe(0);
      served += sum();
    }
    clients.kill("SIGTERM");
    const counts = JSON.parse(await clients.line()) as Record<string, number>;
    expect(counts).toMatchObject({ reset: 0, hung: 0, unanswered: 0 });
    expect(counts.answered).toBeLessThanOrEqual(served); // one that had given up before it was accepted is served, too
  },
);

test("a finished server listens to no signals", async () => {
  const count = () => process.listenerCount("SIGINT") + process.listenerCount("SIGTERM");
  const before = count();
  const { server } = commandServer(keep, 1);
  expect(server.shutdownOn()).toBe(server);
  expect(count()).toBe(before + 2);
  server.close();
  await server.finished;
  expect(count()).toBe(before);
});

for (const [signals, end] of [
  [1, "end"],
  [2, "ECONNRESET"],
] as const) {
  test(`SIGTERM, ${signals} of it: the threads are joined, and the process ends by itself`, async () => {
    const child = keep(Program.script("serve-threads-until-signal.ts"));
    const port = Number(await child.line());
    const { socket } = await client(keep, port);
    if (signals === 2) await order(socket, "stuck");
    child.kill("SIGTERM");
    if (signals === 2) {
      await until("the first one to be heard", () => child.output.includes("stopping"));
      child.kill("SIGTERM");
    }
    expect((await hear(socket)).end).toBe(end);
    expect(await child.exited()).toBe(0);
    expect(child.output).toEndWith("finished\n");
  });
}
