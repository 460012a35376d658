/** client.ts as a netcat: a lot of data, both ways at once, and no more of it in memory than fits a buffer. */
import { expect } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { truncateSync, writeFileSync } from "node:fs";
import { client, connection, drain, Fifo, listening, memory, moved, needs, netcat, portOf, stalled } from "./netcat.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { until } from "./thread.ts";
import { Program } from "./tool.ts";

const keep = keeper();
const LENGTH = 20_000_000;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** kB. A process of Bun that does nothing has some 40,000. */
const MOST_MEMORY = 200_000;
const OFFERED = 200_000_000;

for (const over of ["TCP", "a Unix socket"] as const) {
  for (const mode of ["connects to", "listens for"] as const) {
    needs("socat")(
      `20 MB each way at once, over ${over}, of one that ${mode} socat, arrive as they were sent`,
      async () => {
        const [up, down] = [randomBytes(LENGTH), randomBytes(LENGTH)];
        const path = `${keep(temporaryDirectory()).path}/socket`;
        const socat = (address: string) => keep(Program.start(["socat", "-dd", "-t30", "-", address], { stdin: down }));
        let program: Program;
        let peer: Program;
        if (mode === "connects to") {
          peer = socat(over === "TCP" ? "TCP-LISTEN:0,bind=127.0.0.1" : `UNIX-LISTEN:${path}`);
          const port = await portOf(peer);
          program = keep(netcat(over === "TCP" ? ["127.0.0.1", port] : ["--unix", path], { input: up }));
        } else {
          const where = over === "TCP" ? ["127.0.0.1", 0] : ["--unix", path];
          program = keep(netcat(["--verbose", "--listen", ...where], { input: up }));
          const port = await listening(program);
          peer = socat(over === "TCP" ? `TCP:127.0.0.1:${port}` : `UNIX:${path}`);
        }
        await Promise.all([program.done(), peer.done()]);
        expect([peer.bytes.byteLength, program.bytes.byteLength]).toEqual([LENGTH, LENGTH]);
        expect(sha256(peer.bytes)).toBe(sha256(up));
        expect(sha256(program.bytes)).toBe(sha256(down));
      },
    );
  }
}

needs("socat")("20 MB in a pipeline of real pipes come back from an echo server as they were sent", async () => {
  const directory = keep(temporaryDirectory()).path;
  const data = randomBytes(LENGTH);
  writeFileSync(`${directory}/data`, data);
  const echo = keep(Program.start(["socat", "-dd", "-t30", "TCP-LISTEN:0,bind=127.0.0.1", "EXEC:cat"]));
  const port = await portOf(echo);
  const script = 'cat "$DATA" | "$@" | cat > "$DATA.back"; echo "$?"';
  const env = { DATA: `${directory}/data` };
  const pipeline = keep(Program.start(["sh", "-c", script, "sh", ...client(), "127.0.0.1", port], { env }));
  expect(await pipeline.done()).toBe("0\n");
  expect(pipeline.errors).toBe("");
  expect(sha256(await Bun.file(`${directory}/data.back`).bytes())).toBe(sha256(data));
});

needs("socat", "python3")(
  "20 MB in a pipeline of pipes that somebody has made non-blocking come back, too",
  async () => {
    const directory = keep(temporaryDirectory()).path;
    const data = randomBytes(LENGTH);
    writeFileSync(`${directory}/data`, data);
    const echo = keep(Program.start(["socat", "-dd", "-t30", "TCP-LISTEN:0,bind=127.0.0.1", "EXEC:cat"]));
    const port = await portOf(echo);
    const nonBlocking =
      "import os, sys; os.set_blocking(0, False); os.set_blocking(1, False); os.execv(sys.argv[1], sys.argv[1:])";
    // Both ends are slow at first, so that there is nothing to read, and no room to write.
    const script = '{ sleep 0.3; cat "$DATA"; } | "$@" | { sleep 0.6; cat; } > "$DATA.back"; echo "$?"';
    const env = { DATA: `${directory}/data` };
    const command = ["sh", "-c", script, "sh", "python3", "-c", nonBlocking, ...client(), "127.0.0.1", port];
    const pipeline = keep(Program.start(command, { env }));
    expect(await pipeline.done()).toBe("0\n");
    expect(pipeline.errors).toBe("");
    expect(sha256(await Bun.file(`${directory}/data.back`).bytes())).toBe(sha256(data));
  },
);

/** A file of that size which takes no room. */
function offered(): string {
  const path = `${keep(temporaryDirectory()).path}/data`;
  writeFileSync(path, "");
  truncateSync(path, OFFERED);
  return path;
}

needs("socat")("200 MB are offered to a slow reader of its output: they wait with the peer", async () => {
  const server = keep(Program.start(["socat", "-dd", "-u", `OPEN:${offered()}`, "TCP-LISTEN:0,bind=127.0.0.1"]));
  const port = await portOf(server);
  const output = keep(new Fifo());
  const program = keep(netcat(["127.0.0.1", port], { output: output.path }));
  await until("something to have come", () => moved(program, "wchar") >= 4096);
  const buffer = new Uint8Array(1 << 16);
  for (let read = 0; read < 5_000_000; read += 1_000_000) {
    await stalled(program);
    expect(moved(program, "wchar")).toBeLessThan(read + 1_000_000);
    expect(memory(program, "VmRSS")).toBeLessThan(MOST_MEMORY);
    let part = 0;
    await until("a megabyte more", () => (part += output.read(buffer.subarray(0, 1_000_000 - part))) === 1_000_000);
  }
  const reader = keep(Program.start(["sh", "-c", 'exec wc -c < "$0"', output.path]));
  let [ended, highest] = [false, 0];
  const end = program.exited().finally(() => {
    ended = true;
  });
  await until("the reader to have begun", () => moved(reader, "rchar") > 1_000_000);
  output.end(); // so that wc sees an end when the netcat has ended
  while (!ended) {
    highest = Math.max(highest, memory(program, "VmHWM"));
    await Bun.sleep(1);
  }
  expect(await end).toBe(0);
  expect(highest).toBeGreaterThan(1000);
  expect(highest).toBeLessThan(MOST_MEMORY);
  expect(Number(await reader.done())).toBe(OFFERED - 5_000_000);
});

needs("socat")("200 MB are offered to a slow peer: they wait in the input", async () => {
  const { program, peer } = await connection(keep, "connects over TCP", { input: offered() });
  const buffer = new Uint8Array(1 << 16);
  for (let read = 0; read < 5_000_000; read += 1_000_000) {
    await stalled(program);
    // What the kernel keeps for both sockets is its own affair: 4 MB and 6 MB at most, unless it is told otherwise.
    expect(moved(program, "rchar")).toBeLessThan(read + 50_000_000);
    expect(memory(program, "VmRSS")).toBeLessThan(MOST_MEMORY);
    for (let part = 0; part < 1_000_000; ) part += peer.readSync(buffer.subarray(0, 1_000_000 - part));
  }
  expect(drain(peer)).toEqual({ bytes: OFFERED - 5_000_000, end: "end" });
  expect(memory(program, "VmHWM")).toBeLessThan(MOST_MEMORY);
  peer.close();
  expect(await program.exited()).toBe(0);
});
