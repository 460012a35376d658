import { expect, setDefaultTimeout, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectSync } from "../src/index.ts";
import { keeper, readAll, readText } from "./setup.ts";
import { until } from "./thread.ts";
import { needs, Program } from "./tool.ts";

setDefaultTimeout(60_000);
const keep = keeper();
const example = fileURLToPath(new URL("../examples/raw-epoll.ts", import.meta.url));
const LENGTH = 5_000_000;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function start(...args: string[]): Promise<{ server: Program; port: number }> {
  const server = keep(Program.start([process.execPath, example, ...args]));
  const port = Number(/^listening on (\d+)$/.exec(await server.line())![1]);
  return { server, port };
}

/** Sends all of it with nc, half-closes, and returns what came back until the server closed. */
async function echoed(port: number, data: Uint8Array): Promise<Buffer> {
  await using client = Program.start(["nc", "-N", "127.0.0.1", String(port)], { stdin: data });
  await client.done();
  return client.bytes;
}

/** The connections at `port` that the server has accepted and not closed: their inodes. */
function connections({ pid }: Program, port: number): string[] {
  const LISTEN = "0A";
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const table = readFileSync("/proc/net/tcp", "latin1").trim().split("\n").slice(1);
  const rows = table.map((line) => line.trim().split(/\s+/));
  const inodes = rows.filter((row) => row[1]!.endsWith(local) && row[3] !== LISTEN).map((row) => `socket:[${row[9]}]`);
  const fds = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return ""; // closed since the directory was read
    }
  });
  return inodes.filter((inode) => fds.includes(inode));
}

test("it is at most 40 lines", () => {
  expect(readFileSync(example, "utf8").trimEnd().split("\n").length).toBeLessThanOrEqual(40);
});

needs("nc")("a line comes back, and the connection ends when the client has ended", async () => {
  const { port } = await start();
  expect((await echoed(port, Buffer.from("hello world\n"))).toString()).toBe("hello world\n");
  expect(await echoed(port, Buffer.alloc(0))).toHaveLength(0);
});

needs("nc")("5 MB come back as they were sent", async () => {
  const { port } = await start();
  const data = randomBytes(LENGTH);
  const back = await echoed(port, data);
  expect(back.length).toBe(LENGTH);
  expect(sha256(back)).toBe(sha256(data));
});

needs("nc")("eight clients at once each get back what they sent, and leave nothing open", async () => {
  const { server, port } = await start();
  const payloads = Array.from({ length: 8 }, () => randomBytes(LENGTH));
  const answers = await Promise.all(payloads.map((data) => echoed(port, data)));
  expect(answers.map(sha256)).toEqual(payloads.map(sha256));
  await until("the server to close what its clients have left", () => connections(server, port).length === 0);
});

needs("nc")("a client that does not read stops only itself, and gets everything once it does", async () => {
  const { port } = await start();
  const slow = keep(connectSync({ hostname: "127.0.0.1", port }));
  const sent: Buffer[] = [];
  // Until neither side's buffers have had room for a while: the server waits for this client to take something.
  for (let idle = 0; idle < 50; ) {
    const chunk = randomBytes(1 << 16);
    const count = slow.tryWrite(chunk);
    if (count === null) {
      idle++;
      await Bun.sleep(2);
    } else {
      idle = 0;
      sent.push(chunk.subarray(0, count));
    }
  }
  expect((await echoed(port, Buffer.from("quick\n"))).toString()).toBe("quick\n");
  slow.closeWrite();
  const expected = Buffer.concat(sent);
  const back = readAll(slow);
  expect(back.length).toBe(expected.length);
  expect(sha256(back)).toBe(sha256(expected));
});

needs("nc")("a client that resets its connection takes nobody with it", async () => {
  const { server, port } = await start();
  for (let i = 0; i < 20; i++) {
    const client = connectSync({ hostname: "127.0.0.1", port });
    client.writeSync(randomBytes(50_000));
    client.resetAndDestroy();
  }
  expect((await echoed(port, Buffer.from("still there\n"))).toString()).toBe("still there\n");
  await until("the server to close what was reset", () => connections(server, port).length === 0);
});

test("it listens on the port that it is told, and says why it cannot on one that is taken", async () => {
  const { port } = await start();
  const second = keep(Program.start([process.execPath, example, String(port)]));
  expect(await second.exited()).toBe(1);
  expect(second.errors).toContain(`bind EADDRINUSE 127.0.0.1:${port}: the address is taken`);
});

test("Ctrl-C ends it, and the port is free for the next one", async () => {
  const { server, port } = await start();
  const client = keep(connectSync({ hostname: "127.0.0.1", port }));
  client.writeSync("accepted?");
  expect(readText(client)).toBe("accepted?");
  expect(connections(server, port)).toHaveLength(1);
  server.kill("SIGINT");
  expect(await server.exited()).toBe("SIGINT");
  expect(client.readSync(new Uint8Array(1), { timeout: 10_000 })).toBe(0);
  expect((await start(String(port))).port).toBe(port);
});
