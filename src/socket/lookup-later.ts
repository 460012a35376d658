/** Names to addresses on the promise side, which a cancel leaves behind at once. */
import { constants } from "../../ffi/platform/index.ts";
import { type InetAddress, ipVersion } from "../../ffi/sockaddr.ts";
import { SystemError } from "../errors.ts";
import type { Family } from "./lookup.ts";

const { EAI_AGAIN, EAI_NODATA, EAI_NONAME } = constants;

/**
 * Finds the addresses of a name, in the order to try them in; their ports are ignored. `signal` aborts when nobody
 * waits for the answer any more.
 */
export type LookupFunction = (
  hostname: string,
  options: { family: Family; signal: AbortSignal },
) => Promise<InetAddress[]>;

/**
 * The C library's resolver, in a thread of Bun's: it answers as that of `connectSync` does. It cannot be interrupted, only
 * left alone. Rejected with `SystemError`, code `ENOTFOUND`; `cause` is what Bun said.
 */
export const lookUp: LookupFunction = async (hostname, { family }) => {
  try {
    const found = await Bun.dns.lookup(hostname, { family, backend: "getaddrinfo" });
    return found.map(({ address }) => toAddress(address)!);
  } catch (error) {
    const unknown = (error as { code?: unknown }).code === "DNS_ENOTFOUND";
    throw unknown
      ? notFound(hostname, EAI_NONAME, "no such name; check its spelling", error)
      : notFound(hostname, EAI_AGAIN, "the name server did not answer; try again", error);
  }
};

/** What a user's lookup said, as addresses. Throws `TypeError` for what is none, `SystemError` if there is none. */
export function checkAddresses(hostname: string, found: readonly InetAddress[]): InetAddress[] {
  if (!Array.isArray(found)) throw new TypeError("lookup resolves to an array of { address, port, family }");
  if (found.length === 0) throw notFound(hostname, EAI_NODATA, "the lookup function found no address");
  return found.map((entry) => {
    const address = toAddress(entry?.address);
    if (address === null) throw new TypeError(`lookup found ${JSON.stringify(entry)}, which has no IP address`);
    return address;
  });
}

function toAddress(address: unknown): InetAddress | null {
  const version = typeof address === "string" ? ipVersion(address) : 0;
  return version === 0 ? null : { address: address as string, port: 0, family: version === 4 ? "IPv4" : "IPv6" };
}

function notFound(hostname: string, status: number, hint: string, cause?: unknown): SystemError {
  const error = new SystemError("getaddrinfo", -status, { code: "ENOTFOUND", address: hostname, hint });
  if (cause !== undefined) error.cause = cause;
  return error;
}
