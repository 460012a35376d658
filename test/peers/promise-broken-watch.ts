/** For --preload: a `Bun.connect` that does not do what the watch builds on, in the way that BROKEN_WATCH says. */
import { closeSync } from "node:fs";

interface Options {
  fd: number;
  socket: { open(socket: object): void; close(socket: object): void };
}

const nothing = () => {};
const ways: Record<string, (options: Options) => Promise<unknown>> = {
  "never opens": () => new Promise(nothing),
  "never closes": ({ fd, socket }) => {
    socket.open({ ref: nothing, unref: nothing, terminate: () => closeSync(fd) });
    return new Promise(nothing);
  },
  "is rejected": () => Promise.reject(new Error("no such option: fd")),
  throws: () => {
    throw new TypeError("no such option: fd");
  },
};
Object.defineProperty(Bun, "connect", { value: ways[process.env.BROKEN_WATCH!]! });
