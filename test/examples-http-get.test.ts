/** examples/http-get.ts as a user runs it: against nginx, and against servers that do what they should not. */
import { expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectSync, listen, type TcpListener, type TcpSocket } from "../src/index.ts";
import { connecting, drain, Fifo } from "./netcat.ts";
import { nginx } from "./nginx.ts";
import { blackHole, keeper, readAll, refusedPort } from "./setup.ts";
import { until } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const example = fileURLToPath(new URL("../examples/http-get.ts", import.meta.url));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const get = (...args: (string | number)[]) =>
  keep(Program.start([process.execPath, "run", example, ...args.map(String)], { stdin: "ignore" }));

/** A server that is the test itself, and its URL. */
function server(): { listener: TcpListener; url: string } {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  return { listener, url: `http://127.0.0.1:${listener.address.port}/` };
}

/** The next client, which has sent its request. */
function client(listener: TcpListener): TcpSocket {
  const socket = keep(listener.acceptSync({ timeout: 20_000 }));
  const buffer = new Uint8Array(10_000);
  let request = "";
  while (!request.endsWith("\r\n\r\n")) {
    const count = socket.readSync(buffer, { timeout: 20_000 });
    if (count === 0) throw new Error(`the request ends early: ${request}`);
    request += Buffer.from(buffer.subarray(0, count)).toString();
  }
  return socket;
}

test("it is under 100 lines", () => {
  expect(readFileSync(example, "utf8").trimEnd().split("\n").length).toBeLessThan(100);
});

