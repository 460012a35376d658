import { expect } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { connectSync, type TcpSocket } from "../src/index.ts";
import { nginx } from "./nginx.ts";
import { keeper, readAll } from "./setup.ts";
import { needs } from "./tool.ts";

const keep = keeper();
const withNginx = needs("nginx");

function get(socket: TcpSocket, path: string): { head: string; body: Buffer } {
  socket.writeSync(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  const answer = readAll(socket);
  const end = answer.indexOf("\r\n\r\n");
  return { head: answer.subarray(0, end).toString(), body: answer.subarray(end + 4) };
}

withNginx("nginx answers our client: text, 20 MB as they lie on its disk, and an error", async () => {
  const big = randomBytes(20_000_000);
  const port = await nginx(keep, { "hello.txt": Buffer.from("hello wörld\n"), big });
  const open = () => keep(connectSync({ hostname: "localhost", port, timeout: 5000 }));

  const text = get(open(), "/hello.txt");
  expect(text.head).toStartWith("HTTP/1.1 200 OK");
  expect(text.body.toString()).toBe("hello wörld\n");

  const binary = get(open(), "/big");
  expect(binary.body.byteLength).toBe(big.byteLength);
  expect(createHash("sha256").update(binary.body).digest("hex")).toBe(createHash("sha256").update(big).digest("hex"));

  expect(get(open(), "/missing").head).toStartWith("HTTP/1.1 404");
});
