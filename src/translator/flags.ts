import type { ConditionCode } from "./instruction.js";
import { CONDITIONS } from "./instruction.js";
import type { Expr, Flags, FlagsOperation, Lane } from "./ir.js";
import { AF, ARITHMETIC_FLAGS, arith, CF, constant, i32, OF, op1, op2, PF, SF, wrap, ZF } from "./ir.js";
import type { PlainOperation } from "./wasm-opcodes.js";

/**
 * Flags as expressions of the operands and the result that they come from (Intel SDM volume 1, 3.4.3.1, and the
 * instructions' pages in volume 2). All leave an i32 that is 0 or 1.
 */
const DEFINED: Readonly<Record<FlagsOperation, number>> = {
  add: ARITHMETIC_FLAGS,
  adc: ARITHMETIC_FLAGS,
  sub: ARITHMETIC_FLAGS,
  sbb: ARITHMETIC_FLAGS,
  logic: ARITHMETIC_FLAGS,
  inc: ARITHMETIC_FLAGS & ~CF,
  dec: ARITHMETIC_FLAGS & ~CF,
  result: SF | ZF | PF,
};

/** The flags that an operation sets, as a mask. */
export const definedLanes = (op: FlagsOperation): number => DEFINED[op];

const READ: readonly number[] = [OF, CF, ZF, CF | ZF, SF, PF, SF | OF, SF | OF | ZF];

/** The flags that a condition reads, as a mask. */
export const conditionLanes = (code: ConditionCode): number => READ[CONDITIONS.indexOf(code) >> 1];

/** @param lane must be one that the operation defines */
export function laneFromFlags(flags: Flags, lane: Lane): Expr {
  switch (lane) {
    case OF:
      return overflow(flags, false);
    case SF:
      return negative(flags.r, flags.bytes, false);
    case ZF:
      return zero(flags, false);
    case AF:
      return auxiliaryCarry(flags);
    case CF:
      return carry(flags, false);
    case PF:
      return parity(flags.r, false);
  }
}

/** The cheapest expression of a condition, or null if it reads a flag that the operation leaves alone. */
export function conditionFromFlags(flags: Flags, code: ConditionCode): Expr | null {
  if ((conditionLanes(code) & ~DEFINED[flags.op]) !== 0) return null;
  const { r, bytes } = flags;
  switch (code) {
    case "o":
    case "no":
      return overflow(flags, code === "no");
    case "b":
    case "ae":
      return carry(flags, code === "ae");
    case "e":
    case "ne":
      return zero(flags, code === "ne");
    case "be":
    case "a":
      return belowOrEqual(flags, code === "a");
    case "s":
    case "ns":
      return negative(r, bytes, code === "ns");
    case "p":
    case "np":
      return parity(r, code === "np");
    case "l":
    case "ge":
      return less(flags, code === "ge");
    case "le":
    case "g":
      return lessOrEqual(flags, code === "g");
  }
}

export function conditionFromLanes(code: ConditionCode, lane: (lane: Lane) => Expr): Expr {
  const not = (e: Expr): Expr => op1("i32.eqz", e);
  switch (code) {
    case "o":
      return lane(OF);
    case "no":
      return not(lane(OF));
    case "b":
      return lane(CF);
    case "ae":
      return not(lane(CF));
    case "e":
      return lane(ZF);
    case "ne":
      return not(lane(ZF));
    case "be":
      return op2("i32.or", lane(CF), lane(ZF));
    case "a":
      return not(op2("i32.or", lane(CF), lane(ZF)));
    case "s":
      return lane(SF);
    case "ns":
      return not(lane(SF));
    case "p":
      return lane(PF);
    case "np":
      return not(lane(PF));
    case "l":
      return op2("i32.ne", lane(SF), lane(OF));
    case "ge":
      return op2("i32.eq", lane(SF), lane(OF));
    case "le":
      return op2("i32.or", lane(ZF), op2("i32.ne", lane(SF), lane(OF)));
    case "g":
      return not(op2("i32.or", lane(ZF), op2("i32.ne", lane(SF), lane(OF))));
  }
}

