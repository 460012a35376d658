/** A lookup function that answers when nobody waits any more. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { CancelSource, connect, type InetAddress, listen } from "../../src/index.ts";
import { changes, descriptors } from "../fds.ts";
import { around } from "../hooks.ts";
import { keeper } from "../setup.ts";
import { rejection, turns } from "./outcome.ts";
import { warmUp } from "./settled.ts";

const keep = keeper();
const unhandled: unknown[] = [];
const note = (reason: unknown) => void unhandled.push(reason);
beforeAll(() => void process.on("unhandledRejection", note));
afterAll(() => void process.off("unhandledRejection", note));

const answers: Record<string, (lookup: PromiseWithResolvers<InetAddress[]>, address: InetAddress) => void> = {
  "with the address of a server": (lookup, address) => lookup.resolve([address]),
  "with no address": (lookup) => lookup.resolve([]),
  "with something else": (lookup) => lookup.resolve("127.0.0.1" as unknown as InetAddress[]),
  "with an error": (lookup) => lookup.reject(new Error("too late")),
};

for (const [answer, give] of Object.entries(answers)) {
  for (const end of ["TimeoutError", "AbortError"] as const) {
    test(`a lookup answers ${answer} after the connect has ended with ${end}: nothing comes of it`, async () => {
      const listener = keep(listen({ hostname: "127.0.0.1" }));
      const source = keep(new CancelSource());
      const lookup = Promise.withResolvers<InetAddress[]>();
      const signals: AbortSignal[] = [];
      const connecting = connect({
        hostname: "somewhere.test",
        port: listener.address.port,
        lookup: (_hostname, { signal }) => {
          signals.push(signal);
          return lookup.promise;
        },
        ...(end === "TimeoutError" ? { timeout: 5 } : { cancel: source }),
      });
      const failed = rejection(connecting);
      if (end === "AbortError") source.cancel();
      expect(await failed).toMatchObject({ name: end });
      expect(signals.map(({ aborted }) => aborted)).toEqual([true]);

      await warmUp(); // a helper thread that comes up meanwhile is none of it
      const before = descriptors();
      let sockets = 0;
      keep(
        around(
          ["socket"],
          () => void sockets++,
          () => {},
        ),
      );
      give(lookup, listener.address);
      await turns();
      expect(sockets).toBe(0);
      expect(changes(before)).toEqual({ opened: {}, closed: {} });
      expect(listener.tryAccept()).toBeNull();
      expect(unhandled).toEqual([]);
    });
  }
}
