/** Where an operand is encoded, and what it can be. */
export interface Slot {
  readonly place: "rm" | "reg" | "opcode" | "vvvv" | "immediate" | "moffs" | "branch" | "fixed";
  readonly kind: "gpr" | "xmm" | "memory" | "immediate";
  /** Of a register, or of an immediate as encoded. */
  readonly bytes: number;
  /** `rm` only: may be a register, may be memory. */
  readonly register: boolean;
  readonly memory: boolean;
  /** The number of a register that is always the same, else -1. */
  readonly fixed: number;
  readonly reads: boolean;
  readonly writes: boolean;
}

/** One encoding of an instruction, as one `Code` of iced. */
export interface Form {
  /** As iced names it: `Add_rm8_imm8`. */
  readonly name: string;
  readonly mnemonic: string;
  /** Features as Linux names them, all needed. */
  readonly needs: readonly string[];
  readonly vex: boolean;
  /** 0, 0x66, 0xf3 or 0xf2. */
  readonly mandatoryPrefix: number;
  readonly operandSizePrefix: boolean;
  readonly addressSizePrefix: boolean;
  readonly rexW: boolean;
  /** With 0x0f, 0x38 and 0x3a; of VEX without. */
  readonly opcode: readonly number[];
  /** Of VEX: 1 (0f), 2 (0f38) or 3 (0f3a). */
  readonly map: number;
  readonly modrm: boolean;
  /** The opcode extension in ModRM.reg, -1 for none. */
  readonly extension: number;
  readonly slots: readonly Slot[];
  /** Bytes of the memory operand, string and stack operands too; 0 where there is none or none is accessed. */
  readonly memoryBytes: number;
  /** A memory operand must be aligned by its size. */
  readonly aligned: boolean;
  readonly lockable: boolean;
  readonly string: boolean;
  readonly repeats: "no" | "rep" | "repe-repne";
  /** Masks of general registers beyond the operands. */
  readonly implicitReads: number;
  readonly implicitWrites: number;
  /** Masks of flags, numbered as in the intermediate representation: OF, SF, ZF, AF, CF, PF from bit 0. */
  readonly flagsRead: number;
  readonly flagsDefined: number;
  readonly flagsUndefined: number;
  readonly vector: boolean;
  /** It is a jump, call or return, which snippets build on purpose. */
  readonly control: boolean;
}

/** A memory operand as encoded. */
export interface Addressing {
  readonly segment: "none" | "fs" | "gs";
  readonly short: boolean;
  /** A general register, -1: none, -2: RIP. */
  readonly base: number;
  readonly index: number;
  readonly scale: 1 | 2 | 4 | 8;
  /** 32 bits, signed; of moffs 64 bits; of RIP-relative operands the target. */
  readonly displacement: bigint;
  readonly displacementBytes: 0 | 1 | 4;
}

/** General registers 16 to 19 are AH, CH, DH and BH. */
export const HIGH_BYTES = 16;

/** What fills a form's slots. */
export interface Chosen {
  /** Numbers of registers and values of immediates, slot by slot; memory is in `addressing`. */
  readonly values: readonly (number | bigint)[];
  readonly addressing: Addressing | null;
  readonly lock: boolean;
  /** 0xf3, 0xf2 or 0. */
  readonly repeat: number;
  /** Prefixes without meaning that precede all others. */
  readonly idle: readonly number[];
  /** A REX prefix though none is needed. */
  readonly idleRex: boolean;
}
