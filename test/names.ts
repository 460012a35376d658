/** Names that resolve to what a test says, told through the calls of libc that ffi/resolve.ts makes. */

import { libc } from "../ffi/libc.ts";
import { cString, readPointer, scratch, writeUint64 } from "../ffi/memory.ts";
import { constants, structs } from "../ffi/platform/index.ts";
import { ipVersion, Sockaddr } from "../ffi/sockaddr.ts";
import { failWith, type Replace } from "./faults.ts";

const { addrinfo, gaicb } = structs;

function pointer(to: number): Uint8Array {
  const bytes = scratch(8);
  writeUint64(new Int32Array(bytes.buffer), 0, to);
  return bytes;
}

/** A list of struct addrinfo, in one block of C's memory. */
function makeList(addresses: readonly string[]): number {
  const room = addrinfo.size + 32;
  const block = libc.malloc(room * addresses.length);
  const sockaddr = new Sockaddr();
  addresses.forEach((address, index) => {
    const at = block + index * room;
    const family = ipVersion(address);
    const image = scratch(room);
    const words = new Int32Array(image.buffer);
    sockaddr.encode({ address, port: 0, family: family === 4 ? "IPv4" : "IPv6" });
    words[addrinfo.fields.ai_family[0] / 4] = family === 4 ? constants.AF_INET : constants.AF_INET6;
    words[addrinfo.fields.ai_addrlen[0] / 4] = sockaddr.length;
    writeUint64(words, addrinfo.fields.ai_addr[0] / 4, at + addrinfo.size);
    writeUint64(words, addrinfo.fields.ai_next[0] / 4, index + 1 < addresses.length ? at + room : 0);
    image.set(sockaddr.bytes.subarray(0, sockaddr.length), addrinfo.size);
    libc.memcpy(at, image, room);
  });
  return block;
}

/** `getaddrinfo` of any name says these addresses (none: that there is no such name); there is no `getaddrinfo_a`, as on macOS and with musl. */
export function resolveTo(replace: Replace, addresses: readonly string[]): void {
  const ours = new Set<number>();
  replace("getaddrinfo_a", () => () => failWith(constants.ENOSYS));
  replace("getaddrinfo", () => (_name, _service, _hints, result) => {
    if (addresses.length === 0) return constants.EAI_NONAME;
    const list = makeList(addresses);
    ours.add(list);
    (result as Int32Array).set(new Int32Array(pointer(list).buffer));
    return 0;
  });
  replace("freeaddrinfo", (freeaddrinfo) => (list) => {
    if (!ours.delete(list as number)) return freeaddrinfo(list);
    return libc.free(list);
  });
}

/** `getaddrinfo_a` looks up this name instead, with a thread, a pipe and all. False: libc has none. */
export function lookUpInstead(replace: Replace, name: string): boolean {
  if (gaicb === undefined) return false;
  const text = cString(name);
  const copy = libc.malloc(text.length); // a thread of libc reads it, so it is C's memory, for good
  libc.memcpy(copy, text, text.length);
  replace("getaddrinfo_a", (getaddrinfo_a) => (mode, list, count, notification) => {
    libc.memcpy(readPointer(list as number) + gaicb.fields.ar_name[0], pointer(copy), 8);
    return getaddrinfo_a(mode, list, count, notification);
  });
  return true;
}
