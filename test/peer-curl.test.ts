import { expect } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { listen } from "../src/index.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { Thread } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const LENGTH = 20_000_000;
const withCurl = needs("curl");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** An HTTP server on our sockets, in a thread. */
async function server(body: Uint8Array): Promise<{ url: string; thread: Thread }> {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const thread = await Thread.start("transfer", "http", { listener: listener.handle, body, requests: 1 });
  return { url: `http://127.0.0.1:${listener.address.port}/`, thread };
}

for (const [what, body] of [
  ["text", Buffer.from("hello wörld\n")],
  ["20 MB", randomBytes(LENGTH)],
] as const) {
  withCurl(`curl gets ${what} from a responder on our sockets`, async () => {
    const { url, thread } = await server(body);
    const curl = keep(Program.start(["curl", "-sS", "--noproxy", "*", "--max-time", "30", url]));
    await curl.done();
    expect(curl.bytes.byteLength).toBe(body.byteLength);
    expect(sha256(curl.bytes)).toBe(sha256(body));
    expect(await thread.next<string>()).toBe("GET / HTTP/1.1");
    await thread.join();
  });
}

withCurl("curl posts 20 MB to a responder on our sockets", async () => {
  const directory = keep(temporaryDirectory());
  const file = join(directory.path, "body");
  const body = randomBytes(LENGTH);
  writeFileSync(file, body);
  const { url, thread } = await server(Buffer.from("unused"));
  const options = ["-sS", "--noproxy", "*", "--max-time", "30", "--data-binary", `@${file}`];
  const curl = keep(Program.start(["curl", ...options, url]));
  expect(await curl.done()).toBe(sha256(body));
  expect(await thread.next<string>()).toBe("POST / HTTP/1.1");
  await thread.join();
});
