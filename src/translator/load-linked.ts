import type { ElfFile } from "../formats/elf.js";
import { ElfError } from "../formats/elf-bytes.js";
import { ElfType, SegmentFlag, SegmentType, SymbolType } from "../formats/elf-constants.js";
import { R_X86_64_IRELATIVE, R_X86_64_NONE, RELOCATION_RULES } from "../formats/elf-relocation-types.js";
import { applyRelocation, type ElfRelocations, unsupportedRelocation } from "../formats/elf-relocations.js";
import type { ElfSegment } from "../formats/elf-segment.js";
import { type ElfSymbols, SymbolSection } from "../formats/elf-symbols.js";
import { UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress, guestAddress } from "../util/guest-address.js";
import { type GuestSpace, HIGH_SPACE, LOW_SPACE } from "./guest-space.js";
import { functionsOf } from "./load-functions.js";
import { IMPORT_STRIDE, ImportArea, indirectFunctions, plannedImports } from "./load-imports.js";
import { alignDown, alignUp, checkAlignment, checkCopies, checkImageSize, lastNotAbove, PAGE } from "./load-layout.js";
import { addGlobals, ReferenceCollector } from "./load-references.js";
import { LoadedSymbols } from "./load-symbols.js";
import type { ImportResolver, LoadedObject, LoadedSegment, ObjectPlan } from "./loaded-object.js";

/** Where dynamic files are put, which are linked to address 0. */
const DYNAMIC_ADDRESS = 0x400000 as GuestAddress;
/** SHT_RELR: relative relocations, packed. */
const PACKED_RELOCATIONS = 19;

/** @param elf an executable or a dynamic file */
export function planLinked(elf: ElfFile): ObjectPlan {
  const segments = loadSegments(elf);
  const lists = dynamicLists(elf);
  const isFixed = elf.type === ElfType.executable;
  const alignment = isFixed ? PAGE : segments.reduce((most, segment) => Math.max(most, segment.alignment), PAGE);
  const start = alignDown(segments[0].address, alignment) as GuestAddress;
  const last = segments[segments.length - 1];
  const importOffset = alignUp(last.address + last.memorySize - start, PAGE) + PAGE;
  const tables = [...new Set(lists.map(({ symbols }) => symbols))];
  const imports = tables.flatMap((table) => plannedImports(table));
  const indirect = tables.reduce((sum, table) => sum + indirectFunctions(table), indirectRelocations(lists));
  const size = importOffset + IMPORT_STRIDE * (imports.length + indirect);
  checkImageSize({ file: elf.name, part: "its imports", offset: 0 }, size);
  return {
    name: elf.name,
    kind: isFixed ? "executable" : "dynamic",
    space: isFixed && start < 0 ? HIGH_SPACE : LOW_SPACE,
    address: isFixed ? start : DYNAMIC_ADDRESS,
    fixed: isFixed,
    size,
    alignment,
    imports,
    place: (space, at, resolve) => {
      return new PlacedSegments(elf, segments, lists, at - start, at + importOffset, resolve).load(space);
    },
  };
}

/** What is to be mapped, ascending. */
function loadSegments(elf: ElfFile): ElfSegment[] {
  const segments = elf.segments.filter(({ type, memorySize }) => type === SegmentType.load && memorySize > 0);
  if (segments.length === 0) {
    throw new UnsupportedError("load-nothing", `${elf.name} has nothing to be loaded: give an object or an executable`);
  }
  segments.sort((a, b) => a.address - b.address);
  let copied = 0;
  let end = segments[0].address as number;
  for (const segment of segments) {
    const part = `segment ${segment.index}`;
    const claim = { file: elf.name, part, offset: segment.headerOffset + 40 };
    copied += segment.fileSize;
    checkCopies(claim, copied, elf.bytes.length);
    checkAlignment(claim, Math.max(1, segment.alignment));
    if (segment.address < end) {
      const at = formatGuestAddress(segment.address);
      throw new ElfError(elf.name, segment.headerOffset + 16, "load-overlap", `${part} at ${at} overlaps another`);
    }
    end = segment.address + segment.memorySize;
    checkImageSize(claim, end - segments[0].address);
  }
  return segments;
}

/** Lists of relocations that the dynamic loader would apply. */
function dynamicLists(elf: ElfFile): ElfRelocations[] {
  const dynamic = elf.segments.find(({ type }) => type === SegmentType.dynamic);
  if (dynamic !== undefined && elf.sections.length === 0) {
    throw new UnsupportedError(
      "load-sections",
      `${elf.name} has no section headers, which tell its dynamic relocations: give one that was not stripped of them`,
    );
  }
  const packed = elf.sections.find(({ type, allocated }) => allocated && type === PACKED_RELOCATIONS);
  if (packed !== undefined) {
    throw new UnsupportedError(
      "load-packed-relocations",
      `${elf.name}: ${packed.name} holds packed relocations: link with -z nopack-relative-relocs`,
    );
  }
  return [...elf.relocations()].filter(({ section }) => section.allocated);
}

function indirectRelocations(lists: readonly ElfRelocations[]): number {
  let count = 0;
  for (const list of lists) {
    for (let i = 0; i < list.count; i++) if (list.type(i) === R_X86_64_IRELATIVE) count++;
  }
  return count;
}

/** A linked file at its addresses. */
class PlacedSegments {
  /** Of the linker, and else of the dynamic loader. */
  readonly #table: ElfSymbols | null;
  readonly #imports: ImportArea;
  readonly #segments: LoadedSegment[];

