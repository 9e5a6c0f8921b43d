import type { Command } from "commander";
import { ElfFile } from "../formats/elf.js";
import { ElfType, SymbolBinding, SymbolType } from "../formats/elf-constants.js";
import type { ElfSymbols } from "../formats/elf-symbols.js";
import { KernelModule } from "../formats/kernel-module.js";
import type { KernelPackage } from "../linux/kernel-package.js";
import { imageExports } from "../linux/kernel-package-exports.js";
import { isMismatch, type ResolvedImport, resolveImports } from "../linux/kernel-package-imports.js";
import { seamSubjects } from "../linux/seams/index.js";
import { hex } from "../util/bytes.js";
import { UnsupportedError } from "../util/errors.js";
import { formatGuestAddress } from "../util/guest-address.js";
import { KERNEL_HELP, KERNEL_OPTION, type ObjectFile, objectFile } from "./kernel-module.js";
import { stdout } from "./output.js";
import { printable } from "./printable.js";

interface Import {
  readonly name: string;
  readonly weak: boolean;
  readonly crc: string | null;
  /** Only if there is a kernel to look it up in. */
  readonly resolution?: Resolution;
}

interface Resolution {
  readonly kind: ResolvedImport["kind"];
  /** `vmlinux`, or the module that exports it. */
  readonly from: string | null;
  readonly exportedCrc: string | null;
  /** The kernel would refuse it: the checksums differ. */
  readonly mismatch: boolean;
}

interface Export {
  readonly name: string;
  readonly gplOnly: boolean;
  readonly namespace: string;
  readonly crc: string | null;
}

interface FunctionRow {
  readonly name: string;
  readonly section: string;
  /** In an object or a module from the start of its section, else its address. */
  readonly address: string;
  readonly size: number;
  readonly binding: string;
}

interface SymbolsDocument {
  readonly file: string;
  /** The release of the kernel that imports were looked up in, if there is one. */
  readonly kernel?: string;
  readonly kind: "module" | "object" | "executable" | "dynamic";
  readonly imports: readonly Import[];
  readonly exports: readonly Export[];
  readonly functions: readonly FunctionRow[];
  /** How many there are of each type. */
  readonly relocations: Readonly<Record<string, number>>;
}

// biome-ignore format: a table
const BINDING_NAMES: Readonly<Record<number, string>> = {
  [SymbolBinding.local]: "local", [SymbolBinding.global]: "global", [SymbolBinding.weak]: "weak",
  [SymbolBinding.unique]: "unique",
};

export function addSymbols(program: Command): void {
  program
    .command("symbols")
    .description("List what a module or an object imports, exports and defines, and who has what it imports.")
    .argument(
      "<object>",
      "x86-64 .ko (plain or compressed), .o or executable, - for standard input, or the name of a module of the kernel",
    )
    .option(KERNEL_OPTION, `${KERNEL_HELP}; says where a module's imports come from`)
    .option("--json", "print one JSON document: {file, kernel, kind, imports, exports, functions, relocations}")
    .action(async (given: string, options: { kernel?: string; json?: true }) => {
      const found = symbolsOf(await objectFile(given, options.kernel));
      stdout(options.json === true ? `${JSON.stringify(found)}\n` : text(found));
    });
}

function symbolsOf({ bytes, name, kernel }: ObjectFile): SymbolsDocument {
  const elf = ElfFile.parse(bytes, name);
  const { symbols } = elf;
  if (symbols === null) {
    throw new UnsupportedError(
      "no-symbols",
      `${name} has no symbols: they were stripped; give the file as it was built`,
    );
  }
  const module = isModule(elf) ? KernelModule.parse(bytes, name) : null;
  const resolved = module === null || kernel === null ? null : resolvedImports(kernel, module);
  return {
    file: name,
    ...(kernel === null ? {} : { kernel: kernel.release }),
    kind: module === null ? kindOf(elf) : "module",
    imports: importsOf(symbols, module, resolved),
    exports: (module?.exports ?? []).map(({ name, gplOnly, namespace, crc }) => {
      return { name, gplOnly, namespace, crc: crcText(crc) };
    }),
    functions: functionsOf(elf, symbols),
    relocations: relocationCounts(elf),
  };
}

function resolvedImports(kernel: KernelPackage, module: KernelModule): Map<string, ResolvedImport> {
  const image = imageExports(kernel.vmlinux(), `the image of ${kernel.name}`);
  const subjects = seamSubjects();
  const seamFor = (symbol: string): { name: string } | undefined => {
    const name = subjects.get(symbol);
    return name === undefined ? undefined : { name };
  };
  return new Map(resolveImports(kernel, image, module, seamFor).map((one) => [one.name, one]));
}

