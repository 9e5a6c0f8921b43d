/** Kernel modules and images of no more than their tables: enough for all that reads them and does not run them. */

const HEADER = 64;
const SECTION_HEADER = 64;
const SYMBOL = 24;
const RELA = 24;
const R_X86_64_PC32 = 2;
const PROGBITS = 1;
const SYMTAB = 2;
const STRTAB = 3;
const RELA_TYPE = 4;
const ALLOCATED = 2;
/** Where images lie. */
const IMAGE_BASE = 0xffffffff81000000n;

interface Section {
  readonly name: string;
  readonly type: number;
  readonly data: Uint8Array;
  readonly flags?: number;
  readonly address?: bigint;
  readonly link?: number;
  readonly info?: number;
  readonly entrySize?: number;
}

export interface WrittenExport {
  readonly name: string;
  readonly crc?: number;
  readonly namespace?: string;
}

export interface WrittenModule {
  /** `key=value` */
  readonly info: readonly string[];
  readonly imports?: readonly { readonly name: string; readonly crc?: number; readonly weak?: boolean }[];
  readonly exports?: readonly WrittenExport[];
}

/** A .ko. */
export function moduleOf({ info, imports = [], exports = [] }: WrittenModule): Uint8Array {
  const names = new Strings();
  const exported = new Strings();
  const symbols = new Uint8Array(SYMBOL * (2 + exports.length + imports.length));
  const view = new DataView(symbols.buffer);
  const symbol = (index: number, name: number, kind: number, section: number) => {
    view.setUint32(SYMBOL * index, name, true);
    view.setUint8(SYMBOL * index + 4, kind);
    view.setUint16(SYMBOL * index + 6, section, true);
  };
  symbol(1, 0, 0x03, 3);
  for (const [i, { name }] of exports.entries()) symbol(2 + i, names.add(name), 0x12, 1);
  for (const [i, { name, weak }] of imports.entries()) {
    symbol(2 + exports.length + i, names.add(name), weak === true ? 0x20 : 0x10, 0);
  }
  const relocations = exports.flatMap(({ name, namespace = "" }, i) => [
    { at: 12 * i, symbol: 2 + i, addend: 0 },
    { at: 12 * i + 4, symbol: 1, addend: exported.add(name) },
    { at: 12 * i + 8, symbol: 1, addend: exported.add(namespace) },
  ]);
  return elfOf(1, [
    { name: ".text", type: PROGBITS, flags: ALLOCATED | 4, data: new Uint8Array(16) },
    { name: ".modinfo", type: PROGBITS, flags: ALLOCATED, data: text(info.map((entry) => `${entry}\0`).join("")) },
    { name: "__ksymtab_strings", type: PROGBITS, flags: ALLOCATED, data: exported.bytes },
    { name: "__ksymtab", type: PROGBITS, flags: ALLOCATED, data: new Uint8Array(12 * exports.length) },
    { name: "__kcrctab", type: PROGBITS, flags: ALLOCATED, data: checksums(exports) },
    { name: "__versions", type: PROGBITS, flags: ALLOCATED, data: versions(imports) },
    { name: ".strtab", type: STRTAB, data: names.bytes },
    { name: ".symtab", type: SYMTAB, data: symbols, link: 7, info: 2, entrySize: SYMBOL },
    { name: ".rela__ksymtab", type: RELA_TYPE, data: relas(relocations), link: 8, info: 4, entrySize: RELA },
  ]);
}

