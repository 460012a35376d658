/**
 * A server of one thread whose process runs out of descriptors, and whose thread crashes then. Says its port; "short" once
 * no descriptor is left; what each crash is reported as; takes them back when three restarts have failed. Ends at SIGTERM.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { type SystemError, serveThreads } from "../../src/index.ts";

/** Not by console.log, which may want a descriptor. */
const say = (text: string | number): void => void writeSync(1, `${text}\n`);
const taken: number[] = [];
let failures = 0;
const server = serveThreads(new URL("../serve/handlers/commands.ts", import.meta.url), {
  listen: { hostname: "127.0.0.1" },
  threads: 1,
  onCrash: (error) => {
    const { code } = error as SystemError;
    if (code !== "EMFILE") {
      say("crashed");
      takeAll(); // what the thread has left
      return;
    }
    if (++failures < 3) return;
    for (const fd of taken.splice(0)) closeSync(fd);
    say("three restarts failed");
  },
}).shutdownOn("SIGTERM");
say(server.address.port);

function takeAll(): void {
  try {
    for (;;) taken.push(openSync("/dev/null", "r"));
  } catch {
    say("short");
  }
}
