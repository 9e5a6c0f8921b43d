import type { GuestAddress } from "../util/guest-address.js";

/** Bytes of a kernel or module with the address of the first. Code is changed in place. */
export interface PlacedBytes {
  readonly address: GuestAddress;
  readonly bytes: Uint8Array;
}

/** Tables in which the compiler notes what a processor may not need. */
export interface PatchTables {
  /** Calls and jumps through thunks: distances to them. */
  readonly indirect: PlacedBytes | null;
  /** Returns by way of a thunk: distances to them. */
  readonly returns: PlacedBytes | null;
  /** Calls of the function tracer: addresses. */
  readonly traced: PlacedBytes | null;
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
export function patch(code: readonly PlacedBytes[], tables: PatchTables, thunks: Thunks): void {
  const text = new Text(code);
  eachRelative(tables.indirect, (site) => patchIndirect(text, site, thunks));
  eachRelative(tables.returns, (site) => patchReturn(text, site));
  eachAbsolute(tables.traced, (site) => patchTraced(text, site, thunks.tracer));
}

const NO_CODE: PlacedBytes = { address: 0 as GuestAddress, bytes: new Uint8Array(0) };

/** Finds sites, of which there are some hundred thousand: nothing is made for one. */
class Text {
  /** Of the site that was found last. */
  bytes = NO_CODE.bytes;
  at = 0;
  #piece = NO_CODE;

  constructor(private readonly pieces: readonly PlacedBytes[]) {}

  /** @returns whether there is so much code */
  find(site: GuestAddress, length: number): boolean {
    if (!holds(this.#piece, site, length)) {
      const found = this.pieces.find((piece) => holds(piece, site, length));
      if (found === undefined) return false;
      this.#piece = found;
    }
    this.bytes = this.#piece.bytes;
    this.at = site - this.#piece.address;
    return true;
  }
}

function holds({ address, bytes }: PlacedBytes, site: GuestAddress, length: number): boolean {
  return site >= address && site + length <= address + bytes.length;
}

function patchIndirect(text: Text, site: GuestAddress, thunks: Thunks): void {
  if (!text.find(site, 6)) return;
  const { bytes, at } = text;
  const prefix = bytes[at] === CS_PREFIX ? 1 : 0;
  const operation = bytes[at + prefix];
  if (operation !== CALL && operation !== JMP) return;
  const length = prefix + 5;
  const register = thunks.registerOf(targetOf(bytes, at + prefix, (site + length) as GuestAddress));
  if (register < 0) return;
  let end = at;
  if (register >= 8) bytes[end++] = REX_B;
  bytes[end++] = 0xff;
  bytes[end++] = (operation === CALL ? 0xd0 : 0xe0) | (register & 7);
  if (operation === JMP) while (end < at + length) bytes[end++] = INT3;
  else putNop(bytes, end, at + length - end);
}

function patchReturn(text: Text, site: GuestAddress): void {
  if (!text.find(site, 5)) return;
  const { bytes, at } = text;
  if (bytes[at] !== JMP) return;
  bytes[at] = RET;
  for (let i = 1; i < 5; i++) bytes[at + i] = INT3;
}

function patchTraced(text: Text, site: GuestAddress, tracer: GuestAddress | null): void {
  if (!text.find(site, 5)) return;
  const { bytes, at } = text;
  if (bytes[at] === CALL && targetOf(bytes, at, (site + 5) as GuestAddress) === tracer) putNop(bytes, at, 5);
}

function putNop(bytes: Uint8Array, at: number, length: number): void {
  const nop = NOPS[length];
  for (let i = 0; i < nop.length; i++) bytes[at + i] = nop[i];
}

/** @param at of the instruction's first byte, behind its prefix */
function targetOf(bytes: Uint8Array, at: number, end: GuestAddress): GuestAddress {
  const distance = bytes[at + 1] | (bytes[at + 2] << 8) | (bytes[at + 3] << 16) | (bytes[at + 4] << 24);
  return (end + distance) as GuestAddress;
}

function eachRelative(table: PlacedBytes | null, visit: (site: GuestAddress) => void): void {
  if (table === null) return;
  const view = viewOf(table.bytes);
  for (let at = 0; at + 4 <= view.byteLength; at += 4) {
    visit((table.address + at + view.getInt32(at, true)) as GuestAddress);
  }
}

function eachAbsolute(table: PlacedBytes | null, visit: (site: GuestAddress) => void): void {
  if (table === null) return;
  const view = viewOf(table.bytes);
  for (let at = 0; at + 8 <= view.byteLength; at += 8) {
    // Kernels and modules lie in the top 2 GiB; tables may have holes.
    if (view.getInt32(at + 4, true) === -1) visit(view.getInt32(at, true) as number as GuestAddress);
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