function isModule(elf: ElfFile): boolean {
  return elf.type === ElfType.relocatable && elf.section(".modinfo") !== null;
}

function kindOf(elf: ElfFile): "object" | "executable" | "dynamic" {
  if (elf.type === ElfType.relocatable) return "object";
  return elf.type === ElfType.executable ? "executable" : "dynamic";
}

function importsOf(
  symbols: ElfSymbols,
  module: KernelModule | null,
  resolved: ReadonlyMap<string, ResolvedImport> | null,
): Import[] {
  const imports: Import[] = [];
  for (const symbol of symbols.undefined()) {
    const name = symbols.name(symbol);
    const weak = symbols.binding(symbol) === SymbolBinding.weak;
    const found = resolved?.get(name);
    imports.push({
      name,
      weak,
      crc: crcText(module?.versions.get(name) ?? null),
      ...(found === undefined ? {} : { resolution: resolutionOf(found) }),
    });
  }
  return imports;
}

function resolutionOf(found: ResolvedImport): Resolution {
  const { kind, from, exportedCrc } = found;
  return { kind, from, exportedCrc: crcText(exportedCrc), mismatch: isMismatch(found) };
}

function crcText(crc: number | null): string | null {
  return crc === null ? null : hex(crc, 8);
}

function functionsOf(elf: ElfFile, symbols: ElfSymbols): FunctionRow[] {
  const functions: FunctionRow[] = [];
  for (const symbol of symbols.ordered) {
    const type = symbols.type(symbol);
    if (type !== SymbolType.function && type !== SymbolType.indirectFunction) continue;
    functions.push({
      name: symbols.name(symbol),
      section: elf.sections[symbols.section(symbol)].name,
      address: formatGuestAddress(symbols.value(symbol)),
      size: symbols.size(symbol),
      binding: BINDING_NAMES[symbols.binding(symbol)] ?? String(symbols.binding(symbol)),
    });
  }
  return functions;
}

function relocationCounts(elf: ElfFile): Record<string, number> {
  const counts = new Map<string, number>();
  for (const list of elf.relocations()) {
    for (let i = 0; i < list.count; i++) {
      const type = list.typeName(i);
      counts.set(type, (counts.get(type) ?? 0) + 1);
    }
  }
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

/** `: 90 own, 4 seam, 1 missing; 2 of another checksum` */
function summary(imports: readonly Import[]): string {
  const counts = new Map<string, number>();
  let mismatches = 0;
  for (const { resolution } of imports) {
    if (resolution === undefined) continue;
    counts.set(resolution.kind, (counts.get(resolution.kind) ?? 0) + 1);
    if (resolution.mismatch) mismatches++;
  }
  if (counts.size === 0) return "";
  const parts = [...counts].map(([kind, count]) => `${count} ${kind}`).join(", ");
  return `: ${parts}${mismatches === 0 ? "" : `; ${mismatches} of another checksum`}`;
}

function where(resolution: Resolution | undefined): string {
  if (resolution === undefined) return "";
  const { kind, from, exportedCrc, mismatch } = resolution;
  const what = mismatch ? `${from ?? ""} has ${exportedCrc ?? ""}` : (from ?? "");
  return `${kind.padEnd(9)}${what.padEnd(20)}  `;
}

function text({ imports, exports, functions, relocations }: SymbolsDocument): string {
  const lines = [`${imports.length} imported${summary(imports)}`];
  for (const { name, weak, crc, resolution } of imports) {
    lines.push(`  ${(crc ?? "").padEnd(12)}${where(resolution)}${name}${weak ? " (may be missing)" : ""}`);
  }
  lines.push(`${exports.length} exported`);
  for (const { name, gplOnly, namespace, crc } of exports) {
    const notes = [...(gplOnly ? ["GPL"] : []), ...(namespace === "" ? [] : [`namespace ${namespace}`])];
    lines.push(`  ${(crc ?? "").padEnd(12)}${name}${notes.length === 0 ? "" : ` (${notes.join(", ")})`}`);
  }
  lines.push(`${functions.length} functions`);
  for (const { name, section, address, size, binding } of functions) {
    lines.push(`  ${address}${String(size).padStart(8)}  ${binding.padEnd(8)}${section}  ${name}`);
  }
  const total = Object.values(relocations).reduce((sum, count) => sum + count, 0);
  lines.push(`${total} relocations`);
  for (const [type, count] of Object.entries(relocations)) lines.push(`  ${String(count).padStart(8)}  ${type}`);
  return lines
    .map(
      (line) => `${printable(line)}
`,
    )
    .join("");
}