const INVERSE: Readonly<Record<string, string>> = {
  eq: "ne",
  ne: "eq",
  lt_s: "ge_s",
  ge_s: "lt_s",
  le_s: "gt_s",
  gt_s: "le_s",
  lt_u: "ge_u",
  ge_u: "lt_u",
  le_u: "gt_u",
  gt_u: "le_u",
};

const isZero = (e: Expr): boolean => (e.kind === "i32" && e.value === 0) || (e.kind === "i64" && e.value === 0n);

function compare(relation: string, a: Expr, b: Expr, negated: boolean): Expr {
  const name = negated ? INVERSE[relation] : relation;
  return name === "eq" && isZero(b) ? op1(`${a.type}.eqz` as PlainOperation, a) : arith(name, a, b);
}

const truth = (value: boolean, negated: boolean): Expr => i32(Number(value !== negated));

/** `e`, whose low bytes count, with their sign in all of its type. */
function signed(e: Expr, bytes: Flags["bytes"]): Expr {
  if (bytes > 2) return e;
  if (e.kind === "i32") return i32((e.value << (32 - bytes * 8)) >> (32 - bytes * 8));
  return op1(bytes === 1 ? "i32.extend8_s" : "i32.extend16_s", e);
}

/** The top bit of the operand. Bits above it may be anything if `loose`, else they are zero. */
function topBit(e: Expr, bytes: Flags["bytes"], loose: boolean, negated: boolean): Expr {
  if (bytes > 2) return compare("lt_s", e, constant(e.type, 0n), negated);
  if (loose) return compare("lt_s", signed(e, bytes), i32(0), negated);
  return compare("ge_u", e, i32(1 << (bytes * 8 - 1)), negated);
}

const negative = (r: Expr, bytes: Flags["bytes"], negated: boolean): Expr => topBit(r, bytes, false, negated);

const equalsZero = (r: Expr, negated: boolean): Expr => compare("eq", r, constant(r.type, 0n), negated);

const zero = ({ op, a, b, r }: Flags, negated: boolean): Expr =>
  op === "sub" ? compare("eq", a, b, negated) : equalsZero(r, negated);

function parity(r: Expr, negated: boolean): Expr {
  const odd = op2("i32.and", op1("i32.popcnt", op2("i32.and", wrap(r), i32(0xff))), i32(1));
  return negated ? odd : op1("i32.eqz", odd);
}

function auxiliaryCarry({ op, a, b, r }: Flags): Expr {
  if (op === "logic") return i32(0);
  const low = wrap(r);
  if (op === "inc") return op1("i32.eqz", op2("i32.and", low, i32(15)));
  if (op === "dec") return op2("i32.eq", op2("i32.and", low, i32(15)), i32(15));
  const carries = op2("i32.xor", op2("i32.xor", wrap(a), wrap(b)), low);
  return op2("i32.and", op2("i32.shr_u", carries, i32(4)), i32(1));
}

const not = (e: Expr): Expr => arith("xor", e, constant(e.type, -1n));

function carry({ op, bytes, a, b, r }: Flags, negated: boolean): Expr {
  switch (op) {
    case "add":
      return compare("lt_u", r, a, negated);
    case "sub":
      return compare("lt_u", a, b, negated);
    // The carry that came in is not at hand, but the carries of all bits follow from operands and result.
    case "adc":
      return topBit(arith("or", arith("and", a, b), arith("and", arith("or", a, b), not(r))), bytes, true, negated);
    case "sbb":
      return topBit(
        arith("or", arith("and", not(a), b), arith("and", arith("or", not(a), b), r)),
        bytes,
        true,
        negated,
      );
    default:
      return truth(false, negated);
  }
}

/** A word whose top bit is OF. */
const overflowWord = ({ op, a, b, r }: Flags): Expr =>
  op === "add" || op === "adc"
    ? arith("and", arith("xor", a, r), arith("xor", b, r))
    : arith("and", arith("xor", a, b), arith("xor", a, r));

function overflow(flags: Flags, negated: boolean): Expr {
  const { op, bytes, r } = flags;
  switch (op) {
    case "inc":
      return compare("eq", r, constant(r.type, 1n << BigInt(bytes * 8 - 1)), negated);
    case "dec":
      return compare("eq", r, constant(r.type, (1n << BigInt(bytes * 8 - 1)) - 1n), negated);
    case "logic":
      return truth(false, negated);
    default:
      return topBit(overflowWord(flags), bytes, true, negated);
  }
}

