/** Programs of classic BPF that decide which packets a socket takes. */
import { checkFd } from "./fd.ts";
import { libc } from "./libc.ts";
import { addressOf, scratch } from "./memory.ts";
import { constants, structs } from "./platform/index.ts";
import { lastError, SystemError } from "./system-error.ts";

const { ENOPROTOOPT, SOL_SOCKET, SO_ATTACH_FILTER } = constants;

/** struct sock_filter: what to do, how many instructions to skip if it is true and if it is false, and with which number. */
export type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

// From linux/bpf_common.h, as every BPF has them; each is a class, a size or an operation, and a mode.
/** BPF_LD | BPF_B | BPF_ABS: loads the byte at offset `k`. */
export const LOAD_BYTE = 0x30;
/** BPF_ALU | BPF_AND | BPF_K. */
export const AND = 0x54;
/** BPF_JMP | BPF_JEQ | BPF_K: is it `k`? */
export const IS_EQUAL = 0x15;
/** BPF_RET | BPF_K: takes the first `k` bytes of the packet; 0 drops it. */
export const TAKE = 0x06;
/** For `TAKE`: all of it. */
export const WHOLE = 0xffff_ffff;

/**
 * From now on the kernel asks this program about each packet for the socket, and about those for its children that are
 * made from now on. It replaces another one, and needs no privilege. Throws `SystemError`: `ENOPROTOOPT` where there is
 * no such thing, `EINVAL` for a program that makes no sense. SO_ATTACH_FILTER in socket(7); it is Linux alone that has it.
 */
export function attachFilter(fd: number, instructions: readonly Instruction[]): void {
  checkFd(fd);
  const { sock_fprog: program, sock_filter: instruction } = structs;
  if (program === undefined || instruction === undefined) throw new SystemError("setsockopt", ENOPROTOOPT);
  const code = scratch(instructions.length * instruction.size);
  const { fields } = instruction;
  const into = new DataView(code.buffer);
  for (const [index, [operation, ifTrue, ifFalse, k]] of instructions.entries()) {
    const at = index * instruction.size;
    into.setUint16(at + fields.code[0], operation, true);
    into.setUint8(at + fields.jt[0], ifTrue);
    into.setUint8(at + fields.jf[0], ifFalse);
    into.setUint32(at + fields.k[0], k, true);
  }
  const header = scratch(program.size);
  const head = new DataView(header.buffer);
  head.setUint16(program.fields.len[0], instructions.length, true);
  head.setBigUint64(program.fields.filter[0], BigInt(addressOf(code)), true);
  if (libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, header, header.byteLength) === -1)
    throw lastError("setsockopt");
}
