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

/** How a relocation is computed (S + A, or S + A - P) and stored. */
export interface RelocationRule {
  readonly bytes: 4 | 8;
  readonly relative: boolean;
  readonly lowest: number;
  readonly highest: number;
}

export const R_X86_64_NONE = 0;

const EXACT = Number.MAX_SAFE_INTEGER;
const INT32 = 2 ** 31;

/** What kernel modules and freestanding objects are made of. There is one copy of everything, so PLT32 is PC32. */
// biome-ignore format: a table
export const RELOCATION_RULES: Readonly<Record<number, RelocationRule>> = {
  1:  { bytes: 8, relative: false, lowest: -EXACT, highest: EXACT },
  2:  { bytes: 4, relative: true,  lowest: -INT32, highest: INT32 - 1 },
  4:  { bytes: 4, relative: true,  lowest: -INT32, highest: INT32 - 1 },
  10: { bytes: 4, relative: false, lowest: 0,      highest: 2 * INT32 - 1 },
  11: { bytes: 4, relative: false, lowest: -INT32, highest: INT32 - 1 },
  24: { bytes: 8, relative: true,  lowest: -EXACT, highest: EXACT },
};

/** What to do about a type without a rule; more than its name is said of those that compilers make by default. */
export function refusalAdvice(type: number): string {
  const name = NAMES[type] ?? "";
  if (/TLS|DTP|TPOFF/.test(name)) return "thread-local variables are not supported";
  if (/GOT|PLTOFF/.test(name)) return "there is no global offset table here: compile with -fno-pic";
  if (/COPY|GLOB_DAT|JUMP_SLOT|RELATIVE/.test(name))
    return "it is for a dynamic loader: link statically, or give the object";
  return "it does not occur in kernel modules";
}
