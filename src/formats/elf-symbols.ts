// Symbol tables: gABI chapter 4, "Symbol Table".
import type { GuestAddress } from "../util/guest-address.js";
import type { ElfBytes } from "./elf-bytes.js";
import { ElfType, SectionNumber, SYMBOL_BYTES, SymbolBinding, SymbolType } from "./elf-constants.js";
import type { ElfSection } from "./elf-section.js";
import { SymbolNameIndex } from "./elf-symbol-names.js";
import { SymbolPlaceIndex } from "./elf-symbol-places.js";

/** What `ElfSymbols.section` gives for a symbol that is in no section of the file. */
export const SymbolSection = { undefined: 0, absolute: -1, common: -2 } as const;

/** What a symbol table needs to know of its file. */
export interface SymbolOwner {
  readonly type: number;
  readonly sections: readonly ElfSection[];
}

/**
 * A symbol table: symbols are numbers from 0 (the empty one) to `count` - 1, and what is known of one is read from the
 * file when asked for. The indexes by name and by place are built on first use, in time and memory linear in `count`
 * (n log n for places).
 */
export class ElfSymbols {
  readonly count: number;
  readonly #offset: number;
  readonly #strings: ElfSection;
  #byName: SymbolNameIndex | null = null;
  #byPlace: SymbolPlaceIndex | null = null;

