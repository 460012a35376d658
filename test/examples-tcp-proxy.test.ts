/** examples/tcp-proxy.ts between real peers: what goes through it, what it holds back, and how it ends. */
import { expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectSync, listen, type TcpListener, type TcpSocket } from "../src/index.ts";
import { drain, portOf } from "./netcat.ts";
import { keeper, readAll, readText, refusedPort } from "./setup.ts";
import { thrown, until } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const example = fileURLToPath(new URL("../examples/tcp-proxy.ts", import.meta.url));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const start = (...args: (string | number)[]) =>
  keep(Program.start([process.execPath, "run", example, ...args.map(String)], { stdin: "ignore" }));

/** A proxy to this port, and its own. */
async function proxyTo(target: number | string, ...options: string[]): Promise<{ proxy: Program; port: number }> {
  const proxy = start(...options, 0, "127.0.0.1", target);
  const port = Number(/^listening on (\d+)$/.exec(await proxy.line())![1]);
  return { proxy, port };
}

interface Line {
  proxy: Program;
  port: number;
  client: TcpSocket;
  server: TcpSocket;
  listener: TcpListener;
}

/** Both ends of a connection that goes through a proxy. */
async function through(...options: string[]): Promise<Line> {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { proxy, port } = await proxyTo(listener.address.port, ...options);
  const client = keep(connectSync({ hostname: "127.0.0.1", port }));
  const server = keep(listener.acceptSync({ timeout: 20_000 }));
  return { proxy, port, client, server, listener };
}

test("it is under 80 lines", () => {
  expect(readFileSync(example, "utf8").trimEnd().split("\n").length).toBeLessThan(80);
});

needs("socat")("20 MB go both ways at once between two socats, and arrive as they were sent", async () => {
  const [up, down] = [randomBytes(20_000_000), randomBytes(20_000_000)];
  const server = keep(Program.start(["socat", "-dd", "-t30", "-", "TCP-LISTEN:0,bind=127.0.0.1"], { stdin: down }));
  const { port } = await proxyTo(await portOf(server));
  const client = keep(Program.start(["socat", "-t30", "-", `TCP:127.0.0.1:${port}`], { stdin: up }));
  await Promise.all([server.done(), client.done()]);
  expect([server.bytes.byteLength, client.bytes.byteLength]).toEqual([up.byteLength, down.byteLength]);
  expect(sha256(server.bytes)).toBe(sha256(up));
  expect(sha256(client.bytes)).toBe(sha256(down));
});

test("a client that half-closes still gets its answer, and so does a server", async () => {
  for (const first of ["client", "server"] as const) {
    const { proxy, ...line } = await through("--idle", "30");
    const [one, other] = first === "client" ? [line.client, line.server] : [line.server, line.client];
    one.writeSync("the question");
    one.closeWrite();
    expect(readAll(other, 20_000).toString()).toBe("the question");
    other.writeSync("the answer");
    expect(readText(one, 20_000)).toBe("the answer");
    other.writeSync(", and more of it");
    other.close();
    expect(readAll(one, 20_000).toString()).toBe(", and more of it");
    expect(proxy.errors).toBe("");
  }
});

test("twenty clients at once are kept apart, and one that ends leaves the others alone", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = await proxyTo(listener.address.port);
  const pairs = Array.from({ length: 20 }, (_, i) => {
    const client = keep(connectSync({ hostname: "127.0.0.1", port }));
    client.writeSync(`client ${i}`);
    const server = keep(listener.acceptSync({ timeout: 20_000 }));
    expect(readText(server, 20_000)).toBe(`client ${i}`);
    return { client, server };
  });
  for (const [i, { client, server }] of pairs.entries()) {
    if (i % 2 === 0) client.close();
    else client.resetAndDestroy();
    expect(drain(server)).toEqual({ bytes: 0, end: i % 2 === 0 ? "end" : "reset" });
    for (const later of pairs.slice(i + 1, i + 3)) {
      later.server.writeSync("still there");
      expect(readText(later.client, 20_000)).toBe("still there");
    }
  }
});

