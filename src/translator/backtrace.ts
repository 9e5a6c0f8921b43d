import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import type { GuestCode } from "./code.js";
import type { CpuState } from "./cpu.js";
import type { GuestMemory } from "./guest-memory.js";
import { RSP } from "./instruction.js";

export interface BacktraceFrame {
  readonly address: GuestAddress;
  /** `name+0x12/0x40`, or null where no symbol covers the address. */
  readonly symbol: string | null;
}

const DEEPEST = 64;
const WORDS = 8192;
/** Bytes that a frame may reach below its stack. */
const OVERFLOW = 0x10000;
/** A call takes 2 to 7 bytes. */
const CALLS = [5, 2, 3, 6, 7, 4];

/**
 * Who called whom, from RIP on. There are no frame pointers to rely on: a word of the stack counts as a return address if a
 * call stands right before it, and, where that call says where it goes, if that is the function of the frame below.
 */
export function backtrace(cpu: CpuState, memory: GuestMemory, code: GuestCode): BacktraceFrame[] {
  const frames: BacktraceFrame[] = [{ address: cpu.ripAddress, symbol: symbolAt(code, cpu.ripAddress) }];
  let inside = code.functionAt(cpu.ripAddress)?.address ?? null;
  const sp = Number(BigInt.asIntN(64, cpu.general(RSP))) as GuestAddress;
  // A stack that has overflown begins a little above.
  const mapping = memory.mappings.find(({ address, size }) => address - OVERFLOW <= sp && address + size > sp);
  if (mapping === undefined) return frames;
  const start = Math.max(sp, mapping.address) as GuestAddress;
  const bound = memory.stackAt(sp)?.end ?? mapping.address + mapping.size;
  const end = Math.min(bound - 8, start + 8 * WORDS);
  for (let at = start; at <= end && frames.length < DEEPEST; at = (at + 8) as GuestAddress) {
    const word = memory.view.getBigInt64(memory.offset(at), true);
    const address = Number(word) as GuestAddress;
    if (!memory.isExecutable(address)) continue;
    const target = callBefore(code, address);
    if (target === undefined) continue;
    if (target !== null && inside !== null && target !== inside) continue;
    frames.push({ address, symbol: symbolAt(code, address, -1) });
    inside = code.functionAt((address - 1) as GuestAddress)?.address ?? null;
  }
  return frames;
}

/** Where the call right before an address goes: null if it does not say, undefined if there is none. */
function callBefore(code: GuestCode, address: GuestAddress): GuestAddress | null | undefined {
  for (const length of CALLS) {
    const before = code.at((address - length) as GuestAddress);
    if (before === null || before.instruction.length !== length) continue;
    const { last } = before.effects;
    if (last?.kind === "call") return code.functionAt(last.target)?.address ?? last.target;
    if (last?.kind === "callIndirect") return null;
  }
  return undefined;
}

/** @param shift -1 for return addresses: a call may be the last instruction of its function */
export function symbolAt(code: GuestCode, address: GuestAddress, shift = 0): string | null {
  const found = code.functionAt((address + shift) as GuestAddress);
  return found === null
    ? null
    : `${found.name}+0x${(address - found.address).toString(16)}/0x${found.size.toString(16)}`;
}

export const formatFrame = ({ address, symbol }: BacktraceFrame): string => symbol ?? formatGuestAddress(address);
