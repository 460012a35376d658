/** Serves and shuts down: serve-stops.ts STOPS BUSY PHASE [SETTLE]. Says its port, and then how many requests it has answered in all. PHASE: milliseconds. */
import { listen, serve } from "../../src/index.ts";

const [stops, busy, phase, settle] = process.argv.slice(2).map(Number) as [number, number, number, number | undefined];
let listener = listen({ hostname: "0.0.0.0" });
const { port } = listener.address;
console.log(port);
let answered = 0;
for (let stop = 0; stop < stops; stop++) {
  if (stop > 0) listener = listen({ hostname: "0.0.0.0", port });
  const before = answered;
  const enough = Promise.withResolvers<void>();
  const server = serve(
    listener,
    async (socket) => {
      const request = new Uint8Array(1);
      if ((await socket.read(request).catch(() => 0)) === 0) return; // it had given up before it was accepted
      await socket.write("ok");
      if (++answered - before === busy) enough.resolve();
    },
    { onError: () => {} }, // the clients count
  );
  await enough.promise;
  // Clients that all began at once are in step: so each stop meets them at another point of their round trips.
  await Bun.sleep((stop % 10) * phase);
  await server.shutdown({ grace: 30_000, settle });
}
console.log(answered);
