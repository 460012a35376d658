/**
 * The main thread is blocked in a read that a signal may interrupt, and handles SIGINT. Says "asleep" before it sleeps in
 * the kernel, and what happens then, in order.
 */
import { CancelSource, connectSync, listen, SystemError } from "../../src/index.ts";
import { aroundWaits } from "../hooks.ts";

using listener = listen({ hostname: "127.0.0.1" });
using near = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
using far = listener.acceptSync({ timeout: 20_000 });
using cancel = new CancelSource();
let interrupted = false;
process.on("SIGINT", () => {
  console.log("the handler ran");
  interrupted = true;
});
using _sleep = aroundWaits(
  () => console.log("asleep"),
  () => {},
);
const into = new Uint8Array(64);
for (let round = 0; round < 3; round++) {
  interrupted = false;
  try {
    near.readSync(into, { interruptible: true, cancel });
    console.log("it read something");
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    console.log(`${error.code} of ${error.errno}`);
  }
  while (!interrupted) await Bun.sleep(1);
}
far.writeSync("still there");
console.log(Buffer.from(into.subarray(0, near.readSync(into, { interruptible: true }))).toString());
process.exit();