function belowOrEqual(flags: Flags, negated: boolean): Expr {
  if (flags.op === "sub") return compare("le_u", flags.a, flags.b, negated);
  if (flags.op === "logic") return zero(flags, negated);
  return op2(negated ? "i32.and" : "i32.or", carry(flags, negated), zero(flags, negated));
}

function less(flags: Flags, negated: boolean): Expr {
  const { op, bytes, a, b, r } = flags;
  switch (op) {
    case "sub":
      return compare("lt_s", signed(a, bytes), signed(b, bytes), negated);
    case "logic":
      return negative(r, bytes, negated);
    case "inc":
      return compare("lt_s", signed(a, bytes), constant(a.type, -1n), negated);
    case "dec":
      return compare("le_s", signed(a, bytes), constant(a.type, 0n), negated);
    default:
      return topBit(arith("xor", overflowWord(flags), r), bytes, true, negated);
  }
}

function lessOrEqual(flags: Flags, negated: boolean): Expr {
  const { op, bytes, a, b, r } = flags;
  switch (op) {
    case "sub":
      return compare("le_s", signed(a, bytes), signed(b, bytes), negated);
    case "logic":
      return compare("le_s", signed(r, bytes), constant(r.type, 0n), negated);
    case "inc":
      return compare("le_s", signed(a, bytes), constant(a.type, -1n), negated);
    case "dec":
      return compare("le_s", signed(a, bytes), constant(a.type, 1n), negated);
    default:
      return op2(negated ? "i32.and" : "i32.or", equalsZero(r, negated), less(flags, negated));
  }
}

/** The flags that the operation defines, as a mask, from numbers whose low `bytes` (1, 2 or 4) count. */
export function flagValues32(op: FlagsOperation, bytes: 1 | 2 | 4, a: number, b: number, r: number): number {
  const up = 32 - bytes * 8;
  const second = byOne(op) ? 1 : b;
  return flagValues(op, a << up, second << up, r << up, a ^ second ^ r, r, r << up === 0);
}

/** Where bigints come apart into halves without making others. */
const wholes = new BigInt64Array(3);
const halves = new Int32Array(wholes.buffer);

/** The flags that the operation defines, as a mask, from 64 bits. */
export function flagValues64(op: FlagsOperation, a: bigint, b: bigint, r: bigint): number {
  wholes[0] = a;
  wholes[1] = byOne(op) ? 1n : b;
  wholes[2] = r;
  const [aLow, aHigh, bLow, bHigh, low, high] = halves;
  return flagValues(op, aHigh, bHigh, high, aLow ^ bLow ^ low, low, (low | high) === 0);
}

const byOne = (op: FlagsOperation): boolean => op === "inc" || op === "dec";

/** @param a, b, r operands and result, moved up so that their top bit is bit 31 */
function flagValues(
  op: FlagsOperation,
  a: number,
  b: number,
  r: number,
  carriesIntoLow: number,
  low: number,
  isZero: boolean,
): number {
  let parityOfLow = low ^ (low >> 4);
  parityOfLow ^= parityOfLow >> 2;
  const flags = (r < 0 ? SF : 0) | (isZero ? ZF : 0) | (((parityOfLow ^ (parityOfLow >> 1)) & 1) === 0 ? PF : 0);
  switch (op) {
    case "logic":
    case "result":
      return flags;
    case "inc":
    case "dec":
    case "add":
    case "adc":
    case "sub":
    case "sbb": {
      const minus = op === "sub" || op === "sbb" || op === "dec";
      const carries = minus ? (~a & b) | ((~a | b) & r) : (a & b) | ((a | b) & ~r);
      return (
        flags |
        ((carries ^ (carries << 1)) < 0 ? OF : 0) |
        ((carriesIntoLow & 16) !== 0 ? AF : 0) |
        (carries < 0 && DEFINED[op] === ARITHMETIC_FLAGS ? CF : 0)
      );
    }
  }
}
