import type { ElfFile } from "../formats/elf.js";
import { ElfError } from "../formats/elf-bytes.js";
import { SectionFlag, SectionType } from "../formats/elf-constants.js";
import { needsSlot, RELOCATION_RULES } from "../formats/elf-relocation-types.js";
import type { ElfSection } from "../formats/elf-section.js";
import { SymbolSection } from "../formats/elf-symbols.js";
import { isExecutable } from "./load-functions.js";
import { alignUp, type Claim, checkAlignment, checkCopies, checkImageSize, PAGE } from "./load-layout.js";

/** Left unmapped after everything that is not code, so that whoever runs over its end is caught. */
const GUARD = PAGE;
export const SLOT_BYTES = 8;
/** The name of what symbols without a section lie in. */
export const COMMON = "COMMON";

/** Something with an address: a section, the common symbols, or the global offset table. */
export interface Part {
  readonly name: string;
  readonly section: ElfSection | null;
  readonly offset: number;
  readonly size: number;
  readonly write: boolean;
  readonly execute: boolean;
}

export interface SectionLayout {
  /** Of what everything is an offset from. */
  readonly alignment: number;
  readonly parts: readonly Part[];
  /** From the numbers of sections. */
  readonly sectionOffsets: ReadonlyMap<number, number>;
  /** From the numbers of symbols. */
  readonly commonOffsets: ReadonlyMap<number, number>;
  readonly slots: ReadonlyMap<number, number>;
  readonly table: Part | null;
  readonly importOffset: number;
}

/**
 * Lays out a relocatable file: sections by what may be done to them, and in the order of the file; code first, then what is
 * only read, then what is written; pages never mix.
 */
export const layOut = (elf: ElfFile): SectionLayout => new LayoutBuilder(elf).build();

class LayoutBuilder {
  #alignment = PAGE;
  readonly #parts: Part[] = [];
  #end = 0;

  constructor(private readonly elf: ElfFile) {}

  build(): SectionLayout {
    const { elf } = this;
    const sections = elf.sections.filter((section) => section.allocated && section.type !== SectionType.null);
    this.#check(sections);
    const sectionOffsets = new Map<number, number>();
    for (const [execute, write] of [
      [true, false],
      [true, true],
      [false, false],
      [false, true],
    ]) {
      this.#end = alignUp(this.#end, PAGE);
      for (const section of sections) {
        if (isExecutable(section) !== execute || isWritable(section) !== write) continue;
        const { name, size, alignment } = section;
        const claim = this.#claim(name, section.headerOffset + 32);
        sectionOffsets.set(section.index, this.#add({ name, section, size, write, execute }, alignment, claim));
      }
    }
    const commonOffsets = this.#addCommon();
    const slots = slotsOf(elf);
    const table = slots === null ? null : this.#addTable(slots.size);
    const importOffset = alignUp(this.#end, PAGE) + GUARD;
    return {
      alignment: this.#alignment,
      parts: this.#parts,
      sectionOffsets,
      commonOffsets,
      slots: slots ?? new Map(),
      table,
      importOffset,
    };
  }

  #check(sections: readonly ElfSection[]): void {
    const { elf } = this;
    let copied = 0;
    for (const section of sections) {
      const { name, headerOffset } = section;
      if ((section.flags & SectionFlag.compressed) !== 0) {
        throw new ElfError(elf.name, headerOffset + 8, "load-compressed", `${name} is compressed, and to be mapped`);
      }
      if (section.hasBytes) copied += section.size;
      checkCopies(this.#claim(name, headerOffset + 32), copied, elf.bytes.length);
    }
  }

  /** @returns the offset */
  #add(part: Omit<Part, "offset">, alignment: number, claim: Claim): number {
    checkAlignment(claim, alignment);
    this.#alignment = Math.max(this.#alignment, alignment);
    const offset = alignUp(this.#end, alignment);
    this.#end = offset + part.size + (part.execute || part.size === 0 ? 0 : GUARD);
    checkImageSize(claim, this.#end);
    this.#parts.push({ ...part, offset });
    return offset;
  }

  /** Symbols without a section are laid out here: st_value is their alignment. */
  #addCommon(): Map<number, number> {
    const { symbols } = this.elf;
    const offsets = new Map<number, number>();
    const start = alignUp(this.#end, PAGE);
    let size = 0;
    for (let symbol = 1; symbol < (symbols?.count ?? 0); symbol++) {
      if (symbols?.section(symbol) !== SymbolSection.common) continue;
      const claim = this.#claim(symbols.name(symbol), symbols.fileOffset(symbol));
      const alignment = symbols.value(symbol);
      checkAlignment(claim, alignment);
      this.#alignment = Math.max(this.#alignment, alignment);
      const offset = alignUp(start + size, alignment);
      offsets.set(symbol, offset);
      size = offset + symbols.size(symbol) - start;
      checkImageSize(claim, start + size);
    }
    const part = { name: COMMON, section: null, size, write: true, execute: false };
    if (size > 0) this.#add(part, PAGE, this.#claim(COMMON, 0));
    return offsets;
  }

  #addTable(slots: number): Part {
    const part = { name: ".got", section: null, size: SLOT_BYTES * Math.max(1, slots), write: false, execute: false };
    return { ...part, offset: this.#add(part, PAGE, this.#claim(part.name, 0)) };
  }

  #claim(part: string, offset: number): Claim {
    return { file: this.elf.name, part, offset };
  }
}

const isWritable = (section: ElfSection): boolean => (section.flags & SectionFlag.write) !== 0;

/** The symbols that need slots of a global offset table, numbered; null if there is no need of a table. */
function slotsOf(elf: ElfFile): Map<number, number> | null {
  const slots = new Map<number, number>();
  let needed = false;
  for (const list of elf.relocations()) {
    if (list.target?.allocated !== true) continue;
    if (list.symbols !== null && list.symbols !== elf.symbols) {
      const offset = list.section.headerOffset + 40;
      throw new ElfError(elf.name, offset, "load-symbols", `${list.section.name} refers to a second table of symbols`);
    }
    for (let i = 0; i < list.count; i++) {
      const type = list.type(i);
      if ((RELOCATION_RULES[type]?.target ?? "symbol") === "symbol") continue;
      needed = true;
      const symbol = list.symbol(i);
      if (needsSlot(type) && !slots.has(symbol)) slots.set(symbol, slots.size);
    }
  }
  return needed ? slots : null;
}
