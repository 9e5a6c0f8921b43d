import { ElfFile } from "../formats/elf.js";
import { ElfError } from "../formats/elf-bytes.js";
import type { ElfSection } from "../formats/elf-section.js";

/** struct kernel_symbol with place-relative references: value, name, namespace. */
const EXPORT_BYTES = 12;
const TABLES = [
  { table: "__ksymtab", checksums: "__kcrctab", gplOnly: false },
  { table: "__ksymtab_gpl", checksums: "__kcrctab_gpl", gplOnly: true },
] as const;

/** A symbol that modules may use. */
export interface ExportedSymbol {
  readonly name: string;
  readonly gplOnly: boolean;
  /** Empty for none. */
  readonly namespace: string;
  /** Checksum of its prototype, null without CONFIG_MODVERSIONS. */
  readonly crc: number | null;
}

/** What a linked image exports, by name. @throws ElfError */
export function imageExports(vmlinux: Uint8Array, name: string): Map<string, ExportedSymbol> {
  const elf = ElfFile.parse(vmlinux, name);
  const found = new Map<string, ExportedSymbol>();
  const strings = elf.section("__ksymtab_strings");
  if (strings === null) return found;
  for (const { table, checksums, gplOnly } of TABLES) {
    const section = elf.section(table);
    if (section === null) continue;
    const view = viewOf(section);
    const crcs = elf.section(checksums);
    const crcView = crcs === null ? null : viewOf(crcs);
    for (let i = 0; EXPORT_BYTES * (i + 1) <= view.byteLength; i++) {
      const at = EXPORT_BYTES * i;
      const text = (field: number) => {
        const offset = section.address + at + field + view.getInt32(at + field, true) - strings.address;
        if (offset >= 0 && offset < strings.size) return strings.text(offset);
        throw new ElfError(
          elf.name,
          section.offset + at + field,
          "image-exports",
          `${table} points beyond its strings`,
        );
      };
      const symbol = text(4);
      // A zero in place of the distance to a name: there is none.
      const namespace = view.getInt32(at + 8, true) === 0 ? "" : text(8);
      const crc = crcView !== null && 4 * i + 4 <= crcView.byteLength ? crcView.getUint32(4 * i, true) : null;
      found.set(symbol, { name: symbol, gplOnly, namespace, crc });
    }
  }
  return found;
}

function viewOf({ data }: ElfSection): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}
