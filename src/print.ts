/** What `console.log` makes of this library's objects: a line, instead of all their getters and methods. */
import type { InetAddress, UnixAddress } from "../ffi/sockaddr.ts";

/** Bun and Node.js call the method of this name. Not a member in TypeScript: no declaration has to know of it. */
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** In this order; what is undefined is left out. */
type Fields = Record<string, string | number | boolean | undefined>;

/**
 * Objects of `type` are printed as `Type { name: value, … }`. `describe` must not throw, whatever has become of the
 * object, nor make anything that was not there before.
 */
export function printAs<T extends object>(
  type: { readonly prototype: T; readonly name: string },
  describe: (object: T) => Fields,
): void {
  Object.defineProperty(type.prototype, INSPECT, {
    value(this: T): string {
      if (this === type.prototype) return `${type.name} {}`;
      const fields = Object.entries(describe(this)).filter(([, value]) => value !== undefined);
      return `${type.name} { ${fields.map(([name, value]) => `${name}: ${value}`).join(", ")} }`;
    },
  });
}

type Address = InetAddress | UnixAddress;

/** An address of a socket: the one that is known, or what `ask` says; undefined if nobody knows it. */
export function printAddress(
  { fd, closed }: { readonly fd: number; readonly closed: boolean },
  known: Address | undefined,
  ask: (fd: number) => Address | null,
): string | undefined {
  let address = known ?? null;
  try {
    if (!closed) address ??= ask(fd);
  } catch {
    // Somebody has closed the descriptor behind our back.
  }
  return address === null ? undefined : writeAddress(address);
}

/** An address as people write it. */
export function writeAddress(address: Address): string {
  if ("path" in address) return JSON.stringify(address.path);
  return `${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`;
}