needs("nginx")(
  "it gets from nginx what lies there: text, 20 MB by length and in chunks, nothing, and an error",
  async () => {
    const big = randomBytes(20_000_000);
    const hello = Buffer.from("hello wörld\n");
    const port = await nginx(keep, {
      "hello.txt": hello,
      big,
      empty: Buffer.alloc(0),
      "ssi/big": big,
      "ssi/hello": hello,
    });
    const url = (path: string) => `http://localhost:${port}/${path}`;

    const raw = keep(connectSync({ hostname: "127.0.0.1", port }));
    raw.writeSync("GET /ssi/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    expect(readAll(raw).toString()).toMatch(/^transfer-encoding: chunked\r$/im);

    for (const path of ["hello.txt", "ssi/hello"]) {
      const program = get("--timeout", 30, url(path));
      expect(await program.done()).toBe("hello wörld\n");
      expect(program.errors).toBe("");
    }
    for (const path of ["big", "ssi/big"]) {
      const program = get(url(path));
      await program.done();
      expect(program.bytes.byteLength).toBe(big.byteLength);
      expect(sha256(program.bytes)).toBe(sha256(big));
    }
    expect(await get(url("empty")).done()).toBe("");
    const missing = get(url("missing"));
    expect(await missing.exited()).toBe(1);
    expect(missing.errors).toBe("HTTP/1.1 404 Not Found\n");
    expect(missing.output).toContain("404 Not Found");
  },
);

/** Starts it, and waits for it to time out, which is not before it may. */
async function timesOut(limit: number, start: () => Program): Promise<void> {
  const before = performance.now();
  const program = start();
  expect(await program.exited()).toBe(124);
  expect(performance.now() - before).toBeGreaterThanOrEqual(limit);
  expect(program.errors).toContain("timed out");
}

test("the deadline is that of the connect", async () => {
  const { port } = blackHole(keep);
  await timesOut(400, () => get("--timeout", 0.4, `http://127.0.0.1:${port}/`));
});

test("the deadline is that of the answer, when none comes", async () => {
  const { url } = server();
  await timesOut(400, () => get("--timeout", 0.4, url));
});

test("the deadline is that of the whole answer, however often a part of it comes", async () => {
  const { listener, url } = server();
  let program: Program | undefined;
  let over = false;
  const end = timesOut(2000, () => (program = get("--timeout", 2, url))).finally(() => {
    over = true;
  });
  const socket = client(listener);
  socket.writeSync("HTTP/1.1 200 OK\r\n\r\n");
  while (!over) {
    try {
      socket.writeSync(".");
    } catch {
      break; // it has gone
    }
    await Bun.sleep(20);
  }
  await end;
  expect(program!.output).toMatch(/^\.+$/);
});

test("the deadline is that of standard output, too, when nobody reads it", async () => {
  const { listener, url } = server();
  const fifo = keep(new Fifo());
  const command = [process.execPath, "run", example, "--timeout", "3", url];
  const shell = ["sh", "-c", 'exec "$@" > "$TO"', "sh", ...command];
  const end = timesOut(3000, () => keep(Program.start(shell, { env: { TO: fifo.path } })));
  const socket = client(listener);
  socket.writeSync("HTTP/1.1 200 OK\r\n\r\n");
  socket.writeSync(new Uint8Array(1_000_000), { timeout: 20_000 }); // more than a pipe and a buffer hold
  await end;
});

test("Ctrl-C while it waits for the answer is status 130, and the server sees the end", async () => {
  const { listener, url } = server();
  const program = get("--timeout", 30, url);
  const socket = client(listener);
  program.kill("SIGINT");
  expect(await program.exited()).toBe(130);
  expect(program.errors).toMatch(/^.* was cancelled: Ctrl-C\n$/);
  expect(drain(socket)).toEqual({ bytes: 0, end: "end" });
});

test("Ctrl-C while it connects is status 130, and nothing is left of the connection", async () => {
  const { port } = blackHole(keep);
  const program = get(`http://127.0.0.1:${port}/`);
  await until("it to connect", () => connecting(port));
  program.kill("SIGINT");
  expect(await program.exited()).toBe(130);
  expect(connecting(port)).toBe(false);
});

for (const [what, url, says] of [
  ["a refused connection", () => `http://127.0.0.1:${refusedPort()}/`, "ECONNREFUSED 127.0.0.1:"],
  ["a refused connection over IPv6", () => `http://[::1]:${refusedPort("::1")}/`, "ECONNREFUSED ::1"],
  // A name that no server has to be asked for, so that nothing leaves this machine.
  ["an unknown host", () => "http://a..b/", "ENOTFOUND a..b"],
] as const) {
  test(`${what} is status 1, and the message names it`, async () => {
    const program = get(url());
    expect(await program.exited()).toBe(1);
    expect(program.output).toBe("");
    expect(program.errors).toContain(says);
  });
}

const head = "HTTP/1.1 200 OK\r\n";
const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`;
for (const [what, answer, status, output] of [
  ["a body without a length, up to the end", `${head}\r\nall of it`, 0, "all of it"],
  ["no more than the length says", `${head}content-length: 3\r\n\r\nall of it`, 0, "all"],
  [
    "chunks, their options, and a trailer",
    `${chunked}3;a=b\r\nall\r\n6\r\n of it\r\n0\r\nA: b\r\n\r\n`,
    0,
    "all of it",
  ],
  ["a body that ends before its length", `${head}Content-Length: 10\r\n\r\nhalf`, 1, "half"],
  ["chunks that end before the last one", `${chunked}3\r\nall\r\n`, 1, "all"],
  ["a chunk without a length", `${chunked}3\r\nall\r\nof it\r\n`, 1, "all"],
  ["nothing at all", "", 1, ""],
  ["half a head", `${head}Content-`, 1, ""],
  ["something that is not HTTP", "SSH-2.0-OpenSSH\r\n", 1, ""],
  ["a head without a line's end", "x".repeat(100_000), 1, ""],
] as const) {
  test(`a server that sends ${what}: status ${status}`, async () => {
    const { listener, url } = server();
    const program = get("--timeout", 30, url);
    const socket = client(listener);
    socket.writeSync(answer, { timeout: 20_000 });
    socket.close();
    expect(await program.exited()).toBe(status);
    expect(program.output).toBe(output);
    expect(program.errors === "").toBe(status === 0);
  });
}

needs("bash", "head")("a reader that has had enough ends it quietly, with the connection, status 0", async () => {
  const { listener, url } = server();
  const script = '"$@" | head -c 10; echo " $PIPESTATUS"';
  const pipeline = keep(Program.start(["bash", "-c", script, "bash", process.execPath, "run", example, url]));
  const socket = client(listener);
  socket.writeSync("HTTP/1.1 200 OK\r\n\r\n");
  const chunk = new Uint8Array(100_000).fill(97);
  expect(() => {
    for (;;) socket.writeSync(chunk, { timeout: 20_000 });
  }).toThrow(/EPIPE|ECONNRESET/);
  expect(await pipeline.done()).toBe("aaaaaaaaaa 0\n");
  expect(pipeline.errors).toBe("");
});

for (const args of [[], ["ftp://localhost/"], ["localhost:80"], ["http://localhost/", "http://localhost/"]]) {
  test(`bad usage is status 2: ${JSON.stringify(args)}`, async () => {
    const program = get(...args);
    expect(await program.exited()).toBe(2);
    expect(program.errors).toBe(
      "give one URL that begins with http://\nusage: bun run http-get.ts [--timeout SECONDS] URL\n",
    );
  });
}

test("a timeout that is none is bad usage, too", async () => {
  const program = get("--timeout", 0, "http://localhost/");
  expect(await program.exited()).toBe(2);
  expect(program.errors).toContain('--timeout takes seconds, more than 0, not "0"');
});
