// Relocation types of x86-64: System V psABI, table 4.9.

const NAMES: readonly (string | undefined)[] = [
  "NONE",
  "64",
  "PC32",
  "GOT32",
  "PLT32",
  "COPY",
  "GLOB_DAT",
  "JUMP_SLOT",
  "RELATIVE",
  "GOTPCREL",
  "32",
  "32S",
  "16",
  "PC16",
  "8",
  "PC8",
  "DTPMOD64",
  "DTPOFF64",
  "TPOFF64",
  "TLSGD",
  "TLSLD",
  "DTPOFF32",
  "GOTTPOFF",
  "TPOFF32",
  "PC64",
  "GOTOFF64",
  "GOTPC32",
  "GOT64",
  "GOTPCREL64",
  "GOTPC64",
  "GOTPLT64",
  "PLTOFF64",
  "SIZE32",
  "SIZE64",
  "GOTPC32_TLSDESC",
  "TLSDESC_CALL",
  "TLSDESC",
  "IRELATIVE",
  "RELATIVE64",
  undefined,
  undefined,
  "GOTPCRELX",
  "REX_GOTPCRELX",
];

/** `R_X86_64_PC32`, or the number of a type that has no name. */
export function relocationTypeName(type: number): string {
  const name = NAMES[type];
  return name === undefined ? `relocation type ${type}` : `R_X86_64_${name}`;
}

/**
 * What a relocation's value is made of, in the psABI's letters; the addend A is added to all. `slot` is a symbol's entry of
 * the global offset table.
 */
export type RelocationTarget =
  /** S */
  | "symbol"
  /** B, and no symbol */
  | "base"
  /** G + GOT */
  | "slot"
  /** G */
  | "slot-offset"
  /** S - GOT */
  | "symbol-offset"
  /** GOT */
  | "table";

export interface RelocationRule {
  readonly bytes: 4 | 8;
  readonly target: RelocationTarget;
  /** P is subtracted. */
  readonly relative: boolean;
  readonly lowest: number;
  readonly highest: number;
}

export const R_X86_64_NONE = 0;
export const R_X86_64_64 = 1;
export const R_X86_64_PC32 = 2;
export const R_X86_64_PLT32 = 4;
export const R_X86_64_IRELATIVE = 37;
const EXACT = Number.MAX_SAFE_INTEGER;
const INT32 = 2 ** 31;

/** There is one copy of everything, so PLT32 is PC32, and what is to be bound when first called is bound at once. */
// biome-ignore format: a table
export const RELOCATION_RULES: Readonly<Record<number, RelocationRule>> = {
  1:  { bytes: 8, target: "symbol",        relative: false, lowest: -EXACT, highest: EXACT },
  2:  { bytes: 4, target: "symbol",        relative: true,  lowest: -INT32, highest: INT32 - 1 },
  3:  { bytes: 4, target: "slot-offset",   relative: false, lowest: -INT32, highest: INT32 - 1 },
  4:  { bytes: 4, target: "symbol",        relative: true,  lowest: -INT32, highest: INT32 - 1 },
  6:  { bytes: 8, target: "symbol",        relative: false, lowest: -EXACT, highest: EXACT },
  7:  { bytes: 8, target: "symbol",        relative: false, lowest: -EXACT, highest: EXACT },
  8:  { bytes: 8, target: "base",          relative: false, lowest: -EXACT, highest: EXACT },
  9:  { bytes: 4, target: "slot",          relative: true,  lowest: -INT32, highest: INT32 - 1 },
  10: { bytes: 4, target: "symbol",        relative: false, lowest: 0,      highest: 2 * INT32 - 1 },
  11: { bytes: 4, target: "symbol",        relative: false, lowest: -INT32, highest: INT32 - 1 },
  24: { bytes: 8, target: "symbol",        relative: true,  lowest: -EXACT, highest: EXACT },
  25: { bytes: 8, target: "symbol-offset", relative: false, lowest: -EXACT, highest: EXACT },
  26: { bytes: 4, target: "table",         relative: true,  lowest: -INT32, highest: INT32 - 1 },
  27: { bytes: 8, target: "slot-offset",   relative: false, lowest: -EXACT, highest: EXACT },
  28: { bytes: 8, target: "slot",          relative: true,  lowest: -EXACT, highest: EXACT },
  29: { bytes: 8, target: "table",         relative: true,  lowest: -EXACT, highest: EXACT },
  30: { bytes: 8, target: "slot-offset",   relative: false, lowest: -EXACT, highest: EXACT },
  31: { bytes: 8, target: "symbol-offset", relative: false, lowest: -EXACT, highest: EXACT },
  41: { bytes: 4, target: "slot",          relative: true,  lowest: -INT32, highest: INT32 - 1 },
  42: { bytes: 4, target: "slot",          relative: true,  lowest: -INT32, highest: INT32 - 1 },
};

/** The relocation has a place in the global offset table. */
export function needsSlot(type: number): boolean {
  const target = RELOCATION_RULES[type]?.target;
  return target === "slot" || target === "slot-offset";
}

/** What to do about a type that cannot be applied; more than its name is said of those that compilers make by default. */
export function refusalAdvice(type: number): string {
  const name = NAMES[type] ?? "";
  if (/TLS|DTP|TPOFF/.test(name)) return "thread-local variables are not supported";
  if (/GOT|PLTOFF/.test(name)) return "there is no global offset table here: compile with -fno-pic";
  if (/COPY|GLOB_DAT|JUMP_SLOT|RELATIVE/.test(name))
    return "it is for a dynamic loader: link statically, or give the object";
  return "it does not occur in kernel modules";
}
