import type { GuestAddress } from "../util/guest-address.js";
import type { ConditionCode } from "./instruction.js";
import type { PlainOperation } from "./wasm-opcodes.js";

/**
 * What an instruction does, in steps that a compiler, an evaluator and a printer all understand. Operations are those of
 * WebAssembly, so that emitting one is writing one byte.
 *
 * Order is meaning: steps run from first to last; a load or a store may fault, and then nothing after it has happened.
 * So lifters put every access that may fault before the first change of a register or flag.
 */
export type Type = "i32" | "i64" | "v128";

/** Bits of RFLAGS that arithmetic sets, one bit each in masks. */
export const OF = 1;
export const SF = 2;
export const ZF = 4;
export const AF = 8;
export const CF = 16;
export const PF = 32;
export const ARITHMETIC_FLAGS = 63;
export type Lane = typeof OF | typeof SF | typeof ZF | typeof AF | typeof CF | typeof PF;
export const LANES: readonly Lane[] = [OF, SF, ZF, AF, CF, PF];

/** A word of the processor's state that is no general register: see `cpu-state.ts`. */
export type Field = "fsBase" | "gsBase" | "df" | "if" | "systemFlags";

export type Expr =
  | { readonly kind: "i32"; readonly type: "i32"; readonly value: number }
  | { readonly kind: "i64"; readonly type: "i64"; readonly value: bigint }
  /** A general register: all of it, or its low 32 bits. */
  | { readonly kind: "reg"; readonly type: "i32" | "i64"; readonly register: number }
  /** All of XMM0 to XMM15. */
  | { readonly kind: "xmm"; readonly type: "v128"; readonly register: number }
  | { readonly kind: "tmp"; readonly type: Type; readonly index: number }
  | { readonly kind: "op"; readonly type: Type; readonly op: PlainOperation; readonly a: Expr; readonly b: Expr | null }
  /** An operation on vectors (`i32x4.add`), with the lane or shuffle that it encodes. */
  | {
      readonly kind: "vop";
      readonly type: Type;
      readonly op: string;
      readonly args: readonly Expr[];
      readonly immediate: readonly number[];
    }
  | { readonly kind: "select"; readonly type: "i32" | "i64"; readonly c: Expr; readonly a: Expr; readonly b: Expr }
  /** A flag, 0 or 1. */
  | { readonly kind: "lane"; readonly type: "i32"; readonly lane: Lane }
  /** A condition on the flags, 0 or 1. */
  | { readonly kind: "condition"; readonly type: "i32"; readonly code: ConditionCode }
  | { readonly kind: "field"; readonly type: "i64"; readonly field: Field }
  /** A function without effects that WebAssembly has no operation for: see `pure.ts`. */
  | { readonly kind: "pure"; readonly type: "i32" | "i64"; readonly name: PureName; readonly args: readonly Expr[] };

/**
 * mulhu, mulhs: the high half of the product of two i64. crc32c: (i32 crc, i64 data, i32 bytes) → i32.
 * pdep, pext: (i64 source, i64 mask) → i64. bswap64: i64 → i64.
 * divQuotientU, divRemainderU, divQuotientS, divRemainderS: (i64 high, i64 low, i64 divisor) → i64, of the 128-bit
 * dividend; the step before must have ruled out overflow and zero with divFitsU or divFitsS → i32 0 or 1.
 */
export type PureName =
  | "mulhu"
  | "mulhs"
  | "crc32c"
  | "pdep"
  | "pext"
  | "bswap64"
  | "divFitsU"
  | "divFitsS"
  | "divQuotientU"
  | "divRemainderU"
  | "divQuotientS"
  | "divRemainderS";

/**
 * A guest address, kept in parts so that checks of neighbouring accesses can be joined: [segment] base + index × scale +
 * displacement. `base` and `index` are of type i64 (registers or temporaries).
 */
export interface Address {
  readonly base: Expr | null;
  readonly index: Expr | null;
  readonly scale: 1 | 2 | 4 | 8;
  /** Signed. */
  readonly displacement: bigint;
  readonly segment: "none" | "fs" | "gs";
  /** The sum without the segment is cut to 32 bits and extended with zeroes. */
  readonly short: boolean;
}

/**
 * How a `flags` step sets flags from operands `a`, `b` and result `r` (i32 for 1, 2 and 4 bytes, i64 for 8):
 * add: r = a + b. adc: r = a + b + CF. sub: r = a - b. sbb: r = a - b - CF. logic: CF = OF = AF = 0, the rest from r.
 * inc, dec: like add and sub of 1, CF unchanged. result: SF, ZF, PF from r, the others unchanged.
 * Operands of 1 and 2 bytes are extended with zeroes, results too.
 */
export type FlagsOperation = "add" | "adc" | "sub" | "sbb" | "logic" | "inc" | "dec" | "result";

export interface Flags {
  readonly op: FlagsOperation;
  readonly bytes: 1 | 2 | 4 | 8;
  readonly a: Expr;
  readonly b: Expr;
  readonly r: Expr;
}

export type Bytes = 1 | 2 | 4 | 8 | 16;

/** Why a processor stops of its own accord. */
export type TrapName =
  | "divide-error"
  | "breakpoint"
  | "invalid-opcode"
  | "general-protection"
  | "bound-range"
  | "alignment";

