/** Signals, in child processes: each Ctrl-C is one of theirs. */
import { expect, test } from "bun:test";
import { type ListenOptions, listen, serve } from "../../src/index.ts";
import { keeper } from "../setup.ts";
import { Program } from "../tool.ts";
import { dial, hear, hostname } from "./clients.ts";

const keep = keeper();

async function start(how: string): Promise<{ child: Program; port: number }> {
  const child = keep(Program.script("serve-until-signal.ts", [how]));
  return { child, port: Number(await child.line()) };
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`${signal} once: connections end gracefully, and the process by itself, with status 0`, async () => {
    const { child, port } = await start("idle");
    const client = await dial(port);
    expect(await child.line()).toBe("connected");
    child.kill(signal);
    expect(await hear(client)).toEqual({ text: "hello", end: "end" });
    expect(await child.line()).toBe("finished");
    expect(await child.line()).toBe("exit, 0 listeners");
    expect(await child.exited()).toBe(0);
  });
}

test("SIGINT twice: the second one resets what is left, though the grace has not passed", async () => {
  const { child, port } = await start("stuck");
  const clients = [await dial(port), await dial(port)];
  for (const _ of clients) expect(await child.line()).toBe("connected");
  child.kill("SIGINT");
  // It has been heard once new clients are refused: the listener has stopped, and its connections go on.
  let refused = false;
  while (!refused) {
    try {
      (await dial(port, { timeout: 2000 })).close();
      expect(await child.line()).toBe("connected");
    } catch (error) {
      refused = (error as { code: string }).code === "ECONNREFUSED";
    }
  }
  child.kill("SIGINT");
  for (const client of clients) expect((await hear(client)).end).toBe("ECONNRESET");
  expect(await child.line()).toBe("finished");
  expect(await child.exited()).toBe(0);
});

test("a server keeps its process alive until it is finished, even over a listener that is unref'ed", async () => {
  const { child, port } = await start("unref");
  for (let i = 0; i < 3; i++) {
    const client = keep(await dial(port));
    expect(await child.line()).toBe("connected");
    client.close();
    await Bun.sleep(50); // time in which a process that nothing keeps would end
  }
  child.kill("SIGTERM");
  expect(await child.line()).toBe("finished");
  expect(await child.exited()).toBe(0);
});

test("without names they are SIGINT and SIGTERM; a finished server listens to none", async () => {
  const count = () =>
    process.listenerCount("SIGINT") + process.listenerCount("SIGTERM") + process.listenerCount("SIGHUP");
  const before = count();
  const options: ListenOptions = { hostname };
  const server = serve(listen(options), () => {});
  expect(server.shutdownOn()).toBe(server);
  expect(count()).toBe(before + 2);
  server.shutdownOn("SIGINT", "SIGHUP");
  expect(count()).toBe(before + 3);
  server.close();
  await server.finished;
  expect(count()).toBe(before);
  server.shutdownOn("SIGINT");
  expect(count()).toBe(before);
});

test("what no process hears is a TypeError, and then none is listened to", async () => {
  const before = process.listenerCount("SIGTERM");
  const server = keep(serve(listen({ hostname }), () => {}));
  for (const name of ["SIGKILL", "SIGSTOP", "SIGNONE", "TERM"] as const) {
    expect(() => server.shutdownOn("SIGTERM", name as "SIGTERM")).toThrow(TypeError);
  }
  expect(process.listenerCount("SIGTERM")).toBe(before);
});
