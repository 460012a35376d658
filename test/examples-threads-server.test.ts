/** examples/threads-server.ts as its users meet it: curl, wrk, clients that misbehave, and whoever presses Ctrl-C. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectSync, listen, type TcpSocket } from "../src/index.ts";
import { drain } from "./netcat.ts";
import { keeper, readAll, readText } from "./setup.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const LIMIT = 30_000;
const example = fileURLToPath(new URL("../examples/threads-server.ts", import.meta.url));
const run = (...args: (string | number)[]) => keep(Program.start([process.execPath, example, ...args.map(String)]));

interface Server {
  program: Program;
  port: number;
  url: string;
}

async function start(threads: number, at = 0): Promise<Server> {
  const program = run("--port", at, "--threads", threads);
  const line = await program.line();
  const port = Number(/^listening on http:\/\/127\.0\.0\.1:(\d+)$/.exec(line)![1]);
  return { program, port, url: `http://127.0.0.1:${port}` };
}

/** What it says that it did, once it has ended with this status. The sum is that of its threads. */
async function sums(
  { program }: Server,
  status = 0,
): Promise<{ connections: number; requests: number; cutOff: number }> {
  expect(await program.exited(LIMIT)).toBe(status);
  expect(program.errors).toBe("");
  const [, ...lines] = program.output.trimEnd().split("\n");
  const numbers = lines.map((line) => [...line.replace(/^.*?:/, "").matchAll(/\d+/g)].map(Number));
  const [connections, requests, cutOff] = numbers.pop()! as [number, number, number];
  expect(numbers.reduce((sum, [one]) => sum + one!, 0)).toBe(connections);
  expect(numbers.reduce((sum, [, one]) => sum + one!, 0)).toBe(requests);
  return { connections, requests, cutOff };
}

async function stop(server: Server): Promise<{ connections: number; requests: number; cutOff: number }> {
  server.program.kill("SIGINT");
  return await sums(server);
}

const client = ({ port }: Server): TcpSocket => keep(connectSync({ hostname: "127.0.0.1", port }));
const GET = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/** One request and its answer. */
function exchange(socket: TcpSocket, request = GET): string {
  socket.writeSync(request);
  return readText(socket, LIMIT);
}

/** How many requests wrk says that it has made, none of them in vain. */
function requestsOf(wrk: Program): number {
  expect(wrk.output).not.toMatch(/Socket errors|Non-2xx/);
  return Number(/(\d+) requests in/.exec(wrk.output)![1]);
}

test("it is under 300 lines", () => {
  expect(readFileSync(example, "utf8").trimEnd().split("\n").length).toBeLessThan(300);
});

needs("curl")("curl has two answers by one connection", async () => {
  const server = await start(2);
  const write = ["-w", "%{http_code} %{num_connects}\n"];
  const curl = keep(Program.start(["curl", "-sS", ...write, `${server.url}/one`, `${server.url}/two?x=1`]));
  expect(await curl.done()).toMatch(
    /^thread (\d), request 1: GET \/one, 0 bytes\n200 1\nthread \1, request 2: GET \/two\?x=1, 0 bytes\n200 0\n$/,
  );
  expect(await stop(server)).toEqual({ connections: 1, requests: 2, cutOff: 0 });
});

needs("curl")("curl posts bodies by length, in chunks, and after 100 Continue", async () => {
  const server = await start(2);
  for (const [kind, length] of [
    ["X-Nothing: special", 0],
    ["X-Nothing: special", 5],
    ["X-Nothing: special", 1_000_000],
    ["Transfer-Encoding: chunked", 5],
    ["Transfer-Encoding: chunked", 1_000_000],
    ["Expect: 100-continue", 5],
  ] as const) {
    const args = ["-sSv", "--expect100-timeout", "30", "-H", kind, "--data-binary", "@-"];
    // Twice: what comes after a body is the next request.
    const urls = [`${server.url}/`, `${server.url}/`];
    const post = keep(Program.start(["curl", ...args, ...urls], { stdin: new Uint8Array(length) }));
    const answers = (await post.done()).trimEnd().split("\n");
    expect(answers[0]).toEndWith(`: POST /, ${length} bytes`);
    expect(answers).toHaveLength(2);
    expect(post.errors.includes("HTTP/1.1 100 Continue")).toBe(kind.startsWith("Expect"));
    expect(post.errors).toContain("Re-using existing connection");
  }
  expect((await stop(server)).requests).toBe(12);
});

