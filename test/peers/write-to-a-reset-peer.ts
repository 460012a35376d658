/** Writes to a connection that the peer has reset, with SIGPIPE at its default action, and prints the error's code. */
import { dlopen } from "bun:ffi";
import { libc } from "../../ffi/libc.ts";
import { constants, platform } from "../../ffi/platform/index.ts";
import { connectSync, listen, type SystemError } from "../../src/index.ts";

const SIG_DFL = null;
const { signal } = dlopen(platform.libc, { signal: { args: ["i32", "ptr"], returns: "ptr" } }).symbols;
signal(constants.SIGPIPE, SIG_DFL);

using listener = listen({ hostname: "127.0.0.1" });
using socket = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
listener.acceptSync().resetAndDestroy();

const data = new Uint8Array(10);
const ways: Record<string, () => unknown> = {
  writeSync: () => socket.writeSync(data),
  writevSync: () => socket.writevSync([data, data]),
  tryWrite: () => socket.tryWrite(data),
  "write(2)": () => libc.write(socket.fd, data, data.byteLength),
};
let code = "none";
// The first writes may be faster than the reset, and the first failure may be the reset itself.
for (const end = Date.now() + 5000; code !== "EPIPE" && Date.now() < end; ) {
  try {
    ways[process.argv[2]!]!();
  } catch (error) {
    code = (error as SystemError).code;
  }
}
console.log(code);