/** The sockets that it has open. What its event loop waits with comes and goes. */
function sockets({ pid }: Program): string[] {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`;
    } catch {
      return ""; // closed since the directory was read
    }
  });
  return links.filter((link) => link.includes(" socket:"));
}

test("connections leave no socket open, however they end", async () => {
  const { proxy, port, client, server, listener } = await through();
  client.writeSync("the first");
  expect(readText(server, 20_000)).toBe("the first");
  const before = sockets(proxy);
  for (let i = 0; i < 30; i++) {
    const [one, other] = [connectSync({ hostname: "127.0.0.1", port }), listener.acceptSync({ timeout: 20_000 })];
    one.writeSync("hello");
    if (i % 3 > 0) expect(readText(other, 20_000)).toBe("hello");
    if (i % 3 === 1) other.resetAndDestroy();
    one.close();
    other.close(); // unread, a third of the time: that is a reset, too
  }
  await until("it to close what has ended", () => Bun.deepEquals(sockets(proxy), before));
});

test("a slow reader holds back a fast writer, and gets everything in the end", async () => {
  const { client, server } = await through();
  const chunk = randomBytes(1 << 16);
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  // Until nothing has gone for a while: every buffer on the way is full.
  for (let idle = 0; idle < 100; ) {
    const count = client.tryWrite(chunk);
    if (count === null) {
      idle++;
      await Bun.sleep(5);
    } else {
      idle = 0;
      sent.update(chunk.subarray(0, count));
    }
    // What the kernel keeps for four sockets is its own affair: 10 MB for two, unless it is told otherwise.
    expect(client.bytesWritten).toBeLessThan(50_000_000);
  }
  client.closeWrite();
  const buffer = new Uint8Array(1 << 16);
  for (let count: number; (count = server.readSync(buffer, { timeout: 20_000 })) > 0; ) {
    received.update(buffer.subarray(0, count));
  }
  expect(server.bytesRead).toBe(client.bytesWritten);
  expect(received.digest("hex")).toBe(sent.digest("hex"));
});

test("when nothing moves for --idle, both sides see a reset, and not before", async () => {
  const { proxy, client, server, listener, port } = await through("--idle", "0.5");
  const before = performance.now();
  client.writeSync("moves");
  expect(readText(server, 20_000)).toBe("moves");
  expect([drain(client), drain(server)]).toEqual([
    { bytes: 0, end: "reset" },
    { bytes: 0, end: "reset" },
  ]);
  expect(performance.now() - before).toBeGreaterThanOrEqual(500);
  await until("it to say so", () => proxy.errors.includes("timed out"));

  const next = keep(connectSync({ hostname: "127.0.0.1", port }));
  next.writeSync("the next one");
  expect(readText(keep(listener.acceptSync({ timeout: 20_000 })), 20_000)).toBe("the next one");
});

test("what moves in one direction keeps both alive, however long it takes", async () => {
  const { client, server } = await through("--idle", "2");
  for (const start = performance.now(); performance.now() - start < 2500; ) {
    client.writeSync("moves");
    expect(readText(server, 20_000)).toBe("moves");
    await Bun.sleep(50);
  }
  server.writeSync("so does the other way");
  expect(readText(client, 20_000)).toBe("so does the other way");
});

test("Ctrl-C ends it with status 130, with everything that was open, in either direction or none", async () => {
  const { proxy, port, client, server } = await through("--idle", "30");
  const idle = keep(connectSync({ hostname: "127.0.0.1", port }));
  client.writeSync("it has connected");
  expect(readText(server, 20_000)).toBe("it has connected");
  const full = new Uint8Array(1 << 20);
  await until("a direction to be stuck", () => client.tryWrite(full) === null);
  proxy.kill("SIGINT");
  expect(await proxy.exited()).toBe(130);
  expect(proxy.errors).toBe("");
  expect([drain(client).end, drain(idle).end, drain(server).end]).toEqual(["reset", "reset", "reset"]);
  expect(thrown(() => connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 })).code).toBe("ECONNREFUSED");
});

test("Ctrl-C while nobody is there ends it, too", async () => {
  const { proxy } = await proxyTo(refusedPort());
  proxy.kill("SIGINT");
  expect(await proxy.exited()).toBe(130);
  expect(proxy.errors).toBe("");
});

test("a client whose server is not there sees a reset, and the proxy says why, and goes on", async () => {
  const target = refusedPort();
  const { proxy, port } = await proxyTo(target);
  const client = keep(connectSync({ hostname: "127.0.0.1", port }));
  expect(drain(client).end).toBe("reset");
  await until("it to say so", () => proxy.errors.includes(`ECONNREFUSED 127.0.0.1:${target}`));
  const server = keep(listen({ hostname: "127.0.0.1", port: target }));
  const next = keep(connectSync({ hostname: "127.0.0.1", port }));
  next.writeSync("hello");
  expect(readText(keep(server.acceptSync({ timeout: 20_000 })), 20_000)).toBe("hello");
});

test("a port that is taken is status 1, and the message names it", async () => {
  const { port } = keep(listen({ hostname: "127.0.0.1" })).address;
  const proxy = start(port, "127.0.0.1", 1);
  expect(await proxy.exited()).toBe(1);
  expect(proxy.errors).toContain(`EADDRINUSE 127.0.0.1:${port}`);
});

for (const args of [[], ["1", "localhost"], ["1", "localhost", "2", "3"], ["x", "localhost", "2"], ["--idle=0", "1"]]) {
  test(`bad usage is status 2: ${JSON.stringify(args)}`, async () => {
    const proxy = start(...args);
    expect(await proxy.exited()).toBe(2);
    expect(proxy.output).toBe("");
    expect(proxy.errors).toEndWith("usage: bun run tcp-proxy.ts [--idle SECONDS] PORT HOST PORT\n");
  });
}