needs("curl")("HEAD has no body, HTTP/1.0 has its end, unless it asks to be kept alive", async () => {
  const server = await start(2);
  const head = keep(Program.start(["curl", "-sSI", "-w", "%{num_connects}\n", server.url, server.url]));
  const answer = "HTTP/1\\.1 200 OK\r\n(?:[\\w-]+: .+\r\n)*Content-Length: [1-9]\\d*\r\nConnection: keep-alive\r\n\r\n";
  expect(await head.done()).toMatch(new RegExp(`^${answer}1\n${answer}0\n$`));
  const old = keep(Program.start(["curl", "-sSi0", "-w", "%{num_connects}\n", server.url, server.url]));
  expect((await old.done()).match(/^Connection: close\r$|^1$/gm)).toHaveLength(4);
  const keepAlive = ["-H", "Connection: keep-alive"];
  const kept = keep(Program.start(["curl", "-sSi0", "-w", "%{num_connects}\n", ...keepAlive, server.url, server.url]));
  expect((await kept.done()).match(/^Connection: keep-alive\r$|^0$/gm)).toHaveLength(3);
  expect(await stop(server)).toEqual({ connections: 4, requests: 6, cutOff: 0 });
});

test("pipelined requests are answered in their order, up to the hundredth", async () => {
  const server = await start(1);
  const socket = client(server);
  let text = "";
  for (let i = 1; i <= 120; i++) text += `POST /${i} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody`;
  socket.writeSync(text);
  const answers = readAll(socket, LIMIT).toString();
  const paths = [...answers.matchAll(/POST \/(\d+), 4 bytes/g)].map(([, path]) => Number(path));
  expect(paths).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  expect(answers.match(/Connection: close/g)).toHaveLength(1);
  socket.close();
  expect(await stop(server)).toEqual({ connections: 1, requests: 100, cutOff: 0 });
});

test("a request that comes byte by byte is one", async () => {
  const server = await start(1);
  const socket = client(server);
  for (const byte of `POST /slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`)
    socket.writeSync(byte);
  expect(readText(socket, LIMIT)).toContain("POST /slow, 5 bytes");
});

for (const [what, request] of [
  ["something that is not HTTP", "SSH-2.0-OpenSSH\r\n"],
  ["no such method", "EAT / HTTP/1.1\r\n\r\n"],
  ["a length that is none", "POST / HTTP/1.1\r\nContent-Length: 5x\r\n\r\nhello"],
  ["a negative length", "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\nhello"],
  ["two lengths", "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"],
  ["a length and chunks", "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["another coding", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nhello"],
  ["a head without an end", `GET / HTTP/1.1\r\nA: ${"x".repeat(200_000)}`],
] as const) {
  test(`400, and the end, for ${what}; what was asked before it is answered`, async () => {
    const server = await start(1);
    const socket = client(server);
    socket.writeSync(GET + request);
    const answers = readAll(socket, LIMIT).toString();
    expect(answers.match(/^HTTP\/1\.1 .*(?=\r$)|^Connection: .*(?=\r$)/gm)).toEqual([
      "HTTP/1.1 200 OK",
      "Connection: keep-alive",
      "HTTP/1.1 400 Bad Request",
      "Connection: close",
    ]);
    socket.close();
    expect(await stop(server)).toEqual({ connections: 1, requests: 1, cutOff: 0 });
  });
}

test("an upgrade is none: it is answered as it is, and is the last request", async () => {
  const server = await start(1);
  const socket = client(server);
  socket.writeSync(`GET /up HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n${GET}`);
  expect(readAll(socket, LIMIT).toString()).toMatch(
    /^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*Connection: close\r\n\r\n.*\/up, 0 bytes\n$/,
  );
});

test("a client that is idle sees the end, one that is slow with its request gets 408", async () => {
  const server = await start(2);
  const [idle, slow] = [client(server), client(server)];
  expect(exchange(idle)).toContain("Connection: keep-alive");
  slow.writeSync("GET / HTTP/1.1\r\n");
  expect(readAll(idle, LIMIT).toString()).toBe("");
  expect(readAll(slow, LIMIT).toString()).toStartWith("HTTP/1.1 408 ");
});

test("with one thread, a client that is kept alive makes room for one that waits", async () => {
  const server = await start(1);
  const [first, second] = [client(server), client(server)];
  first.writeSync(GET);
  expect(readAll(first, LIMIT).toString()).toContain("Connection: close");
  first.close();
  expect(exchange(second)).toContain("Connection: keep-alive");
  const third = client(server);
  expect(exchange(second)).toContain("Connection: close");
  second.close();
  expect(exchange(third)).toContain("Connection: keep-alive");
});