  /** @throws ElfError */
  constructor(
    private readonly file: ElfBytes,
    private readonly owner: SymbolOwner,
    section: ElfSection,
    strings: ElfSection,
    private readonly extendedIndexes: ElfSection | null,
  ) {
    if (section.entrySize !== SYMBOL_BYTES || section.size % SYMBOL_BYTES !== 0) {
      throw file.broken(
        section.headerOffset + 56,
        "elf-entry-size",
        `${section.size} bytes of symbols of ${section.entrySize} each; they have ${SYMBOL_BYTES}`,
      );
    }
    this.#offset = section.offset;
    this.#strings = strings;
    this.count = section.size / SYMBOL_BYTES;
    file.checkNames(strings.offset, strings.offset + strings.size, this.count, (symbol) => this.#nameStart(symbol));
    if (extendedIndexes !== null && extendedIndexes.size < 4 * this.count) {
      throw file.broken(
        extendedIndexes.headerOffset + 32,
        "elf-symbol",
        `${extendedIndexes.size} bytes of section numbers for ${this.count} symbols; they need 4 each`,
      );
    }
  }

  /** Where a symbol lies in the file, for messages. */
  fileOffset(symbol: number): number {
    return this.#at(symbol);
  }

  /** @throws ElfError */
  name(symbol: number): string {
    const at = this.#at(symbol);
    return this.#strings.text(this.file.view.getUint32(at, true));
  }

  /** An address, or in a relocatable file an offset in the symbol's section. @throws ElfError */
  value(symbol: number): GuestAddress {
    return this.file.signed64(this.#at(symbol) + 8, `the value of symbol ${symbol}`);
  }

  /** Bytes, 0 if unknown. @throws ElfError if they end beyond any address. */
  size(symbol: number): number {
    const at = this.#at(symbol) + 16;
    const size = this.file.unsigned64(at);
    if (Number.isSafeInteger(size)) return size;
    throw this.file.broken(at, "elf-symbol", `symbol ${symbol} has ${size} bytes`);
  }

  /** One of `SymbolBinding`, or another. */
  binding(symbol: number): number {
    return this.file.view.getUint8(this.#at(symbol) + 4) >>> 4;
  }

  /** One of `SymbolType`, or another. */
  type(symbol: number): number {
    return this.file.view.getUint8(this.#at(symbol) + 4) & 15;
  }

  /** The number of the section that it is in, or one of `SymbolSection`. @throws ElfError */
  section(symbol: number): number {
    const at = this.#at(symbol) + 6;
    const number = this.file.view.getUint16(at, true);
    if (number === SectionNumber.absolute) return SymbolSection.absolute;
    if (number === SectionNumber.common) return SymbolSection.common;
    if (number < SectionNumber.reserved) return this.#checked(symbol, number, at);
    if (number === SectionNumber.extended && this.extendedIndexes !== null) {
      const entry = this.extendedIndexes.offset + 4 * symbol;
      return this.#checked(symbol, this.file.view.getUint32(entry, true), entry);
    }
    throw this.file.broken(at, "elf-symbol", `symbol ${symbol} is in reserved section ${number}`);
  }

  /** It is defined elsewhere. */
  isUndefined(symbol: number): boolean {
    return this.file.view.getUint16(this.#at(symbol) + 6, true) === SectionNumber.undefined;
  }

  /** The named symbols that are defined elsewhere, in the table's order. */
  *undefined(): Generator<number> {
    for (let symbol = 1; symbol < this.count; symbol++) {
      if (this.isUndefined(symbol) && this.#nameStart(symbol) !== 0) yield symbol;
    }
  }

  /**
   * The symbol of this name: a global definition before a weak one, that before a local one, and that before a mere
   * reference; -1 if there is none.
   * @throws ElfError
   */
  find(name: string): number {
    let best = -1;
    for (const symbol of this.named(name)) {
      if (best < 0 || this.#rank(symbol) > this.#rank(best)) best = symbol;
    }
    return best;
  }

  /** Every symbol of this name, in the table's order. @throws ElfError */
  named(name: string): Iterable<number> {
    this.#byName ??= new SymbolNameIndex(this.count, (symbol) => this.#nameStart(symbol), this.#stringBytes());
    return this.#byName.named(name);
  }

  /**
   * The function or object that the byte at `value` belongs to, -1 if there is none. One of unknown size reaches to the
   * next. In a relocatable file `value` is an offset in `section`, else an address, and `section` does not matter.
   */
  at(value: number, section = 0): number {
    return this.#places().at(value, section);
  }

  /**
   * Functions, objects and labels that are in a section, ordered by section (in relocatable files) and value, the
   * same value by precedence as for `at`. Those with a value or section that cannot be are left out.
   */
  get ordered(): Uint32Array {
    return this.#places().symbols;
  }

  #places(): SymbolPlaceIndex {
    this.#byPlace ??= new SymbolPlaceIndex(this.#placed(), this.owner.type === ElfType.relocatable);
    return this.#byPlace;
  }

  /** What the index by place is made of. */
  #placed() {
    const { count } = this;
    const symbols = new Uint32Array(count);
    const sections = new Uint32Array(count);
    const values = new Float64Array(count);
    const sizes = new Float64Array(count);
    const ranks = new Uint8Array(count);
    let length = 0;
    for (let symbol = 1; symbol < count; symbol++) {
      const at = this.#offset + SYMBOL_BYTES * symbol;
      const value = this.file.signed64OrNaN(at + 8);
      const section = this.#sectionOrZero(symbol);
      if (Number.isNaN(value) || section === 0 || !isPlace(this.type(symbol))) continue;
      symbols[length] = symbol;
      sections[length] = section;
      values[length] = value;
      sizes[length] = this.file.unsigned64(at + 16);
      ranks[length] = 4 * (sizes[length] > 0 ? 1 : 0) + this.#rank(symbol);
      length++;
    }
    return { symbols, sections, values, sizes, ranks, length };
  }

  #sectionOrZero(symbol: number): number {
    let number = this.file.view.getUint16(this.#at(symbol) + 6, true);
    if (number === SectionNumber.extended && this.extendedIndexes !== null) {
      number = this.file.view.getUint32(this.extendedIndexes.offset + 4 * symbol, true);
    } else if (number >= SectionNumber.reserved) {
      return 0;
    }
    return number < this.owner.sections.length ? number : 0;
  }

  #rank(symbol: number): number {
    if (this.isUndefined(symbol)) return 0;
    const binding = this.binding(symbol);
    if (binding === SymbolBinding.local) return 1;
    return binding === SymbolBinding.weak ? 2 : 3;
  }

  #checked(symbol: number, section: number, at: number): number {
    if (section < this.owner.sections.length) return section;
    throw this.file.broken(
      at,
      "elf-symbol",
      `symbol ${symbol} is in section ${section}, and there are ${this.owner.sections.length}`,
    );
  }

  #nameStart(symbol: number): number {
    return this.file.view.getUint32(this.#offset + SYMBOL_BYTES * symbol, true);
  }

  #stringBytes(): Uint8Array {
    return this.#strings.data;
  }

  #at(symbol: number): number {
    if (symbol >= 0 && symbol < this.count) return this.#offset + SYMBOL_BYTES * symbol;
    throw new RangeError(`symbol ${symbol} of ${this.count}`);
  }
}

function isPlace(type: number): boolean {
  return (
    type === SymbolType.none ||
    type === SymbolType.object ||
    type === SymbolType.function ||
    type === SymbolType.indirectFunction
  );
}
