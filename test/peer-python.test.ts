import { expect } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { connectSync, listen } from "../src/index.ts";
import type { Transfer } from "./bodies/transfer.ts";
import { keeper, readAll } from "./setup.ts";
import { Thread } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const LENGTH = 20_000_000;
const withPython = needs("python3");

async function server(): Promise<{ program: Program; port: number }> {
  const program = keep(Program.python("server.py"));
  return { program, port: Number(await program.line()) };
}

withPython("a Python server that waits and then writes, several times, is read to its end", async () => {
  const { port } = await server();
  using socket = connectSync({ hostname: "127.0.0.1", port });
  socket.writeSync("hello wörld\n");
  expect(readAll(socket).toString()).toBe("hello wörld\n");
  expect(socket.bytesRead).toBe(Buffer.byteLength("hello wörld\n"));
});

withPython("20 MB from a Python server arrive as they were sent", async () => {
  const { program, port } = await server();
  using socket = connectSync({ hostname: "127.0.0.1", port });
  socket.writeSync(`send ${LENGTH}\n`);
  const received = readAll(socket);
  expect(received.byteLength).toBe(LENGTH);
  expect(createHash("sha256").update(received).digest("hex")).toBe(await program.line());
});

withPython("20 MB to a Python server arrive as they were sent, and its answer comes after our end", async () => {
  const { port } = await server();
  using socket = connectSync({ hostname: "127.0.0.1", port });
  const bytes = randomBytes(LENGTH);
  socket.writeSync("take\n");
  expect(socket.writeSync(bytes)).toBe(LENGTH);
  socket.closeWrite();
  expect(readAll(socket).toString()).toBe(createHash("sha256").update(bytes).digest("hex"));
});

withPython("a Python client is accepted, read to its end, and answered", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const client = keep(Program.python("client.py", [listener.address.port, "hello"]));
  using socket = listener.acceptSync({ timeout: 20_000 });
  const said = readAll(socket).toString();
  expect(said).toBe("hello from Python");
  socket.writeSync(`you said: ${said}`);
  socket.close();
  expect(await client.done()).toBe("you said: hello from Python\n");
});

withPython("20 MB from a Python client arrive as they were sent", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const thread = await Thread.start("transfer", "transfer", { listener: listener.handle });
  const client = keep(Program.python("client.py", [listener.address.port, "send", LENGTH]));
  const { received, bytesRead } = await thread.next<Transfer>();
  expect(bytesRead).toBe(LENGTH);
  expect(received).toBe(await client.line());
  await client.done();
  await thread.join();
});

withPython("20 MB to a Python client arrive as they were sent", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const thread = await Thread.start("transfer", "transfer", { listener: listener.handle, send: LENGTH });
  const client = keep(Program.python("client.py", [listener.address.port, "take"]));
  const { sent, bytesWritten } = await thread.next<Transfer>();
  expect(bytesWritten).toBe(LENGTH);
  expect(sent).toBe(await client.line());
  await client.done();
  await thread.join();
});
