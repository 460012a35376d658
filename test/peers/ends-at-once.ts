/** Leaves one of everything open, and ends. */
import { CancelSource, connectSync, listen } from "../../src/index.ts";

const listener = listen({ hostname: "127.0.0.1" });
for (let i = 0; i < 10; i++) {
  connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  listener.acceptSync();
  void new CancelSource().child().handle;
}
void listener.handle;
if (process.argv[2] === "collects first") Bun.gc(true);
console.log("the end");
