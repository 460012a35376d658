/** Addresses, between the words that people write and the structs that the kernel reads. */
import { errno, libc } from "./libc.ts";
import { cString, scratch } from "./memory.ts";
import { constants, structs } from "./platform/index.ts";
import { SystemError } from "./system-error.ts";

const { AF_INET, AF_INET6, AF_UNIX } = constants;

/** An IPv4 or IPv6 address and port; ip(7), ipv6(7). */
export interface InetAddress {
  /** `127.0.0.1`, `::1`; of an IPv6 address perhaps with its zone (`fe80::1%eth0`). */
  address: string;
  /** 0 to 65535. To bind to 0 is to take any free one. */
  port: number;
  family: "IPv4" | "IPv6";
}

/** The address of a Unix socket; unix(7). */
export interface UnixAddress {
  /**
   * At most 107 bytes of UTF-8 on Linux and 103 elsewhere. `""` is the unnamed socket of a client; a first character of
   * NUL makes it an abstract name (Linux; 108 bytes).
   */
  path: string;
}

const inet = structs.sockaddr_in;
const inet6 = structs.sockaddr_in6;
const unix = structs.sockaddr_un;
const inetOffset = inet.fields.sin_addr[0];
const inet6Offset = inet6.fields.sin6_addr[0];
const scopeOffset = inet6.fields.sin6_scope_id[0];
const pathOffset = unix.fields.sun_path[0];
/** BSDs keep the struct's length in a byte before a family of one byte; Linux has a two-byte family. */
const familyOffset = inet.fields.sin_family[0];
const textLength = 64; // INET6_ADDRSTRLEN is 46
const text = scratch(textLength);
const decoder = new TextDecoder();

/** 4, 6 (with a zone or without), or 0 if `host` is no IP address. inet_pton(3). */
export function ipVersion(host: string): 0 | 4 | 6 {
  if (parse(AF_INET, host, text)) return 4;
  const zone = host.indexOf("%");
  return host.includes(":") && parse(AF_INET6, zone === -1 ? host : host.slice(0, zone), text) ? 6 : 0;
}

function parse(family: number, host: string, into: Uint8Array): boolean {
  return host.length < textLength && !host.includes("\0") && libc.inet_pton(family, cString(host), into) === 1;
}

function upToNul(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end === -1 ? bytes : bytes.subarray(0, end));
}

/**
 * Memory for one struct sockaddr of any family, reused from call to call: what `accept4` fills in with the peer's
 * address, to be decoded only if somebody asks for it.
 */
export class Sockaddr {
  /** The struct. */
  readonly bytes: Uint8Array<ArrayBuffer> = scratch(128);
  /** A socklen_t, for the call to read and to write. */
  readonly lengthCell: Int32Array<ArrayBuffer> = new Int32Array(scratch(4).buffer);

  /** The bytes of the struct that count. */
  get length(): number {
    return this.lengthCell[0]!;
  }

  /** The address family in the struct: `AF_INET`, … */
  get family(): number {
    return familyOffset === 0 ? this.bytes[0]! | (this.bytes[1]! << 8) : this.bytes[familyOffset]!;
  }

  /** Makes it ready for a call that fills it in. */
  clear(): this {
    this.lengthCell[0] = this.bytes.byteLength;
    return this;
  }

  /**
   * Writes an address into the struct. Throws `TypeError` for what is no address, a zone that this machine lacks and a
   * path with a NUL inside, and `RangeError` for what is no port and a path that is too long.
   */
  encode(to: InetAddress | UnixAddress): this {
    this.bytes.fill(0);
    return "path" in to ? this.#encodePath(to.path) : this.#encodeInet(to);
  }

  #begin(family: number, length: number): void {
    this.lengthCell[0] = length;
    if (familyOffset !== 0) this.bytes[0] = length;
    this.bytes[familyOffset] = family;
  }

  #encodeInet({ address, port, family }: InetAddress): this {
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new RangeError(`a port is 0 to 65535, not ${port}`);
    this.bytes[2] = port >> 8;
    this.bytes[3] = port & 0xff;
    if (family === "IPv4") {
      this.#begin(AF_INET, inet.size);
      if (!parse(AF_INET, address, this.bytes.subarray(inetOffset)))
        throw new TypeError(`not an IPv4 address: "${address}"`);
      return this;
    }
    this.#begin(AF_INET6, inet6.size);
    const zone = address.indexOf("%");
    if (!parse(AF_INET6, zone === -1 ? address : address.slice(0, zone), this.bytes.subarray(inet6Offset))) {
      throw new TypeError(`not an IPv6 address: "${address}"`);
    }
    if (zone !== -1) new DataView(this.bytes.buffer).setUint32(scopeOffset, zoneIndex(address.slice(zone + 1)), true);
    return this;
  }

  #encodePath(path: string): this {
    if (path === "") throw new TypeError("the path of a Unix socket is empty");
    const bytes = new TextEncoder().encode(path);
    const abstract = path.startsWith("\0");
    // A path needs room for its NUL; an abstract name is counted instead (unix(7)).
    const room = unix.fields.sun_path[1] - (abstract ? 0 : 1);
    if (bytes.length > room) {
      throw new RangeError(`a Unix socket path has at most ${room} bytes, this one has ${bytes.length}: "${path}"`);
    }
    if (!abstract && path.includes("\0"))
      throw new TypeError("a Unix socket path has no NUL except as its first character");
    this.bytes.set(bytes, pathOffset);
    this.#begin(AF_UNIX, pathOffset + bytes.length + (abstract ? 0 : 1));
    return this;
  }

  /** The address in the struct. Throws `TypeError` for a family that is neither IPv4, IPv6 nor Unix. */
  decode(): InetAddress | UnixAddress {
    return this.family === AF_UNIX ? this.decodeUnix() : this.decodeInet();
  }

  /** The address in the struct. Throws `TypeError` for a family that is neither IPv4 nor IPv6. inet_ntop(3). */
  decodeInet(): InetAddress {
    const port = (this.bytes[2]! << 8) | this.bytes[3]!;
    if (this.family === AF_INET) {
      const [a, b, c, d] = this.bytes.subarray(inetOffset, inetOffset + 4);
      return { address: `${a}.${b}.${c}.${d}`, port, family: "IPv4" };
    }
    if (this.family !== AF_INET6) throw new TypeError(`not an IP socket: its address family is ${this.family}`);
    if (libc.inet_ntop(AF_INET6, this.bytes.subarray(inet6Offset), text, textLength) === null) {
      throw new SystemError("inet_ntop", errno());
    }
    const address = upToNul(text);
    const scope = new DataView(this.bytes.buffer).getUint32(scopeOffset, true);
    return { address: scope === 0 ? address : `${address}%${zoneName(scope)}`, port, family: "IPv6" };
  }

  /** The path in the struct, as far as its length goes. */
  decodeUnix(): UnixAddress {
    const end = Math.min(this.length, this.bytes.byteLength);
    if (end <= pathOffset) return { path: "" };
    const path = this.bytes.subarray(pathOffset, end);
    return { path: path[0] === 0 ? decoder.decode(path) : upToNul(path) };
  }
}

function zoneIndex(zone: string): number {
  if (/^\d+$/.test(zone) && Number(zone) <= 0xffff_ffff) return Number(zone);
  const index = libc.if_nametoindex(cString(zone));
  if (index === 0) throw new TypeError(`this machine has no network interface "${zone}"`);
  return index;
}

function zoneName(index: number): string {
  return libc.if_indextoname(index, text) === null ? String(index) : upToNul(text);
}
