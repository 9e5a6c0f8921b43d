import type { GuestAddress } from "../util/guest-address.js";

/** Numbers of the general registers, as instructions encode them. */
export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;
export const GENERAL_REGISTERS = 16;

export type Width = 1 | 2 | 4 | 8;

/** A general register, or a part of one; `high` is bits 8 to 15 (AH, CH, DH, BH). */
export interface RegisterOperand {
  readonly kind: "register";
  readonly register: number;
  readonly width: Width;
  readonly high: boolean;
}

/** XMM0 to XMM15. */
export interface VectorOperand {
  readonly kind: "vector";
  readonly register: number;
}

export interface ImmediateOperand {
  readonly kind: "immediate";
  /** Sign-extended to 64 bits, as the instruction extends it. */
  readonly value: bigint;
}

export interface MemoryOperand {
  readonly kind: "memory";
  /** The number of a general register, -1 for none. RIP-relative operands have none: the sum is in `displacement`. */
  readonly base: number;
  readonly index: number;
  readonly scale: 1 | 2 | 4 | 8;
  /** Signed. */
  readonly displacement: bigint;
  readonly segment: "none" | "fs" | "gs";
  /** The sum is cut to 32 bits (prefix 0x67). */
  readonly short: boolean;
  /** How many bytes are accessed; 0 where the instruction does not say (lea, fxsave, …). */
  readonly bytes: number;
}

export interface BranchOperand {
  readonly kind: "branch";
  readonly target: GuestAddress;
}

/** Control, debug, segment, x87 and wider vector registers, far pointers, …: `text` names it. */
export interface SpecialOperand {
  readonly kind: "special";
  readonly text: string;
}

export type Operand =
  | RegisterOperand
  | VectorOperand
  | ImmediateOperand
  | MemoryOperand
  | BranchOperand
  | SpecialOperand;

/** Conditions in the order of their encoding: the low bit negates. */
export const CONDITIONS = [
  "o",
  "no",
  "b",
  "ae",
  "e",
  "ne",
  "be",
  "a",
  "s",
  "ns",
  "p",
  "np",
  "l",
  "ge",
  "le",
  "g",
] as const;
export type ConditionCode = (typeof CONDITIONS)[number];

/** One decoded instruction. */
export interface Instruction {
  readonly address: GuestAddress;
  readonly length: number;
  /** Lower case and without suffixes, as the decoder names it: `add`, `movsx`, `movsq`, `cmovne` is `cmovne`. */
  readonly mnemonic: string;
  readonly operands: readonly Operand[];
  readonly rep: boolean;
  readonly repne: boolean;
  readonly lock: boolean;
  /** Of jcc, setcc, cmovcc. */
  readonly condition: ConditionCode | null;
  /** Bytes of an access that no operand tells (string instructions, push of an immediate): what the mnemonic says. */
  readonly text: () => string;
}

export const nextAddress = (instruction: Instruction): GuestAddress =>
  (instruction.address + instruction.length) as GuestAddress;
