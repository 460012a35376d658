/**
 * promise-recovers.ts: the first epoll set is refused for want of a descriptor, and the second attempt fails half way in
 * another manner ("ENOSPC": it takes one socket only; "ENOMEM": there is none), or poll(2) itself fails once ("poll").
 * Prints how often that happened, and what came of three reads, of one that times out, and of the closes.
 */
import { libc, setErrno } from "../../ffi/libc.ts";
import { connectSync, listen } from "../../src/index.ts";
import { until } from "../thread.ts";

const [mode] = process.argv.slice(2);
const [ENOMEM, EMFILE, ENOSPC, EPOLL_CTL_ADD] = [12, 24, 28, 1];
const { epoll_create1, epoll_ctl, poll } = libc;
let failures = 0;
let sets = 0;
let adds = 0;

function fail(errno: number): -1 {
  setErrno(errno);
  return -1;
}
function failOnce(errno: number): -1 {
  failures++;
  return fail(errno);
}

const listener = listen({ hostname: "127.0.0.1" });
const clients = [0, 1, 2].map(() => connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
const servers = clients.map(() => listener.acceptSync({ timeout: 20_000 }));
if (mode !== "poll") {
  libc.epoll_create1 = (flags) => {
    sets++;
    if (sets === 1) return fail(EMFILE);
    return mode === "ENOMEM" && failures === 0 ? failOnce(ENOMEM) : epoll_create1(flags);
  };
  libc.epoll_ctl = (...parameters) => {
    if (parameters[1] === EPOLL_CTL_ADD) adds++;
    return mode === "ENOSPC" && failures === 0 && adds === 2 ? failOnce(ENOSPC) : epoll_ctl(...parameters);
  };
}
const reads = servers.map((server) => server.read(new Uint8Array(8), { timeout: 20_000 }));
if (mode === "poll") {
  libc.poll = (...parameters) => (failures === 0 ? failOnce(ENOMEM) : poll(...parameters));
}
await until("the failure", () => failures === 1);
for (const client of clients) client.writeSync("x");
const counts = await Promise.all(reads);
const late = await servers[0]!.read(new Uint8Array(8), { timeout: 5 }).catch((error: Error) => error.name);
for (const server of servers) server.close();
const ends = clients.map((client) => client.readSync(new Uint8Array(8), { timeout: 20_000 }));
console.log(JSON.stringify({ failures, counts, late, ends }));
for (const socket of [...clients, listener]) socket.close();
