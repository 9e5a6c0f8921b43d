// Numbers of the ELF gABI and of the System V psABI for x86-64.

export const ELF_MAGIC = 0x464c457f;
export const HEADER_BYTES = 64;
export const SECTION_HEADER_BYTES = 64;
export const PROGRAM_HEADER_BYTES = 56;
export const SYMBOL_BYTES = 24;
export const RELA_BYTES = 24;

export const CLASS_64 = 2;
export const DATA_LITTLE_ENDIAN = 1;
export const VERSION_CURRENT = 1;
export const MACHINE_X86_64 = 62;
/** e_phnum of a file with more segments than 16 bits can say. */
export const PN_XNUM = 0xffff;

export const ElfType = { relocatable: 1, executable: 2, dynamic: 3, core: 4 } as const;

/** e_machine of what people are likely to give. */
// biome-ignore format: a table
export const MACHINE_NAMES: Readonly<Record<number, string>> = {
  2:   "SPARC",
  3:   "i386",
  8:   "MIPS",
  20:  "PowerPC",
  21:  "PowerPC64",
  22:  "S/390",
  40:  "ARM",
  43:  "SPARC64",
  50:  "IA-64",
  183: "AArch64",
  243: "RISC-V",
  247: "BPF",
  258: "LoongArch",
};

// biome-ignore format: a table
export const SectionType = {
  null:          0,
  programBits:   1,
  symbols:       2,
  strings:       3,
  rela:          4,
  noBits:        8,
  rel:           9,
  dynamicSymbols: 11,
  symbolSections: 18,
} as const;

/** sh_flags. */
export const SectionFlag = { write: 1, allocated: 2, executable: 4, compressed: 0x800 } as const;

/** Values of st_shndx that are no section. */
export const SectionNumber = {
  undefined: 0,
  reserved: 0xff00,
  absolute: 0xfff1,
  common: 0xfff2,
  extended: 0xffff,
} as const;

export const SegmentType = { load: 1, dynamic: 2, interpreter: 3, note: 4, tls: 7 } as const;

/** p_flags. */
export const SegmentFlag = { execute: 1, write: 2, read: 4 } as const;

export const SymbolBinding = { local: 0, global: 1, weak: 2, unique: 10 } as const;

// biome-ignore format: a table
export const SymbolType = {
  none:             0,
  object:           1,
  function:         2,
  section:          3,
  file:             4,
  common:           5,
  tls:              6,
  indirectFunction: 10,
} as const;
