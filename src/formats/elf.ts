// ELF64 for little-endian x86-64: System V gABI chapters 4 and 5.
import { UnsupportedError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import { ElfBytes } from "./elf-bytes.js";
import { PROGRAM_HEADER_BYTES, SECTION_HEADER_BYTES, SectionType } from "./elf-constants.js";
import { readElfHeader } from "./elf-header.js";
import { ElfRelocations } from "./elf-relocations.js";
import { ElfSection, type StringTable } from "./elf-section.js";
import { ElfSegment } from "./elf-segment.js";
import { ElfSymbols } from "./elf-symbols.js";

/**
 * An ELF64 file of x86-64: relocatable (.o, .ko), executable or dynamic. Nothing is copied: sections, segments, symbols
 * and relocations are views of the bytes given to `parse`, which must not change meanwhile.
 */
export class ElfFile {
  /** e_type: `relocatable`, `executable` or `dynamic` of `ElfType`. */
  readonly type: number;
  /** Where an executable starts. */
  readonly entry: GuestAddress;
  readonly sections: readonly ElfSection[];
  readonly segments: readonly ElfSegment[];
  readonly #file: ElfBytes;
  #sectionsByName: Map<string, ElfSection> | null = null;
  /** Sections of type SHT_SYMTAB_SHNDX by the symbol table that they belong to. */
  #extendedIndexes: Map<number, ElfSection> | null = null;
  #relocationsByTarget: Map<number, ElfRelocations[]> | null = null;
  #symbols: { readonly first: ElfSymbols | null } | null = null;
  readonly #symbolTables = new Map<number, ElfSymbols>();

  private constructor(file: ElfBytes) {
    const header = readElfHeader(file);
    this.#file = file;
    this.type = header.type;
    this.entry = header.entry;
    const names = header.nameSection === 0 ? null : nameTable(file, header.sectionOffset, header.nameSection);
    if (names !== null) {
      file.checkNames(names.start, names.end, header.sectionCount, (index) => {
        return file.view.getUint32(header.sectionOffset + index * SECTION_HEADER_BYTES, true);
      });
    }
    this.sections = Array.from({ length: header.sectionCount }, (_, index) => {
      return new ElfSection(file, index, header.sectionOffset + index * SECTION_HEADER_BYTES, names);
    });
    this.segments = Array.from({ length: header.segmentCount }, (_, index) => {
      return new ElfSegment(file, index, header.segmentOffset + index * PROGRAM_HEADER_BYTES);
    });
  }

  /**
   * Reads the headers and checks every range that they claim; symbols and relocations are checked when asked for.
   * @param name what messages call the file
   * @throws UnsupportedError if it is no ELF file, or one of another class, byte order or machine
   * @throws ElfError (an InputError) with the byte offset if it is broken or ends too soon
   */
  static parse(bytes: Uint8Array, name: string): ElfFile {
    return new ElfFile(new ElfBytes(bytes, name));
  }

  get name(): string {
    return this.#file.name;
  }

  get bytes(): Uint8Array {
    return this.#file.bytes;
  }

  /** The first section of this name. */
  section(name: string): ElfSection | null {
    if (this.#sectionsByName === null) {
      this.#sectionsByName = new Map();
      for (const section of this.sections) {
        if (section.index !== 0 && !this.#sectionsByName.has(section.name)) {
          this.#sectionsByName.set(section.name, section);
        }
      }
    }
    return this.#sectionsByName.get(name) ?? null;
  }

  /** The symbols for the linker, null if they were stripped. @throws ElfError */
  get symbols(): ElfSymbols | null {
    this.#symbols ??= { first: this.#firstSymbols(SectionType.symbols) };
    return this.#symbols.first;
  }

  /** The symbols for the dynamic loader. @throws ElfError */
  get dynamicSymbols(): ElfSymbols | null {
    return this.#firstSymbols(SectionType.dynamicSymbols);
  }

  /**
   * The relocations of all sections, in file order.
   * @throws ElfError
   * @throws UnsupportedError for relocations without addends, which x86-64 does not use
   */
  *relocations(): Generator<ElfRelocations> {
    for (const section of this.sections) {
      if (section.type === SectionType.rel) {
        throw new UnsupportedError(
          "elf-rel",
          `${this.name}: section ${section.name} has relocations without addends; x86-64 has none such`,
        );
      }
      if (section.type === SectionType.rela) yield this.#relocationsIn(section);
    }
  }

  /** The relocations that are to be applied to a section, as many lists as the file has. @throws as `relocations` */
  relocationsOf(target: ElfSection): readonly ElfRelocations[] {
    if (this.#relocationsByTarget === null) {
      this.#relocationsByTarget = new Map();
      for (const list of this.relocations()) {
        const index = list.target?.index ?? 0;
        const others = this.#relocationsByTarget.get(index);
        if (others === undefined) this.#relocationsByTarget.set(index, [list]);
        else others.push(list);
      }
    }
    return this.#relocationsByTarget.get(target.index) ?? [];
  }

  #relocationsIn(section: ElfSection): ElfRelocations {
    // Dynamic relocations need neither symbols nor a section that they are for.
    const symbols = section.link === 0 ? null : this.#symbolTable(section.link, section);
    const target = section.info === 0 ? null : this.#linked(section, section.info, 44);
    return new ElfRelocations(this.#file, section, symbols, target);
  }

  #firstSymbols(type: number): ElfSymbols | null {
    const section = this.sections.find((candidate) => candidate.type === type);
    return section === undefined ? null : this.#symbolTable(section.index, section);
  }

  #symbolTable(index: number, from: ElfSection): ElfSymbols {
    const known = this.#symbolTables.get(index);
    if (known !== undefined) return known;
    const section = this.#linked(from, index, 40);
    if (section.type !== SectionType.symbols && section.type !== SectionType.dynamicSymbols) {
      throw this.#file.broken(from.headerOffset + 40, "elf-link", `section ${index} is no symbol table`);
    }
    const strings = this.#linked(section, section.link, 40);
    if (strings.type !== SectionType.strings) {
      throw this.#file.broken(section.headerOffset + 40, "elf-link", `section ${section.link} is no string table`);
    }
    const table = new ElfSymbols(this.#file, this, section, strings, this.#extendedIndexesOf(index));
    this.#symbolTables.set(index, table);
    return table;
  }

  #extendedIndexesOf(symbolTable: number): ElfSection | null {
    if (this.#extendedIndexes === null) {
      this.#extendedIndexes = new Map();
      for (const section of this.sections) {
        if (section.type === SectionType.symbolSections) this.#extendedIndexes.set(section.link, section);
      }
    }
    return this.#extendedIndexes.get(symbolTable) ?? null;
  }

  #linked(from: ElfSection, index: number, field: number): ElfSection {
    if (index < this.sections.length) return this.sections[index];
    throw this.#file.broken(
      from.headerOffset + field,
      "elf-link",
      `section ${from.index} refers to section ${index}, and there are ${this.sections.length}`,
    );
  }
}

function nameTable(file: ElfBytes, sectionOffset: number, index: number): StringTable {
  const section = new ElfSection(file, index, sectionOffset + index * SECTION_HEADER_BYTES, null);
  if (section.type !== SectionType.strings) {
    throw file.broken(
      section.headerOffset + 4,
      "elf-section",
      `section ${index} is to hold names, and is no string table`,
    );
  }
  return { start: section.offset, end: section.offset + section.size };
}
