import { UnsupportedError } from "../util/errors.js";
import { ElfFile } from "./elf.js";
import { ElfError } from "./elf-bytes.js";
import { ElfType, SymbolBinding } from "./elf-constants.js";
import type { ElfSection } from "./elf-section.js";
import type { ElfSymbols } from "./elf-symbols.js";
import { type ModuleSignature, splitSignature } from "./kernel-module-signature.js";
import { type ModuleExport, readExports, readParameterPermissions } from "./kernel-module-tables.js";

const utf8 = new TextDecoder();

/** `struct modversion_info`: the checksum as an unsigned long, and the name. */
const VERSION_BYTES = 64;
const VERSION_NAME_OFFSET = 8;

export interface ModuleInfoEntry {
  readonly key: string;
  readonly value: string;
}

export interface ModuleParameter {
  readonly name: string;
  readonly description: string | null;
  /** As the module says it: `int`, `bool`, `array of int`, … */
  readonly type: string | null;
  /** Of its file in sysfs, 0 for none; null if `__param` does not have it. */
  readonly permissions: number | null;
}

/** A symbol that somebody else has to define. */
export interface ModuleImport {
  readonly name: string;
  /** Its number in the symbol table. */
  readonly symbol: number;
  /** It is 0 if nobody does. */
  readonly weak: boolean;
  /** Checksum of the prototype that the module was built for, null if it does not say. */
  readonly crc: number | null;
}

/** A Linux kernel module (.ko), with what its sections say about it. Nothing is copied. */
export class KernelModule {
  /** The whole of `.modinfo`, in its order. */
  readonly info: readonly ModuleInfoEntry[];
  /** `__versions`: CRCs of what it was built against, by name; `module_layout` among them. */
  readonly versions: ReadonlyMap<string, number>;
  readonly symbols: ElfSymbols;

  private constructor(
    readonly elf: ElfFile,
    readonly signature: ModuleSignature | null,
    info: ElfSection,
    symbols: ElfSymbols,
  ) {
    this.info = readInfo(info);
    this.symbols = symbols;
    this.versions = readVersions(elf);
  }

  /**
   * @param bytes the plain module, signed or not
   * @throws UnsupportedError if it is no module for x86-64
   * @throws ElfError (an InputError) if it is broken
   */
  static parse(bytes: Uint8Array, name: string): KernelModule {
    const { module, signature } = splitSignature(bytes, name);
    const elf = ElfFile.parse(module, name);
    const info = elf.section(".modinfo");
    const { symbols } = elf;
    if (elf.type !== ElfType.relocatable || info === null || symbols === null) {
      throw new UnsupportedError("no-module", `${name} is no kernel module: ${missing(elf, info)}`);
    }
    return new KernelModule(elf, signature, info, symbols);
  }

  /** The first value of this key of `.modinfo`. */
  get(key: string): string | null {
    return this.info.find((entry) => entry.key === key)?.value ?? null;
  }

  /** All values of this key, in their order. */
  all(key: string): string[] {
    return this.info.filter((entry) => entry.key === key).map((entry) => entry.value);
  }

  /** What the module calls itself, with underscores. */
  get name(): string | null {
    return this.get("name");
  }

  /** Modules that have to be loaded before. */
  get depends(): string[] {
    return (this.get("depends") ?? "").split(",").filter((name) => name !== "");
  }

  /** In modinfo's order, the one mentioned last first: compilers lay them out backwards. @throws ElfError */
  get parameters(): ModuleParameter[] {
    const descriptions = byParameter(this.all("parm"));
    const types = byParameter(this.all("parmtype"));
    const permissions = readParameterPermissions(this.elf);
    const mentioned = this.info
      .filter(({ key }) => key === "parm" || key === "parmtype")
      .map(({ value }) => splitAtColon(value)[0]);
    const names = [...new Set(mentioned)].reverse();
    return [...new Set([...names, ...permissions.keys()])].map((name) => ({
      name,
      description: descriptions.get(name) ?? null,
      type: types.get(name) ?? null,
      permissions: permissions.get(name) ?? null,
    }));
  }

  /** In the order of the symbol table. @throws ElfError */
  get imports(): ModuleImport[] {
    const imports: ModuleImport[] = [];
    for (const symbol of this.symbols.undefined()) {
      const name = this.symbols.name(symbol);
      const weak = this.symbols.binding(symbol) === SymbolBinding.weak;
      imports.push({ name, symbol, weak, crc: this.versions.get(name) ?? null });
    }
    return imports;
  }

  /** What other modules may use. @throws ElfError */
  get exports(): ModuleExport[] {
    return readExports(this.elf);
  }

  /** `init_module`, -1 if there is nothing to be called. */
  get init(): number {
    return this.#function("init_module");
  }

  /** `cleanup_module`, -1 if it cannot be unloaded, or need not be asked. */
  get exit(): number {
    return this.#function("cleanup_module");
  }

  /** Its `struct module`, as far as the build fills it in. */
  get descriptor(): ElfSection | null {
    return this.elf.section(".gnu.linkonce.this_module");
  }

  #function(name: string): number {
    const symbol = this.symbols.find(name);
    return symbol >= 0 && this.symbols.isUndefined(symbol) ? -1 : symbol;
  }
}

function missing(elf: ElfFile, info: ElfSection | null): string {
  if (elf.type !== ElfType.relocatable) return "it is already linked";
  return info === null ? "it has no section .modinfo" : "it has no symbols";
}

/** NUL-terminated `key=value`, with more NULs where they were aligned. */
function readInfo(section: ElfSection): ModuleInfoEntry[] {
  const entries: ModuleInfoEntry[] = [];
  const { data } = section;
  for (let start = 0; start < data.length; ) {
    const found = data.indexOf(0, start);
    const end = found < 0 ? data.length : found;
    const equals = data.subarray(start, end).indexOf(0x3d);
    if (equals > 0) {
      const key = utf8.decode(data.subarray(start, start + equals));
      entries.push({ key, value: utf8.decode(data.subarray(start + equals + 1, end)) });
    }
    start = end + 1;
  }
  return entries;
}

function readVersions(elf: ElfFile): Map<string, number> {
  const versions = new Map<string, number>();
  const section = elf.section("__versions");
  if (section === null) return versions;
  const { data } = section;
  if (data.length % VERSION_BYTES !== 0) {
    throw new ElfError(
      elf.name,
      section.headerOffset + 32,
      "module-versions",
      `${data.length} bytes of __versions; an entry has ${VERSION_BYTES}`,
    );
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < data.length; at += VERSION_BYTES) {
    const name = data.subarray(at + VERSION_NAME_OFFSET, at + VERSION_BYTES);
    const end = name.indexOf(0);
    if (end < 0) {
      throw new ElfError(elf.name, section.offset + at, "module-versions", "a name in __versions has no end");
    }
    versions.set(utf8.decode(name.subarray(0, end)), view.getUint32(at, true));
  }
  return versions;
}

function byParameter(values: readonly string[]): Map<string, string> {
  return new Map(values.map(splitAtColon));
}

function splitAtColon(value: string): [string, string] {
  const colon = value.indexOf(":");
  return colon < 0 ? [value, ""] : [value.slice(0, colon), value.slice(colon + 1)];
}
