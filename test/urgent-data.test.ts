import { expect } from "bun:test";
import { connectSync } from "../src/index.ts";
import { keeper, readText } from "./setup.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();

/** Sends urgent bytes alone, between data and right before data; each round waits for a byte of ours. */
const script = `
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
peer, _ = listener.accept()
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(20):
    peer.sendall(b"ab")
    peer.send(b"!", socket.MSG_OOB)
    peer.recv(1)
    peer.send(b"!", socket.MSG_OOB)
    peer.sendall(b"cd")
    peer.recv(1)
`;

needs("python3")("urgent data from the peer does not stall a reader, and is no part of the stream", async () => {
  const program = keep(Program.start(["python3", "-u", "-c", script]));
  using socket = connectSync({ hostname: "127.0.0.1", port: Number(await program.line()) });
  for (let round = 0; round < 20; round++) {
    // A short read first, then a wait that only the urgent byte, or what follows it, can end.
    let first = "";
    while (first.length < 2) first += readText(socket);
    socket.writeSync(".");
    let second = "";
    while (second.length < 2) second += readText(socket);
    socket.writeSync(".");
    expect([first, second]).toEqual(["ab", "cd"]);
  }
  expect(socket.readSync(new Uint8Array(1), { timeout: 5000 })).toBe(0);
  await program.done();
});
