/** Listens at a relative path, goes to another folder, and closes, here or in a Worker that holds it last. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connectSync, listen } from "../../src/index.ts";
import { Thread, until } from "../thread.ts";

const [where] = process.argv.slice(2);
mkdirSync("elsewhere");
writeFileSync("elsewhere/socket", "not ours");
const listener = listen({ path: "socket" });
console.log(JSON.stringify(listener.address));
connectSync({ path: "./socket" }).close();
const thread = where === "a Worker" ? await Thread.start("unix", "hold", { listener: listener.handle }) : undefined;
await until("it to hold the listener", () => thread === undefined || Atomics.load(thread.flags, 1) === 1);
process.chdir("elsewhere");
listener.close();
if (thread !== undefined) {
  console.log(existsSync("../socket"));
  const { releaseOnExit } = await import("../../src/index.ts");
  releaseOnExit(thread.worker);
  await thread.terminate();
}
console.log(existsSync("../socket"), existsSync("socket"));