/** A vmlinux that exports what it is told to, and says who it is. */
export function imageOf(release: string, exports: readonly WrittenExport[]): Uint8Array {
  const strings = new Strings();
  const rows = exports.map(({ name, namespace }) => [strings.add(name), namespace ? strings.add(namespace) : -1]);
  const at = 0x1000;
  const table = new Uint8Array(12 * exports.length);
  const view = new DataView(table.buffer);
  for (const [i, [name, namespace]] of rows.entries()) {
    view.setInt32(12 * i + 4, name - at - (12 * i + 4), true);
    if (namespace >= 0) view.setInt32(12 * i + 8, namespace - at - (12 * i + 8), true);
  }
  const section = { type: PROGBITS, flags: ALLOCATED };
  return elfOf(2, [
    { name: "__ksymtab_strings", ...section, data: strings.bytes, address: IMAGE_BASE },
    { name: "__ksymtab", ...section, data: table, address: IMAGE_BASE + BigInt(at) },
    { name: "__kcrctab", ...section, data: checksums(exports), address: IMAGE_BASE + 0x2000n },
    {
      name: ".rodata",
      ...section,
      data: text(`Linux version ${release} (nobody) #1 SMP\n\0`),
      address: IMAGE_BASE + 0x3000n,
    },
  ]);
}

function elfOf(type: number, given: readonly Section[]): Uint8Array {
  const names = new Strings();
  const offsets = given.map(({ name }) => names.add(name));
  const nameOfNames = names.add(".shstrtab");
  const sections = [...given, { name: ".shstrtab", type: STRTAB, data: names.bytes }];
  let at = HEADER;
  const places = sections.map(({ data }) => {
    const start = at;
    at += Math.ceil(data.length / 8) * 8;
    return start;
  });
  const bytes = new Uint8Array(at + SECTION_HEADER * (sections.length + 1));
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(40, BigInt(at), true);
  view.setUint16(52, HEADER, true);
  view.setUint16(54, 56, true);
  view.setUint16(58, SECTION_HEADER, true);
  view.setUint16(60, sections.length + 1, true);
  view.setUint16(62, sections.length, true);
  for (const [i, section] of sections.entries()) {
    bytes.set(section.data, places[i]);
    const header = at + SECTION_HEADER * (i + 1);
    view.setUint32(header, offsets[i] ?? nameOfNames, true);
    view.setUint32(header + 4, section.type, true);
    view.setBigUint64(header + 8, BigInt(section.flags ?? 0), true);
    view.setBigUint64(header + 16, section.address ?? 0n, true);
    view.setBigUint64(header + 24, BigInt(places[i]), true);
    view.setBigUint64(header + 32, BigInt(section.data.length), true);
    view.setUint32(header + 40, section.link ?? 0, true);
    view.setUint32(header + 44, section.info ?? 0, true);
    view.setBigUint64(header + 48, 8n, true);
    view.setBigUint64(header + 56, BigInt(section.entrySize ?? 0), true);
  }
  return bytes;
}

function checksums(exports: readonly WrittenExport[]): Uint8Array {
  const bytes = new Uint8Array(4 * exports.length);
  for (const [i, { crc = 0 }] of exports.entries()) new DataView(bytes.buffer).setUint32(4 * i, crc, true);
  return bytes;
}

/** `struct modversion_info` */
function versions(imports: NonNullable<WrittenModule["imports"]>): Uint8Array {
  const known = imports.filter(({ crc }) => crc !== undefined);
  const bytes = new Uint8Array(64 * known.length);
  for (const [i, { name, crc = 0 }] of known.entries()) {
    new DataView(bytes.buffer).setUint32(64 * i, crc, true);
    bytes.set(text(name), 64 * i + 8);
  }
  return bytes;
}

function relas(relocations: readonly { at: number; symbol: number; addend: number }[]): Uint8Array {
  const bytes = new Uint8Array(RELA * relocations.length);
  const view = new DataView(bytes.buffer);
  for (const [i, { at, symbol, addend }] of relocations.entries()) {
    view.setBigUint64(RELA * i, BigInt(at), true);
    view.setBigUint64(RELA * i + 8, (BigInt(symbol) << 32n) | BigInt(R_X86_64_PC32), true);
    view.setBigInt64(RELA * i + 16, BigInt(addend), true);
  }
  return bytes;
}

/** A string table: the empty one first. */
class Strings {
  #text = "\0";

  add(name: string): number {
    if (name === "") return 0;
    const at = this.#text.length;
    this.#text += `${name}\0`;
    return at;
  }

  get bytes(): Uint8Array {
    return text(this.#text);
  }
}

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}