needs("wrk")("wrk with 64 connections and 4 threads: no error", async () => {
  const server = await start(4);
  const wrk = keep(Program.start(["wrk", "-c", "64", "-t", "2", "-d", "2s", "--timeout", "20s", server.url]));
  await wrk.done();
  expect(requestsOf(wrk)).toBeGreaterThan(0);
  expect((await stop(server)).cutOff).toBe(0);
});

// With fewer clients than threads all of them are kept alive; with more, most wait to be accepted.
for (const clients of [3, 64]) {
  needs("wrk", "curl")(`a graceful restart under ${clients} clients of wrk: no request fails`, async () => {
    const first = await start(4);
    // Until it is told to stop. A client whose SYN was dropped tries again a second later.
    const args = ["-c", String(clients), "-t", "2", "-d", "300s", "--timeout", "20s"];
    const wrk = keep(Program.start(["wrk", ...args, first.url]));
    await keep(Program.start(["curl", "-sS", first.url])).done();
    const second = await start(4, first.port);
    const before = await stop(first);
    expect(before.requests).toBeGreaterThan(0);
    expect(before.cutOff).toBe(0);
    await keep(Program.start(["curl", "-sS", first.url])).done();
    wrk.kill("SIGINT");
    await wrk.done();
    const requests = requestsOf(wrk);
    const after = await stop(second);
    expect(after.requests).toBeGreaterThan(0);
    expect(after.cutOff).toBe(0);
    expect(before.requests + after.requests).toBeGreaterThanOrEqual(requests);
  });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`${signal}: the busy client gets its answer, so does who was only queued, and nobody sees a reset`, async () => {
    const server = await start(4);
    const [silent, kept, busy, chatty] = [client(server), client(server), client(server), client(server)];
    expect(exchange(kept)).toContain("Connection: keep-alive");
    expect(exchange(busy)).toContain("Connection: keep-alive");
    busy.writeSync("POST /busy HTTP/1.1\r\nContent-Length: 4\r\n\r\nbo");
    expect(exchange(chatty)).toContain("Connection: keep-alive");
    const queued = client(server); // each thread has a client
    queued.writeSync(GET);
    server.program.kill(signal);
    // One more answer for whoever asks before it has heard of the end.
    expect(exchange(chatty)).toContain("HTTP/1.1 200 OK");
    expect(drain(silent)).toEqual({ bytes: 0, end: "end" });
    expect(drain(kept)).toEqual({ bytes: 0, end: "end" });
    busy.writeSync("dy");
    expect(readAll(busy, LIMIT).toString()).toMatch(
      /Connection: close\r\n\r\nthread \d, request \d: POST \/busy, 4 bytes\n$/,
    );
    expect(readAll(queued, LIMIT).toString()).toContain("Connection: close");
    for (const socket of [silent, kept, busy, chatty, queued]) socket.close();
    expect(await sums(server)).toEqual({ connections: 5, requests: 6, cutOff: 0 });
  });
}

test("a client that hangs is reset by the second Ctrl-C, status 1", async () => {
  const server = await start(2);
  const [idle, hung] = [client(server), client(server)];
  expect(exchange(idle)).toContain("Connection: keep-alive");
  hung.writeSync("GET / HTTP/1.1\r\n");
  server.program.kill("SIGINT");
  expect(drain(idle)).toEqual({ bytes: 0, end: "end" }); // it is stopping
  server.program.kill("SIGINT");
  expect(drain(hung)).toEqual({ bytes: 0, end: "reset" });
  expect(await sums(server, 1)).toEqual({ connections: 2, requests: 1, cutOff: 1 });
});

test("Ctrl-C with nobody there", async () => {
  expect(await stop(await start(3))).toEqual({ connections: 0, requests: 0, cutOff: 0 });
});

test("--help says how it is used", async () => {
  expect(await run("--help").done()).toBe("usage: bun run threads-server.ts [--port PORT] [--threads COUNT]\n");
});

for (const [args, message] of [
  [["--port", "x"], '--port takes a number from 0 to 65535, not "x"'],
  [["--port", "65536"], '--port takes a number from 0 to 65535, not "65536"'],
  [["--threads", "0"], '--threads takes a number from 1 to 1000, not "0"'],
  [["--verbose"], "--verbose"],
  [["8080"], "8080"],
] as const) {
  test(`bad usage is status 2: ${args.join(" ")}`, async () => {
    const program = run(...args);
    expect(await program.exited()).toBe(2);
    expect(program.output).toBe("");
    expect(program.errors).toContain(message);
    expect(program.errors).toEndWith("usage: bun run threads-server.ts [--port PORT] [--threads COUNT]\n");
  });
}

test("a port that is taken is status 1", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const program = run("--port", listener.address.port);
  expect(await program.exited()).toBe(1);
  expect(program.errors).toContain("EADDRINUSE");
});
