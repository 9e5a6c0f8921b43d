// Relocations with addends: gABI chapter 4, "Relocation".
import { UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import type { ElfBytes } from "./elf-bytes.js";
import { RELA_BYTES, SymbolBinding } from "./elf-constants.js";
import {
  R_X86_64_NONE,
  RELOCATION_RULES,
  type RelocationRule,
  refusalAdvice,
  relocationTypeName,
} from "./elf-relocation-types.js";
import type { ElfSection } from "./elf-section.js";
import type { ElfSymbols } from "./elf-symbols.js";

const TWO_TO_32 = 0x1_0000_0000;

/** The relocations of one section: numbers from 0 to `count` - 1, read when asked for. */
export class ElfRelocations {
  readonly count: number;
  readonly #offset: number;

  /** @throws ElfError */
  constructor(
    readonly file: ElfBytes,
    readonly section: ElfSection,
    /** The symbols that they refer to, null in dynamic lists that refer to none. */
    readonly symbols: ElfSymbols | null,
    /** The section that they are to be applied to, null in dynamic lists. */
    readonly target: ElfSection | null,
  ) {
    if (section.entrySize !== RELA_BYTES || section.size % RELA_BYTES !== 0) {
      throw file.broken(
        section.headerOffset + 56,
        "elf-entry-size",
        `${section.size} bytes of relocations of ${section.entrySize} each; they have ${RELA_BYTES}`,
      );
    }
    this.#offset = section.offset;
    this.count = section.size / RELA_BYTES;
  }

  /** Where a relocation lies in the file, for messages. */
  fileOffset(relocation: number): number {
    if (relocation >= 0 && relocation < this.count) return this.#offset + RELA_BYTES * relocation;
    throw new RangeError(`relocation ${relocation} of ${this.count}`);
  }

  /** What it changes: an offset in the target section, or in a linked file an address. @throws ElfError */
  offset(relocation: number): GuestAddress {
    return this.file.signed64(this.fileOffset(relocation), `the place of relocation ${relocation}`);
  }

  type(relocation: number): number {
    return this.file.view.getUint32(this.fileOffset(relocation) + 8, true);
  }

  /** `R_X86_64_…` */
  typeName(relocation: number): string {
    return relocationTypeName(this.type(relocation));
  }

  /** The number of its symbol, 0 for none. @throws ElfError */
  symbol(relocation: number): number {
    const at = this.fileOffset(relocation) + 12;
    const symbol = this.file.view.getUint32(at, true);
    const count = this.symbols?.count ?? 0;
    if (symbol === 0 || symbol < count) return symbol;
    throw this.file.broken(at, "elf-relocation", `relocation ${relocation} refers to symbol ${symbol} of ${count}`);
  }

  /** @throws ElfError beyond ±2^53. */
  addend(relocation: number): number {
    return this.file.signed64(this.fileOffset(relocation) + 16, `the addend of relocation ${relocation}`);
  }
}

/** The address of a symbol (by its number), null if nobody defines it. */
export type SymbolResolver = (symbol: number) => GuestAddress | null;

/** What only some relocation types need; those that need what is not there are refused. */
export interface RelocationExtras {
  /** The global offset table, and where a symbol's slot (by its number) is in it. */
  readonly table?: { readonly address: GuestAddress; readonly slot: (symbol: number) => GuestAddress };
  /** What is to be added to the addresses in a dynamic file. */
  readonly base?: number;
}

/**
 * Applies a section's relocations to a copy of its bytes. Weak symbols that nobody defines are 0.
 * @param place the section's bytes where it will run; what comes before a failing relocation is changed
 * @param address where the first of them will be
 * @throws ElfError if a relocation lies outside the section, or its value does not fit
 * @throws UnsupportedError for a relocation type without a rule, and for a symbol that nobody defines
 */
export function applyRelocations(
  relocations: ElfRelocations,
  place: Uint8Array,
  address: GuestAddress,
  resolve: SymbolResolver,
  extras: RelocationExtras = {},
): void {
  for (let i = 0; i < relocations.count; i++) {
    applyRelocation(relocations, i, relocations.offset(i), place, address, resolve, extras);
  }
}

/** Applies one relocation, at `offset` of `place`. @throws as `applyRelocations` */
export function applyRelocation(
  relocations: ElfRelocations,
  i: number,
  offset: number,
  place: Uint8Array,
  address: GuestAddress,
  resolve: SymbolResolver,
  extras: RelocationExtras,
): void {
  const type = relocations.type(i);
  if (type === R_X86_64_NONE) return;
  const rule = RELOCATION_RULES[type];
  if (rule === undefined) throw unsupportedRelocation(relocations, i);
  if (offset < 0 || offset + rule.bytes > place.length) {
    throw relocations.file.broken(
      relocations.fileOffset(i),
      "elf-relocation",
      `${relocations.typeName(i)} at ${offset} of a section of ${place.length} bytes`,
    );
  }
  const target = targetOf(relocations, i, rule, resolve, extras);
  if (target === null) throw unsupportedRelocation(relocations, i);
  const sum = target + relocations.addend(i);
  const value = rule.relative ? sum - (address + offset) : sum;
  if (!(value >= rule.lowest && value <= rule.highest)) throw outOfRange(relocations, i, value);
  const view = new DataView(place.buffer, place.byteOffset, place.byteLength);
  view.setUint32(offset, value >>> 0, true);
  if (rule.bytes === 8) view.setUint32(offset + 4, Math.floor(value / TWO_TO_32) >>> 0, true);
}

/** What the addend is added to, null if there is no such thing here. */
function targetOf(
  relocations: ElfRelocations,
  i: number,
  rule: RelocationRule,
  resolve: SymbolResolver,
  { table, base }: RelocationExtras,
): number | null {
  switch (rule.target) {
    case "symbol":
      return symbolAddress(relocations, relocations.symbol(i), resolve);
    case "base":
      return base ?? null;
    case "table":
      return table?.address ?? null;
    case "symbol-offset":
      if (table === undefined) return null;
      return symbolAddress(relocations, relocations.symbol(i), resolve) - table.address;
    case "slot":
      return table?.slot(relocations.symbol(i)) ?? null;
    case "slot-offset":
      if (table === undefined) return null;
      return table.slot(relocations.symbol(i)) - table.address;
  }
}

function symbolAddress(relocations: ElfRelocations, symbol: number, resolve: SymbolResolver): number {
  const { symbols } = relocations;
  if (symbol === 0 || symbols === null) return 0;
  const address = resolve(symbol);
  if (address !== null) return address;
  if (symbols.isUndefined(symbol) && symbols.binding(symbol) === SymbolBinding.weak) return 0;
  throw new UnsupportedError(
    "elf-unresolved",
    `${relocations.file.name}: nobody defines the symbol ${symbols.name(symbol)}, which ${sectionName(relocations)} needs`,
  );
}

/** What is to be thrown for a type that cannot be applied. */
export function unsupportedRelocation(relocations: ElfRelocations, i: number): UnsupportedError {
  const advice = refusalAdvice(relocations.type(i));
  return new UnsupportedError(
    "elf-relocation-type",
    `${relocations.file.name}: ${sectionName(relocations)} has ${relocations.typeName(i)}, which cannot be applied: ${advice}`,
  );
}

function outOfRange(relocations: ElfRelocations, i: number, value: number) {
  const symbol = relocations.symbol(i);
  const name = symbol === 0 ? "no symbol" : relocations.symbols?.name(symbol) || `symbol ${symbol}`;
  const shown = Number.isSafeInteger(value) ? formatGuestAddress(value as GuestAddress) : "a number beyond 2^53";
  return relocations.file.broken(
    relocations.fileOffset(i),
    "elf-relocation-range",
    `${relocations.typeName(i)} to ${name} at ${relocations.offset(i)} of ${sectionName(relocations)} would be ${shown}, which does not fit`,
  );
}

function sectionName(relocations: ElfRelocations): string {
  return relocations.target?.name || relocations.section.name || `section ${relocations.section.index}`;
}
