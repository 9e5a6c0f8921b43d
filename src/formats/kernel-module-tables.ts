// Tables that a module's pointers are relocated into: __ksymtab, __param.
import type { ElfFile } from "./elf.js";
import { ElfError } from "./elf-bytes.js";
import type { ElfRelocations } from "./elf-relocations.js";
import type { ElfSection } from "./elf-section.js";

/** What the pointers of a section of a relocatable file will point to. */
export class RelocatedPointers {
  /** Names do not overlap so much that all of them were longer than the file. */
  #textLeft: number;
  readonly #byOffset = new Map<number, readonly [list: ElfRelocations, relocation: number]>();

  /** @throws ElfError */
  constructor(
    private readonly elf: ElfFile,
    section: ElfSection,
  ) {
    this.#textLeft = elf.bytes.length;
    for (const list of elf.relocationsOf(section)) {
      for (let i = 0; i < list.count; i++) this.#byOffset.set(list.offset(i), [list, i]);
    }
  }

  /** The symbol that the pointer at `offset` is relative to, 0 if there is none. @throws ElfError */
  symbol(offset: number): number {
    const found = this.#byOffset.get(offset);
    return found === undefined ? 0 : found[0].symbol(found[1]);
  }

  /** The text that the pointer at `offset` will point to, null if it does not point into a section. @throws ElfError */
  text(offset: number): string | null {
    const found = this.#byOffset.get(offset);
    if (found === undefined) return null;
    const [list, relocation] = found;
    const symbol = list.symbol(relocation);
    if (list.symbols === null || symbol === 0) return null;
    const section = list.symbols.section(symbol);
    const at = list.symbols.value(symbol) + list.addend(relocation);
    if (section <= 0 || at < 0) return null;
    const text = this.elf.sections[section].text(at);
    this.#textLeft -= text.length;
    if (this.#textLeft >= 0) return text;
    throw new ElfError(this.elf.name, list.fileOffset(relocation), "elf-name", "names that overlap more than names do");
  }
}

export interface ModuleExport {
  readonly name: string;
  /** The number of the symbol that it stands for. */
  readonly symbol: number;
  readonly gplOnly: boolean;
  /** Empty for none. */
  readonly namespace: string;
  /** Checksum of its prototype, null without CONFIG_MODVERSIONS. */
  readonly crc: number | null;
}

/** struct kernel_symbol with place-relative references: value, name, namespace. */
const EXPORT_BYTES = 12;
const EXPORT_SECTIONS = [
  { table: "__ksymtab", checksums: "__kcrctab", gplOnly: false },
  { table: "__ksymtab_gpl", checksums: "__kcrctab_gpl", gplOnly: true },
] as const;

/** @throws ElfError */
export function readExports(elf: ElfFile): ModuleExport[] {
  const exports: ModuleExport[] = [];
  for (const { table, checksums, gplOnly } of EXPORT_SECTIONS) {
    const section = elf.section(table);
    if (section === null) continue;
    const pointers = new RelocatedPointers(elf, section);
    const crcs = elf.section(checksums)?.data;
    const view = crcs === undefined ? null : new DataView(crcs.buffer, crcs.byteOffset, crcs.byteLength);
    for (let i = 0; EXPORT_BYTES * (i + 1) <= section.data.length; i++) {
      const at = EXPORT_BYTES * i;
      const name = pointers.text(at + 4);
      if (name === null) continue;
      const crc = view !== null && 4 * i + 4 <= view.byteLength ? view.getUint32(4 * i, true) : null;
      exports.push({ name, symbol: pointers.symbol(at), gplOnly, namespace: pointers.text(at + 8) ?? "", crc });
    }
  }
  return exports;
}

/** struct kernel_param: name, module, operations, permissions (16 bits at 24), level, flags, argument. */
const PARAMETER_BYTES = 40;
const PERMISSIONS_OFFSET = 24;

/** Permissions in sysfs (0 for none) of each parameter in `__param`, by its name. @throws ElfError */
export function readParameterPermissions(elf: ElfFile): Map<string, number> {
  const permissions = new Map<string, number>();
  const section = elf.section("__param");
  if (section === null) return permissions;
  const { data } = section;
  const pointers = new RelocatedPointers(elf, section);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at + PARAMETER_BYTES <= data.length; at += PARAMETER_BYTES) {
    const name = pointers.text(at);
    if (name !== null) permissions.set(name, view.getUint16(at + PERMISSIONS_OFFSET, true));
  }
  return permissions;
}
