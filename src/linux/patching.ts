import type { GuestAddress } from "../util/guest-address.js";

/** Code that may still be changed, by its addresses. */
export interface PatchableText {
  /** Bytes from an address on; null where there is no code. They are changed in place. */
  at(address: GuestAddress): Uint8Array | null;
}

/** Tables in which the compiler notes what a processor may not need. */
export interface PatchTables {
  /** Calls and jumps through thunks: distances to them. */
  readonly indirect: SiteTable | null;
  /** Returns by way of a thunk: distances to them. */
  readonly returns: SiteTable | null;
  /** Calls of the function tracer: addresses. */
  readonly traced: SiteTable | null;
}

export interface SiteTable {
  readonly address: GuestAddress;
  readonly bytes: Uint8Array;
}

const CALL = 0xe8;
const JMP = 0xe9;
const RET = 0xc3;
const INT3 = 0xcc;
const CS_PREFIX = 0x2e;
const REX_B = 0x41;
const REGISTERS = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
];
/** Instructions that do nothing, by their length. */
const NOPS = [[], [0x90], [0x66, 0x90], [0x0f, 0x1f, 0x00], [0x0f, 0x1f, 0x40, 0x00], [0x0f, 0x1f, 0x44, 0x00, 0x00]];

/** Where the thunks are that stand for indirect calls and jumps. */
export class Thunks {
  readonly #registers = new Map<GuestAddress, number>();

  constructor(
    find: (name: string) => GuestAddress | null,
    readonly tracer: GuestAddress | null = find("__fentry__"),
  ) {
    REGISTERS.forEach((name, register) => {
      const address = find(`__x86_indirect_thunk_${name}`);
      if (address !== null) this.#registers.set(address, register);
    });
  }

  /** The register that a thunk jumps to; -1 if it is none. */
  registerOf(address: GuestAddress): number {
    return this.#registers.get(address) ?? -1;
  }
}

/**
 * Does what the kernel does with its code when it starts on a processor that speculates nothing: indirect calls and
 * returns become instructions again, and calls of the tracer disappear. Sites that are not as expected stay as they are.
 */
export function patch(text: PatchableText, tables: PatchTables, thunks: Thunks): void {
  for (const site of relativeSites(tables.indirect)) patchIndirect(text, site, thunks);
  for (const site of relativeSites(tables.returns)) patchReturn(text, site);
  for (const site of absoluteSites(tables.traced)) patchTraced(text, site, thunks.tracer);
}

function patchIndirect(text: PatchableText, site: GuestAddress, thunks: Thunks): void {
  const bytes = text.at(site);
  if (bytes === null || bytes.length < 6) return;
  const prefix = bytes[0] === CS_PREFIX ? 1 : 0;
  const operation = bytes[prefix];
  if (operation !== CALL && operation !== JMP) return;
  const length = prefix + 5;
  const register = thunks.registerOf(targetOf(bytes, prefix, (site + length) as GuestAddress));
  if (register < 0) return;
  const modRm = (operation === CALL ? 0xd0 : 0xe0) | (register & 7);
  const instruction = register < 8 ? [0xff, modRm] : [REX_B, 0xff, modRm];
  bytes.set(instruction);
  const rest = length - instruction.length;
  if (operation === JMP) bytes.fill(INT3, instruction.length, length);
  else bytes.set(NOPS[rest], instruction.length);
}

function patchReturn(text: PatchableText, site: GuestAddress): void {
  const bytes = text.at(site);
  if (bytes === null || bytes.length < 5 || bytes[0] !== JMP) return;
  bytes[0] = RET;
  bytes.fill(INT3, 1, 5);
}

function patchTraced(text: PatchableText, site: GuestAddress, tracer: GuestAddress | null): void {
  const bytes = text.at(site);
  if (bytes === null || bytes.length < 5 || bytes[0] !== CALL) return;
  if (targetOf(bytes, 0, (site + 5) as GuestAddress) === tracer) bytes.set(NOPS[5]);
}

function targetOf(bytes: Uint8Array, at: number, end: GuestAddress): GuestAddress {
  const distance = bytes[at + 1] | (bytes[at + 2] << 8) | (bytes[at + 3] << 16) | (bytes[at + 4] << 24);
  return (end + distance) as GuestAddress;
}

function* relativeSites(table: SiteTable | null): Iterable<GuestAddress> {
  if (table === null) return;
  const view = viewOf(table.bytes);
  for (let at = 0; at + 4 <= view.byteLength; at += 4) {
    yield (table.address + at + view.getInt32(at, true)) as GuestAddress;
  }
}

function* absoluteSites(table: SiteTable | null): Iterable<GuestAddress> {
  if (table === null) return;
  const view = viewOf(table.bytes);
  for (let at = 0; at + 8 <= view.byteLength; at += 8) {
    // Kernels and modules lie in the top 2 GiB; tables may have holes.
    if (view.getInt32(at + 4, true) === -1) yield view.getInt32(at, true) as number as GuestAddress;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