export type Step =
  /** tmp[index] = value. A temporary lives until the end of the instruction and may be written again. */
  | { readonly kind: "let"; readonly index: number; readonly value: Expr }
  /**
   * tmp[index] = memory. Extended to `type` with zeroes, or with the sign. `forWrite`: a store of the same bytes follows,
   * and its check is to be made here.
   */
  | {
      readonly kind: "load";
      readonly index: number;
      readonly type: Type;
      readonly bytes: Bytes;
      readonly signed: boolean;
      readonly address: Address;
      readonly forWrite: boolean;
    }
  /** The low bytes of `value` (i32 or i64; v128 for 16). `checked`: a load of the same bytes `forWrite` came before. */
  | {
      readonly kind: "store";
      readonly bytes: Bytes;
      readonly address: Address;
      readonly value: Expr;
      readonly checked: boolean;
    }
  /** Asks whether `bytes` at `address` may be accessed, and faults as the access would. */
  | { readonly kind: "probe"; readonly bytes: Bytes; readonly address: Address; readonly write: boolean }
  /**
   * A register. width 8: value is i64. 4: value is i32, the high half becomes zero. 2, 1: value is i32, its low bytes
   * replace the register's; with `high` the second byte.
   */
  | {
      readonly kind: "set";
      readonly register: number;
      readonly width: 1 | 2 | 4 | 8;
      readonly high: boolean;
      readonly value: Expr;
    }
  | { readonly kind: "setXmm"; readonly register: number; readonly value: Expr }
  | { readonly kind: "flags"; readonly flags: Flags }
  /** One flag = value, 0 or 1. */
  | { readonly kind: "setLane"; readonly lane: Lane; readonly value: Expr }
  | { readonly kind: "setField"; readonly field: Field; readonly value: Expr }
  | {
      readonly kind: "if";
      readonly condition: Expr;
      readonly then: readonly Step[];
      readonly otherwise: readonly Step[];
    }
  /** Repeats until a `leave` inside it. Each turn costs fuel, and may end at its beginning with the state as it is. */
  | { readonly kind: "loop"; readonly body: readonly Step[] }
  /** Leaves the innermost loop. */
  | { readonly kind: "leave" }
  /** Stops with the registers as before the instruction. */
  | { readonly kind: "trap"; readonly trap: TrapName }
  /** An instruction that the runtime carries out (cpuid, rdmsr, in, …): all of it, registers included. Stands alone. */
  | { readonly kind: "system" }
  /** Not supported, only reported if executed. Stands alone. */
  | { readonly kind: "unsupported"; readonly why: string }
  // The end of a block; each is the last step of its instruction.
  | { readonly kind: "jump"; readonly target: GuestAddress }
  /** `taken` if the condition (i32) is not 0, else the next instruction. */
  | { readonly kind: "branch"; readonly condition: Expr; readonly taken: GuestAddress }
  | { readonly kind: "jumpIndirect"; readonly target: Expr }
  /** The return address has been pushed by a step before, RSP set. */
  | { readonly kind: "call"; readonly target: GuestAddress }
  | { readonly kind: "callIndirect"; readonly target: Expr }
  /** To the address that was popped (i64); RSP set. */
  | { readonly kind: "return"; readonly target: Expr };

export const i32 = (value: number): Expr => ({ kind: "i32", type: "i32", value: value | 0 });
export const i64 = (value: bigint): Expr => ({ kind: "i64", type: "i64", value: BigInt.asIntN(64, value) });
export const reg64 = (register: number): Expr => ({ kind: "reg", type: "i64", register });
export const reg32 = (register: number): Expr => ({ kind: "reg", type: "i32", register });
export const tmp = (index: number, type: Type): Expr => ({ kind: "tmp", type, index });
export const condition = (code: ConditionCode): Expr => ({ kind: "condition", type: "i32", code });
export const laneOf = (lane: Lane): Expr => ({ kind: "lane", type: "i32", lane });
export const select = (c: Expr, a: Expr, b: Expr): Expr => ({ kind: "select", type: a.type as "i32" | "i64", c, a, b });
export const field = (name: Field): Expr => ({ kind: "field", type: "i64", field: name });
export const pure = (name: PureName, type: "i32" | "i64", ...args: Expr[]): Expr => ({
  kind: "pure",
  type,
  name,
  args,
});
export const vop = (op: string, type: Type, args: readonly Expr[], immediate: readonly number[] = []): Expr => ({
  kind: "vop",
  type,
  op,
  args,
  immediate,
});

const RESULT_I32 = /\.(eqz?|ne|[lg][te]_[su])$|^i32\./;

/** The type that a plain operation leaves: comparisons of 64 bits leave 32. */
export function resultType(op: PlainOperation): "i32" | "i64" {
  return RESULT_TYPES.get(op) ?? remember(op);
}

const RESULT_TYPES = new Map<PlainOperation, "i32" | "i64">();

function remember(op: PlainOperation): "i32" | "i64" {
  const type = RESULT_I32.test(op) ? "i32" : "i64";
  RESULT_TYPES.set(op, type);
  return type;
}

export const op1 = (op: PlainOperation, a: Expr): Expr => ({ kind: "op", type: resultType(op), op, a, b: null });
export const op2 = (op: PlainOperation, a: Expr, b: Expr): Expr => ({ kind: "op", type: resultType(op), op, a, b });
/** `name` of the operation on operands of the type that `a` has: arith("add", a, b). */
export const arith = (name: string, a: Expr, b: Expr): Expr => op2(`${a.type}.${name}` as PlainOperation, a, b);
export const constant = (type: Type, value: bigint): Expr =>
  type === "i64" ? i64(value) : i32(Number(BigInt.asIntN(32, value)));
export const wrap = (e: Expr): Expr => (e.type === "i32" ? e : op1("i32.wrap_i64", e));
export const extendU = (e: Expr): Expr => (e.type === "i64" ? e : op1("i64.extend_i32_u", e));
export const extendS = (e: Expr): Expr => (e.type === "i64" ? e : op1("i64.extend_i32_s", e));
