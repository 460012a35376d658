/** The command line of client.ts. */
import { parseArgs } from "node:util";

export const usage = `usage: bun run client.ts [--async] [--interval SECONDS]
       bun run client.ts [options] HOST PORT
       bun run client.ts [options] --unix PATH
       bun run client.ts [options] --listen [HOST] PORT
       bun run client.ts [options] --listen --unix PATH

Without an address: a demonstration. A server in this process says "hello world" every SECONDS (default 5), a thread is
blocked in read, and any key cancels it.

With one, a small netcat: standard input goes to the socket, and its end half-closes; what the socket sends goes to
standard output, unchanged.

  --async                    wait with promises, in one thread, where otherwise a thread blocks; all else is the same
  --listen                   wait for one client instead of connecting
  --unix PATH                a Unix socket instead of TCP
  --connect-timeout SECONDS  give up if there is no connection by then
  --timeout SECONDS          give up if nothing is sent or received for so long
  --verbose                  say on standard error what happens
  --help                     this text

Exit codes: 0 done, 1 network error, 2 usage, 124 timed out, 130 cancelled by the user (of the demonstration: 0).`;

export type Command =
  | { command: "help" }
  | { command: "demonstration"; async: boolean /** Milliseconds. */; interval: number }
  | ({ command: "netcat" } & NetcatOptions);

export interface NetcatOptions {
  /** With promises. */
  async: boolean;
  listen: boolean;
  address: { path: string } | { hostname: string | undefined; port: number };
  /** Milliseconds; undefined: for ever. */
  connectTimeout: number | undefined;
  timeout: number | undefined;
  verbose: boolean;
}

/** Throws `TypeError` for what is no command; its message is for the user. */
export function parseCommand(args: readonly string[]): Command {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      async: { type: "boolean", default: false },
      interval: { type: "string" },
      listen: { type: "boolean", default: false },
      unix: { type: "string" },
      timeout: { type: "string" },
      "connect-timeout": { type: "string" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
    allowPositionals: true,
  });
  if (values.help) return { command: "help" };
  const interval = seconds(values.interval, "--interval");
  const { async, listen, unix, verbose } = values;
  const timeout = seconds(values.timeout, "--timeout");
  const connectTimeout = seconds(values["connect-timeout"], "--connect-timeout");
  if (positionals.length === 0 && unix === undefined && !listen) {
    if (timeout !== undefined || connectTimeout !== undefined || verbose) {
      throw new TypeError("--timeout, --connect-timeout and --verbose are the netcat's; give HOST and PORT");
    }
    return { command: "demonstration", async, interval: interval ?? 5000 };
  }
  if (interval !== undefined) throw new TypeError("--interval is the demonstration's; give no address with it");
  const address = toAddress(positionals, unix, listen);
  return { command: "netcat", async, listen, address, connectTimeout, timeout, verbose };
}

function toAddress(positionals: string[], unix: string | undefined, listen: boolean): NetcatOptions["address"] {
  if (unix !== undefined) {
    if (unix === "" || positionals.length > 0)
      throw new TypeError("--unix takes a PATH, and no HOST or PORT beside it");
    return { path: unix };
  }
  const [port, hostname, ...rest] = positionals.toReversed();
  if (port === undefined || rest.length > 0 || (hostname === undefined && !listen)) {
    throw new TypeError(listen ? "--listen takes [HOST] PORT" : "give HOST and PORT");
  }
  if (hostname === "") throw new TypeError("HOST is empty");
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new TypeError(`PORT is 0 to 65535, not "${port}"`);
  return { hostname, port: Number(port) };
}

function seconds(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const milliseconds = Number(text) * 1000;
  if (text.trim() === "" || !(milliseconds > 0))
    throw new TypeError(`${name} takes seconds, more than 0, not "${text}"`);
  return milliseconds;
}
