import type { ElfFile } from "../formats/elf.js";
import { ElfError } from "../formats/elf-bytes.js";
import { SymbolType } from "../formats/elf-constants.js";
import { applyRelocations, type RelocationExtras } from "../formats/elf-relocations.js";
import type { ElfSection } from "../formats/elf-section.js";
import { type ElfSymbols, SymbolSection } from "../formats/elf-symbols.js";
import type { GuestAddress } from "../util/guest-address.js";
import { type GuestSpace, HIGH_SPACE, LOW_SPACE } from "./guest-space.js";
import { functionsOf } from "./load-functions.js";
import { IMPORT_STRIDE, ImportArea, indirectFunctions, OFFSET_TABLE, plannedImports } from "./load-imports.js";
import { checkImageSize, lastNotAbove } from "./load-layout.js";
import { addGlobals, ReferenceCollector } from "./load-references.js";
import { COMMON, layOut, type Part, type SectionLayout, SLOT_BYTES } from "./load-sections.js";
import { LoadedSymbols } from "./load-symbols.js";
import type { ImportResolver, LoadedObject, LoadedSegment, ObjectPlan, SectionBase } from "./loaded-object.js";

/** Where Linux has its modules, and where linkers put programs. */
const MODULE_ADDRESS = -0x40000000 as GuestAddress;
const OBJECT_ADDRESS = 0x400000 as GuestAddress;
const MODULE_SECTIONS = [".modinfo", ".gnu.linkonce.this_module"];

export function planRelocatable(elf: ElfFile): ObjectPlan {
  const isModule = MODULE_SECTIONS.some((name) => elf.section(name) !== null);
  const layout = layOut(elf);
  const imports = plannedImports(elf.symbols, layout.table === null ? "" : OFFSET_TABLE);
  const size = layout.importOffset + IMPORT_STRIDE * (imports.length + indirectFunctions(elf.symbols));
  checkImageSize({ file: elf.name, part: "its imports", offset: 0 }, size);
  return {
    name: elf.name,
    kind: isModule ? "module" : "object",
    space: isModule ? HIGH_SPACE : LOW_SPACE,
    address: isModule ? MODULE_ADDRESS : OBJECT_ADDRESS,
    fixed: false,
    size,
    alignment: layout.alignment,
    imports,
    place: (space, at, resolve, base) => new PlacedSections(elf, layout, at, resolve, base).load(space),
  };
}

/** A relocatable file at its addresses. */
class PlacedSections {
  readonly #table: ElfSymbols | null;
  readonly #imports: ImportArea;
  readonly #addresses = new Map<number, GuestAddress | null>();
  readonly #extras: RelocationExtras;
  /** By the number of a section: what its symbols count from instead. */
  readonly #bases = new Map<number, GuestAddress>();

  constructor(
    private readonly elf: ElfFile,
    private readonly layout: SectionLayout,
    private readonly at: GuestAddress,
    resolve: ImportResolver,
    base: SectionBase,
  ) {
    const { table, importOffset, slots } = layout;
    for (const { section, name, size } of layout.parts) {
      const other = section === null || size === 0 ? null : base(name, size, section.alignment);
      if (section !== null && other !== null) this.#bases.set(section.index, other);
    }
    this.#table = elf.symbols;
    this.#imports = new ImportArea(elf.name, this.#address(importOffset), resolve);
    if (table === null) {
      this.#extras = {};
    } else {
      const address = this.#address(table.offset);
      const slot = (symbol: number) => (address + SLOT_BYTES * (slots.get(symbol) ?? 0)) as GuestAddress;
      this.#extras = { table: { address, slot } };
    }
  }

