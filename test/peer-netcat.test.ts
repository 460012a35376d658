import { expect } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { connectSync, listen } from "../src/index.ts";
import type { Job, Transfer } from "./bodies/transfer.ts";
import { keeper, readAll, refusedPort } from "./setup.ts";
import { Thread, until } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const LENGTH = 20_000_000;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function transfer(job: Job): Promise<{ thread: Thread; result: () => Promise<Transfer> }> {
  const thread = await Thread.start("transfer", "transfer", job);
  const result = async () => {
    const done = await thread.next<Transfer>();
    await thread.join();
    return done;
  };
  return { thread, result };
}

for (const [name, command] of [
  ["nc", (port: number) => ["nc", "-N", "127.0.0.1", String(port)]],
  ["socat", (port: number) => ["socat", "-t", "30", "-", `TCP:127.0.0.1:${port}`]],
] as const) {
  needs(name)(`${name} as the client: text goes both ways`, async () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const client = keep(Program.start(command(listener.address.port), { stdin: Buffer.from("grüß dich\n") }));
    using socket = listener.acceptSync({ timeout: 20_000 });
    const buffer = new Uint8Array(100);
    expect(Buffer.from(buffer.subarray(0, socket.readSync(buffer))).toString()).toBe("grüß dich\n");
    socket.writeSync("selber grüß dich\n");
    socket.closeWrite();
    expect(socket.readSync(buffer, { timeout: 20_000 })).toBe(0);
    expect(await client.done()).toBe("selber grüß dich\n");
  });

  needs(name)(`${name} as the client: 20 MB each way arrive as they were sent`, async () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const data = randomBytes(LENGTH);
    const { result } = await transfer({ listener: listener.handle, send: LENGTH });
    const client = keep(Program.start(command(listener.address.port), { stdin: data }));
    const { sent, received } = await result();
    await client.done();
    expect(received).toBe(sha256(data));
    expect(client.bytes.byteLength).toBe(LENGTH);
    expect(sha256(client.bytes)).toBe(sent);
  });
}

needs("nc")("nc as the server: text goes both ways", async () => {
  const port = refusedPort();
  const server = keep(
    Program.start(["nc", "-v", "-N", "-l", "127.0.0.1", String(port)], { stdin: Buffer.from("hi\n") }),
  );
  await until("nc to listen", () => server.errors.includes("Listening"));
  using socket = connectSync({ hostname: "127.0.0.1", port });
  socket.writeSync("hello nc\n");
  expect(readAll(socket).toString()).toBe("hi\n");
  socket.closeWrite();
  expect(await server.done()).toBe("hello nc\n");
});

needs("socat")("socat as the server: 20 MB each way arrive as they were sent", async () => {
  const data = randomBytes(LENGTH);
  const server = keep(
    Program.start(["socat", "-d", "-d", "-t", "30", "TCP-LISTEN:0,bind=127.0.0.1", "-"], { stdin: data }),
  );
  await until("socat to listen", () => server.errors.includes("listening on"));
  const port = Number(/listening on .*:(\d+)/.exec(server.errors)![1]);
  const { result } = await transfer({ port, send: LENGTH });
  const { sent, received } = await result();
  await server.done();
  expect(received).toBe(sha256(data));
  expect(sha256(server.bytes)).toBe(sent);
});
