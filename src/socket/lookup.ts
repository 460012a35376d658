/** Names to addresses for the blocking side: a lookup that a doorbell can interrupt. */
import { getaddrinfo, Lookup } from "../../ffi/resolve.ts";
import { type InetAddress, ipVersion } from "../../ffi/sockaddr.ts";

/** 0: both families. */
export type Family = 0 | 4 | 6;

/** An IP address as an address; null if it is a name. */
export function literalAddress(hostname: string, port: number): InetAddress | null {
  // URLs write IPv6 addresses in brackets, and `url.hostname` keeps them.
  const host = hostname.startsWith("[") && hostname.endsWith("]") ? hostname.slice(1, -1) : hostname;
  const version = ipVersion(host);
  return version === 0 ? null : { address: host, port, family: version === 4 ? "IPv4" : "IPv6" };
}

/**
 * The addresses of a host that need no lookup: of an IP address, itself; of `localhost`, loopback (RFC 6761 section 6.3),
 * in the order that RFC 6724 gives it. Null: ask the resolver. Throws `TypeError` for an address of the wrong family.
 */
export function knownAddresses(hostname: string, port: number, family: Family): InetAddress[] | null {
  const literal = literalAddress(hostname, port);
  if (literal !== null) {
    if (family !== 0 && literal.family !== `IPv${family}`) {
      throw new TypeError(`family is ${family}, and "${hostname}" is an ${literal.family} address`);
    }
    return [literal];
  }
  if (!/^(.+\.)?localhost\.?$/i.test(hostname)) return null;
  const both: InetAddress[] = [
    { address: "::1", port, family: "IPv6" },
    { address: "127.0.0.1", port, family: "IPv4" },
  ];
  return both.filter((address) => family === 0 || address.family === `IPv${family}`);
}

/** Starts a lookup whose `fd` tells when it is done; where libc has none (musl, macOS), does it at once, blocking. */
export function startLookup(hostname: string, family: Family): Lookup | InetAddress[] {
  return Lookup.start(hostname, family) ?? getaddrinfo(hostname, family);
}

/**
 * The order to try addresses in: families take turns, beginning with the first one's (RFC 8305 section 4), so that one
 * broken family costs one delay and not one an address.
 */
export function interleave(addresses: readonly InetAddress[]): InetAddress[] {
  const first = addresses.filter((address) => address.family === addresses[0]?.family);
  const second = addresses.filter((address) => address.family !== addresses[0]?.family);
  const order: InetAddress[] = [];
  for (let i = 0; i < Math.max(first.length, second.length); i++) {
    if (i < first.length) order.push(first[i]!);
    if (i < second.length) order.push(second[i]!);
  }
  return order;
}