  load(space: GuestSpace): LoadedObject {
    const { elf } = this;
    const segments = this.layout.parts.filter((part) => part.size > 0).map((part) => this.#segment(part));
    const places = {
      file: elf.name,
      table: this.#table,
      address: (symbol: number) => this.#defined(symbol),
      section: (symbol: number) => this.#sectionName(symbol),
      at: (address: GuestAddress) => this.#symbolAt(address),
    };
    const functions = functionsOf(elf, this.#table, places.address, (section) => this.#sectionAddress(section));
    return {
      name: elf.name,
      space,
      segments: [...segments, ...this.#imports.segments],
      symbols: new LoadedSymbols(places),
      entry: null,
      functions,
      imports: this.#imports.list,
      codeReferences: this.#references(),
      referencesComplete: true,
      importAt: (address) => this.#imports.at(address),
    };
  }

  #segment({ name, section, offset, size, write, execute }: Part): LoadedSegment {
    const address = this.#address(offset);
    const bytes = section === null ? this.#slotBytes(name) : Uint8Array.from(section.data);
    for (const list of section === null ? [] : this.elf.relocationsOf(section)) {
      applyRelocations(list, bytes, address, (symbol) => this.#resolved(symbol), this.#extras);
    }
    return { name, address, bytes, size, read: true, write, execute };
  }

  /** The global offset table; common symbols are zero. */
  #slotBytes(name: string): Uint8Array {
    const { slots, table } = this.layout;
    if (table === null || name !== table.name) return new Uint8Array(0);
    const bytes = new Uint8Array(table.size);
    const view = new DataView(bytes.buffer);
    for (const [symbol, slot] of slots) {
      view.setBigInt64(SLOT_BYTES * slot, BigInt(this.#resolved(symbol) ?? 0), true);
    }
    return bytes;
  }

  #references() {
    const { elf, layout, at } = this;
    const collector = new ReferenceCollector(
      layout.parts.filter(({ execute }) => execute).map(({ offset, size }) => ({ address: at + offset, size })),
    );
    const sections = layout.parts.flatMap(({ name, section, offset, execute }) => {
      if (section === null) return [];
      const lists = elf.relocationsOf(section);
      return [{ name, address: this.#address(offset), bytes: section.data, execute, lists }];
    });
    collector.addSections(sections, (symbol) => this.#resolved(symbol) ?? 0);
    addGlobals(
      collector,
      this.#table,
      (symbol) => this.#defined(symbol),
      (symbol) => this.#sectionName(symbol),
    );
    return collector.list();
  }

  /** The address of a symbol, null for a weak one that nobody defines. @throws ElfError if it is not loaded */
  #resolved(symbol: number): GuestAddress | null {
    const known = this.#addresses.get(symbol);
    if (known !== undefined) return known;
    const address = this.#found(symbol);
    this.#addresses.set(symbol, address);
    return address;
  }

  #found(symbol: number): GuestAddress | null {
    const table = this.#table;
    if (table === null || symbol === 0) return null;
    if (table.isUndefined(symbol)) {
      const name = table.name(symbol);
      if (name === OFFSET_TABLE && this.#extras.table !== undefined) return this.#extras.table.address;
      return this.#imports.addressOf(table, symbol);
    }
    if (table.type(symbol) === SymbolType.indirectFunction) return this.#imports.addressOfIndirect(table.name(symbol));
    const address = this.#defined(symbol);
    if (address !== null) return address;
    throw new ElfError(
      this.elf.name,
      table.fileOffset(symbol),
      "load-symbol",
      `something that is loaded refers to ${table.name(symbol) || "a symbol"} in ${this.#sectionName(symbol)}, which is not`,
    );
  }

  /** The address of a symbol that the file defines, null if it is not loaded. */
  #defined(symbol: number): GuestAddress | null {
    const table = this.#table;
    if (table === null) return null;
    const section = table.section(symbol);
    if (section === SymbolSection.absolute) return table.value(symbol);
    const base = this.#bases.get(section);
    if (base !== undefined) return (base + table.value(symbol)) as GuestAddress;
    const offset =
      section === SymbolSection.common
        ? this.layout.commonOffsets.get(symbol)
        : this.layout.sectionOffsets.get(section);
    if (offset === undefined) return null;
    return this.#address(section === SymbolSection.common ? offset : offset + table.value(symbol));
  }

  #sectionName(symbol: number): string {
    const section = this.#table?.section(symbol) ?? SymbolSection.undefined;
    if (section === SymbolSection.absolute) return "*ABS*";
    return section === SymbolSection.common ? COMMON : this.elf.sections[section].name;
  }

  #sectionAddress(section: ElfSection): GuestAddress {
    return this.#address(this.layout.sectionOffsets.get(section.index) ?? 0);
  }

  #symbolAt(address: GuestAddress): number {
    const { parts } = this.layout;
    const part = parts[lastNotAbove(parts, (one) => one.offset, address - this.at)];
    if (part?.section == null || this.#table === null) return -1;
    const offset = address - this.#address(part.offset);
    return offset < part.size ? this.#table.at(offset, part.section.index) : -1;
  }

  #address(offset: number): GuestAddress {
    return (this.at + offset) as GuestAddress;
  }
}
