import type { Btf } from "../formats/btf.js";
import { typesOfImage } from "../formats/btf-image.js";
import { ElfFile } from "../formats/elf.js";
import { SectionFlag } from "../formats/elf-constants.js";
import type { ElfSection } from "../formats/elf-section.js";
import type { Kallsyms } from "../formats/kallsyms.js";
import { symbolsOfImage } from "../formats/kallsyms-image.js";
import type { Kept } from "../formats/packed-arrays.js";
import type { FunctionLibrary } from "../translator/code.js";
import type { LoadedFunction } from "../translator/loaded-object.js";
import { InputError, UnsupportedError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import { IMAGE, LOW_MEMORY_END } from "./layout.js";
import { type PlacedBytes, patch, Thunks } from "./patching.js";

/** What a kernel or module offers to modules. */
export interface KernelExport {
  readonly name: string;
  readonly address: GuestAddress;
  /** Checksum of its prototype, null without CONFIG_MODVERSIONS. */
  readonly crc: number | null;
  readonly gplOnly: boolean;
}

/** struct kernel_symbol: distances to the value, the name and the namespace. */
const EXPORT_BYTES = 12;
const EXPORTS = [
  { table: "__ksymtab", checksums: "__kcrctab", gplOnly: false },
  { table: "__ksymtab_gpl", checksums: "__kcrctab_gpl", gplOnly: true },
] as const;
/** What the kernel's per-CPU variables are copied from. Until 6.14 it is at address 0. */
const PERCPU_SECTION = ".data..percpu";
/** Without these, addresses of memory and of `struct page` are constants of the build. */
const DYNAMIC_BASES = ["page_offset_base", "vmemmap_base"];

/** A kernel image as a library of functions: where they are, what they are called, and what their types look like. */
export class KernelImage implements FunctionLibrary {
  readonly symbols: Kallsyms;
  readonly types: Btf;
  /** What is to be mapped, ascending: sections with an address. */
  readonly sections: readonly ElfSection[];
  readonly start: GuestAddress;
  /** Where the image ends, exclusive. */
  readonly end: GuestAddress;
  #exports: ReadonlyMap<string, KernelExport> | null = null;
  #thunks: Thunks | null = null;
  readonly #code: readonly ElfSection[];
  readonly #functions = new Map<GuestAddress, LoadedFunction | null>();

  private constructor(
    readonly elf: ElfFile,
    kept: Kept | null,
  ) {
    this.symbols = symbolsOfImage(elf, kept);
    this.types = typesOfImage(elf, kept);
    const sections = elf.sections.filter(
      (one) => one.allocated && one.address < 0 && one.size > 0 && one.name !== PERCPU_SECTION,
    );
    this.sections = sections.sort((a, b) => a.address - b.address);
    this.#code = this.sections.filter(isCode);
    const [first] = this.sections;
    if (first === undefined || first.address < IMAGE) {
      throw new UnsupportedError("kernel-layout", `${elf.name} is not linked where kernels for x86-64 are`);
    }
    this.start = first.address;
    const last = this.sections[this.sections.length - 1];
    this.end = (last.address + last.size) as GuestAddress;
    if (this.end > LOW_MEMORY_END) throw new UnsupportedError("kernel-layout", `${elf.name} is too large`);
    this.#patch();
    const fixed = DYNAMIC_BASES.find((name) => !this.symbols.has(name));
    if (fixed !== undefined) {
      throw new UnsupportedError(
        "kernel-layout",
        `${elf.name} has no ${fixed}: it takes a kernel with CONFIG_DYNAMIC_MEMORY_LAYOUT, as distributions build it`,
      );
    }
  }

  /**
   * @param bytes the decompressed image (vmlinux), which becomes this object's: it is patched in place
   * @param kept where what was found in this image is kept for the next time
   * @throws UnsupportedError, InputError
   */
  static parse(bytes: Uint8Array, name: string, kept: Kept | null = null): KernelImage {
    return new KernelImage(ElfFile.parse(bytes, name), kept);
  }

  get name(): string {
    return this.elf.name;
  }

  get percpu(): ElfSection {
    const section = this.elf.section(PERCPU_SECTION);
    if (section?.hasBytes && section.address <= 0) return section;
    throw new UnsupportedError(
      "kernel-layout",
      `${this.name} has no ${PERCPU_SECTION} where kernels for x86-64 have it`,
    );
  }

  /** Null if there is no such symbol. */
  find(name: string): GuestAddress | null {
    const index = this.symbols.find(name);
    return index < 0 ? null : this.symbols.address(index);
  }

  /** @throws SymbolLookupError */
  address(name: string): GuestAddress {
    return this.symbols.addressOf(name);
  }

  /** By name. @throws InputError */
  get exports(): ReadonlyMap<string, KernelExport> {
    this.#exports ??= this.#readExports();
    return this.#exports;
  }

  /** Functions as the symbols tell: text in executable sections, each up to the next symbol. */
  functionAt(address: GuestAddress): LoadedFunction | null {
    const place = this.symbols.at(address);
    if (place === null) return null;
    const start = (address - place.offset) as GuestAddress;
    let found = this.#functions.get(start);
    if (found === undefined) {
      found = this.#findFunction(place.index, start);
      this.#functions.set(start, found);
    }
    return found !== null && place.offset < found.size ? found : null;
  }

  /** @param first symbol of an address: of several the first that is code counts */
  #findFunction(first: number, start: GuestAddress): LoadedFunction | null {
    const { symbols } = this;
    const section = this.#code.find((one) => start >= one.address && start < one.address + one.size);
    if (section === undefined) return null;
    for (let index = first; index < symbols.count && symbols.address(index) === start; index++) {
      if (!/[tw]/i.test(symbols.type(index))) continue;
      const room = section.address + section.size - start;
      const extent = symbols.extent(index);
      return { name: symbols.name(index), address: start, size: Math.min(extent === 0 ? room : extent, room) };
    }
    return null;
  }

  /** Thunks and the tracer, of which modules have to know, too. */
  get thunks(): Thunks {
    this.#thunks ??= new Thunks((name) => this.find(name));
    return this.#thunks;
  }

  #patch(): void {
    const table = (name: string): PlacedBytes | null => {
      const section = this.elf.section(name);
      return section?.hasBytes === true ? { address: section.address, bytes: section.data } : null;
    };
    const tables = {
      indirect: table(".retpoline_sites"),
      returns: table(".return_sites"),
      traced: this.#between("__start_mcount_loc", "__stop_mcount_loc"),
    };
    const code = this.#code.map(({ address, data }) => ({ address, bytes: data }));
    patch(code, tables, this.thunks);
  }

  #between(start: string, end: string): PlacedBytes | null {
    const from = this.find(start);
    const to = this.find(end);
    if (from === null || to === null) return null;
    const section = this.sections.find((one) => one.address <= from && from < one.address + one.size);
    if (section === undefined || !section.hasBytes) return null;
    return { address: from, bytes: section.data.subarray(from - section.address, to - section.address) };
  }

  #readExports(): Map<string, KernelExport> {
    const exports = new Map<string, KernelExport>();
    const strings = this.elf.section("__ksymtab_strings");
    const text = strings === null ? "" : ascii.decode(strings.data);
    for (const { table, checksums, gplOnly } of EXPORTS) {
      const section = this.elf.section(table);
      if (section === null || !section.hasBytes) continue;
      const crcs = this.elf.section(checksums)?.data ?? new Uint8Array(0);
      const view = viewOf(section.data);
      const crcView = viewOf(crcs);
      for (let i = 0; EXPORT_BYTES * (i + 1) <= section.size; i++) {
        const offset = EXPORT_BYTES * i;
        const value = section.address + offset + view.getInt32(offset, true);
        const start = section.address + offset + 4 + view.getInt32(offset + 4, true) - (strings?.address ?? 0);
        const end = start < 0 ? -1 : text.indexOf("\0", start);
        if (end < 0) {
          throw new InputError("kernel-exports", `${this.name}: a name of ${table} lies outside __ksymtab_strings`);
        }
        const name = text.slice(start, end);
        const crc = 4 * i + 4 <= crcView.byteLength ? crcView.getUint32(4 * i, true) : null;
        exports.set(name, { name, address: value as GuestAddress, crc, gplOnly });
      }
    }
    return exports;
  }
}

/** Sections of variables are marked as executable by some linkers, too. */
export function isCode({ flags }: ElfSection): boolean {
  return (flags & SectionFlag.executable) !== 0 && (flags & SectionFlag.write) === 0;
}

const ascii = new TextDecoder("latin1");
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