  constructor(
    private readonly elf: ElfFile,
    segments: readonly ElfSegment[],
    private readonly lists: readonly ElfRelocations[],
    /** What is added to the file's addresses. */
    private readonly base: number,
    imports: number,
    resolve: ImportResolver,
  ) {
    this.#table = elf.symbols ?? elf.dynamicSymbols;
    this.#imports = new ImportArea(elf.name, imports as GuestAddress, resolve);
    this.#segments = segments.map(({ index, flags, address, memorySize, data }) => ({
      name: `segment ${index}`,
      address: this.#address(address),
      bytes: Uint8Array.from(data),
      size: memorySize,
      read: (flags & SegmentFlag.read) !== 0,
      write: (flags & SegmentFlag.write) !== 0,
      execute: (flags & SegmentFlag.execute) !== 0,
    }));
  }

  load(space: GuestSpace): LoadedObject {
    const { elf } = this;
    const table = this.#table;
    const address = (symbol: number) => (table === null ? null : this.#defined(table, symbol));
    const section = (symbol: number) => (table === null ? "" : this.#sectionName(table, symbol));
    const collector = new ReferenceCollector(this.#segments.filter(({ execute }) => execute));
    for (const list of this.lists) this.#relocate(list, collector);
    addGlobals(collector, table, address, section);
    const entry = elf.entry === 0 ? null : this.#address(elf.entry);
    if (entry !== null && !collector.isCode(entry)) {
      const at = formatGuestAddress(elf.entry);
      throw new ElfError(elf.name, 24, "load-entry", `the entry point ${at} is not in a segment of code`);
    }
    if (entry !== null) collector.add(entry, "symbol", "");
    const at = (place: GuestAddress) => table?.at(place - this.base) ?? -1;
    return {
      name: elf.name,
      space,
      segments: [...this.#segments, ...this.#imports.segments],
      symbols: new LoadedSymbols({ file: elf.name, table, address, section, at }),
      entry,
      functions: functionsOf(elf, table, address, (one) => this.#address(one.address)).filter(
        (one) => this.#segmentOf(one.address, one.size)?.execute === true,
      ),
      imports: this.#imports.list,
      codeReferences: collector.list(),
      referencesComplete: false,
      importAt: (place) => this.#imports.at(place),
    };
  }

  /** The segment that holds all of these bytes. */
  #segmentOf(address: GuestAddress, size: number): LoadedSegment | undefined {
    const segment = this.#segments[lastNotAbove(this.#segments, (one) => one.address, address)];
    return segment === undefined || address + size > segment.address + segment.size ? undefined : segment;
  }

  #relocate(list: ElfRelocations, collector: ReferenceCollector): void {
    const resolve = (symbol: number) => (list.symbols === null ? null : this.#resolved(list.symbols, symbol));
    for (let i = 0; i < list.count; i++) {
      const type = list.type(i);
      if (type === R_X86_64_NONE) continue;
      const rule = RELOCATION_RULES[type];
      if (rule === undefined && type !== R_X86_64_IRELATIVE) throw unsupportedRelocation(list, i);
      const place = this.#address(list.offset(i));
      const segment = this.#segmentOf(place, 0);
      if (segment === undefined || place >= segment.address + segment.bytes.length) {
        throw list.file.broken(
          list.fileOffset(i),
          "elf-relocation",
          `${list.typeName(i)} at ${formatGuestAddress(list.offset(i))}, where no segment has bytes`,
        );
      }
      const { name, address, bytes } = segment;
      const offset = place - address;
      if (type === R_X86_64_IRELATIVE) this.#relocateIndirect(list, i, bytes.subarray(offset));
      else applyRelocation(list, i, offset, bytes, address, resolve, { base: this.base });
      if (rule?.bytes === 8 && !rule.relative) collector.add(wordAt(bytes, offset), "data", name);
    }
  }

  /** Programs that start themselves put the function's address there before they use it. */
  #relocateIndirect(list: ElfRelocations, i: number, bytes: Uint8Array): void {
    if (bytes.length < 8) {
      throw list.file.broken(list.fileOffset(i), "elf-relocation", `${list.typeName(i)} at the end of a segment`);
    }
    const resolver = list.addend(i) as GuestAddress;
    const symbol = this.#table?.at(resolver) ?? -1;
    const name = this.#table === null || symbol < 0 ? "" : this.#table.name(symbol);
    const address = this.#imports.addressOfIndirect(name || `resolved at ${formatGuestAddress(resolver)}`);
    new DataView(bytes.buffer, bytes.byteOffset).setBigInt64(0, BigInt(address), true);
  }

  /** The address of a symbol, null for a weak one that nobody defines. */
  #resolved(table: ElfSymbols, symbol: number): GuestAddress | null {
    if (table.isUndefined(symbol)) return this.#imports.addressOf(table, symbol);
    if (table.type(symbol) === SymbolType.indirectFunction) return this.#imports.addressOfIndirect(table.name(symbol));
    return this.#defined(table, symbol);
  }

  #defined(table: ElfSymbols, symbol: number): GuestAddress | null {
    // Their values are no addresses.
    if (table.type(symbol) === SymbolType.tls) return null;
    const value = table.value(symbol);
    return table.section(symbol) === SymbolSection.absolute ? value : this.#address(value);
  }

  #sectionName(table: ElfSymbols, symbol: number): string {
    const section = table.section(symbol);
    return section === SymbolSection.absolute ? "*ABS*" : (this.elf.sections[section]?.name ?? "");
  }

  #address(address: GuestAddress): GuestAddress {
    return (address + this.base) as GuestAddress;
  }
}

function wordAt(bytes: Uint8Array, offset: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return guestAddress(view.getUint32(offset + 4, true), view.getUint32(offset, true));
}
