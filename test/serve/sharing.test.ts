/** Rule 9: one listener in eight threads. None starves, none is woken for nothing, and one source frees them all. */
import { expect } from "bun:test";
import { CancelSource, connectSync, listen } from "../../src/index.ts";
import { ASKED, type SharingJob, TAKEN } from "../bodies/sharing.ts";
import { keeper, readText } from "../setup.ts";
import { Thread, until } from "../thread.ts";
import { needs, Program } from "../tool.ts";
import { hostname } from "./clients.ts";

const keep = keeper();
const THREADS = 8;
const ENOUGH = 4000;
/** Of what each would have if all had the same: far below what was measured (60 % and more), far above starving. */
const LEAST = 0.1;
const ONE_AT_A_TIME = 200;

for (const form of ["blocking", "promises"] as const) {
  needs("python3")(
    `${THREADS} threads on one listener, ${form}: each has its share, and one cancel frees all`,
    async () => {
      const listener = keep(listen({ hostname }));
      const cancel = keep(new CancelSource());
      const job: SharingJob = { listener: listener.handle, cancel: cancel.handle };
      const threads = await Promise.all(Array.from({ length: THREADS }, () => Thread.start("sharing", form, job)));
      for (const thread of threads) expect(await thread.next()).toBe("up");
      const counts = (flag: number) => threads.map(({ flags }) => Atomics.load(flags, flag));
      const sum = (flag: number) => counts(flag).reduce((all, count) => all + count);

      // One client after another, so that all threads sleep when it comes.
      for (let client = 0; client < ONE_AT_A_TIME; client++) {
        using socket = connectSync({ hostname, port: listener.address.port, timeout: 30_000 });
        socket.writeSync("?");
        expect(readText(socket, 30_000)).toBe("ok");
      }
      // Each asks once more before it sleeps. If every one woke up for every client, it would be eight times as often.
      expect(sum(TAKEN)).toBe(ONE_AT_A_TIME);
      expect(sum(ASKED)).toBeLessThan(ONE_AT_A_TIME * 4);

      const clients = keep(Program.python("impatient.py", [listener.address.port, 16, 5]));
      await until("them to have served enough", () => sum(TAKEN) >= ENOUGH);
      const taken = counts(TAKEN);
      expect(Math.min(...taken)).toBeGreaterThan((ENOUGH / THREADS) * LEAST);
      clients.kill("SIGTERM");
      expect(await clients.line()).toBe("up");
      expect(JSON.parse(await clients.line())).toMatchObject({ reset: 0, hung: 0, unanswered: 0, refused: 0 });

      cancel.cancel("enough");
      for (const thread of threads) {
        expect(await thread.next()).toBe("cancelled");
        await thread.join();
      }
    },
  );
}
