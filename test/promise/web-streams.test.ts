/** A socket as a pair of web streams: once both are over, it is closed, however they ended. */
import { expect, test } from "bun:test";
import { TimeoutError } from "../../src/index.ts";
import { keeper, pair } from "../setup.ts";
import { until } from "../thread.ts";
import { BULK, drain, rejection, turns } from "./outcome.ts";

const keep = keeper();
const into = () => new Uint8Array(64);

function streams() {
  const { client, server } = pair(keep);
  return { client, server, reader: client.readable.getReader(), writer: client.writable.getWriter() };
}
type Streams = ReturnType<typeof streams>;

/** Ways for each stream to end. Each resolves once it has. */
const ofReading: Record<string, (streams: Streams) => Promise<unknown>> = {
  "the peer has ended": ({ server, reader }) => {
    server.closeWrite();
    return reader.read();
  },
  "reading was cancelled": ({ reader }) => reader.cancel(),
  "reading was cancelled while a read waited": async ({ reader }) => {
    const read = reader.read();
    await reader.cancel();
    await read;
  },
  "reading has failed": async ({ client, reader }) => {
    client.setReadDeadline(0);
    expect(await rejection(reader.read())).toBeInstanceOf(TimeoutError);
  },
};
const ofWriting: Record<string, (streams: Streams) => Promise<unknown>> = {
  "writing was ended": ({ writer }) => writer.close(),
  "writing has failed": async ({ client, writer }) => {
    client.setWriteDeadline(10);
    expect(await rejection(writer.write(BULK))).toBeInstanceOf(TimeoutError);
  },
};

for (const [read, endReading] of Object.entries(ofReading)) {
  for (const [write, endWriting] of Object.entries(ofWriting)) {
    const whole = write === "writing was ended";
    const what = whole ? "closed, and the peer sees the end" : "reset, as the peer has not got all";
    for (const order of ["and then", "after"]) {
      test(`${read}, ${order} ${write}: the socket is ${what}`, async () => {
        const both = streams();
        const { client, server } = both;
        const ends = order === "after" ? [endWriting, endReading] : [endReading, endWriting];
        await ends[0]!(both);
        await turns();
        expect(client.closed).toBe(false);
        await ends[1]!(both);
        const received = drain(server);
        if (whole) expect(await received).toBe(0);
        else expect(await rejection(received)).toMatchObject({ code: "ECONNRESET" });
        server.close();
        await until("the socket to be closed", () => client.closed);
      });
    }
  }
}

test("when reading fails, writing goes on, and the peer gets all of it", async () => {
  const both = streams();
  await ofReading["reading has failed"]!(both);
  await both.writer.write(Buffer.from("still here"));
  expect(await both.server.read(into(), { timeout: 20_000 })).toBe(10);
  expect(both.client.closed).toBe(false);
});

test("when writing fails, reading goes on", async () => {
  const both = streams();
  await ofWriting["writing has failed"]!(both);
  both.server.writeSync("still here");
  expect((await both.reader.read()).value).toHaveLength(10);
  expect(both.client.closed).toBe(false);
});
