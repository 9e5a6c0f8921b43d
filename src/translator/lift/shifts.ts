import type { Operand, Width } from "../instruction.js";
import { RCX } from "../instruction.js";
import type { Expr, Lane } from "../ir.js";
import { AF, arith, CF, extendU, i32, laneOf, OF, op1, op2, PF, SF, select, wrap, ZF } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import {
  bitsOf,
  isZero,
  numberOf,
  operandWidth,
  read,
  readForWrite,
  register,
  setResult,
  signExtended,
  storeResult,
  topBit,
  typeOf,
  zeroExtended,
} from "./operands.js";

/** A shift count: a number if the instruction tells it, else an expression (i32). Both masked to 5 or 6 bits. */
export type Count = number | Expr;

export function countOf(steps: StepBuilder, operand: Operand | undefined, width: Width): Count {
  const mask = width === 8 ? 63 : 31;
  if (operand === undefined) return 1;
  if (operand.kind === "immediate") return Number(operand.value) & mask;
  return steps.let(op2("i32.and", register(RCX, 4), i32(mask)));
}

export const countExpr = (count: Count, type: "i32" | "i64"): Expr => {
  if (typeof count === "number") return numberOf(type, count);
  return type === "i64" ? extendU(count) : count;
};

/** A lane that a count of zero leaves as it was. */
export function laneUnlessZero(steps: StepBuilder, lane: Lane, count: Count, value: Expr): void {
  if (typeof count === "number") steps.lane(lane, value);
  else steps.lane(lane, select(count, value, laneOf(lane)));
}

/** OF, which is defined for a count of 1 only. */
export function overflowLane(steps: StepBuilder, count: Count, value: () => Expr): void {
  if (typeof count === "number" && count !== 1) steps.undefined(OF);
  else laneUnlessZero(steps, OF, count, value());
}

const parity = (r: Expr): Expr =>
  op1("i32.eqz", op2("i32.and", op1("i32.popcnt", op2("i32.and", wrap(r), i32(0xff))), i32(1)));

/** SF, ZF and PF from the result, AF undefined. */
function resultLanes(steps: StepBuilder, width: Width, count: Count, r: Expr): void {
  if (typeof count === "number") {
    steps.flags("result", width, r, r, r);
    steps.undefined(AF);
  } else {
    laneUnlessZero(steps, SF, count, topBit(r, width));
    laneUnlessZero(steps, ZF, count, isZero(r));
    laneUnlessZero(steps, PF, count, parity(r));
  }
}

/** A bit of a value, as an i32. */
export const bit = (value: Expr, index: Expr): Expr => op2("i32.and", wrap(arith("shr_u", value, index)), i32(1));
export const lowBit = (value: Expr): Expr => op2("i32.and", wrap(value), i32(1));

/** The last bit that a shift to the left by 1 to 63 moves out. */
function carryLeft(a: Expr, width: Width, count: Count): Expr {
  const type = typeOf(width);
  if (typeof count === "number" && count <= bitsOf(width)) return bit(a, numberOf(type, bitsOf(width) - count));
  if (width > 2) return bit(a, arith("sub", numberOf(type, 0), countExpr(count, type)));
  return bit(op2("i32.shl", a, countExpr(count, "i32")), i32(bitsOf(width)));
}

/** The last bit that a shift to the right moves out; the operand is extended as the shift does. */
const carryRight = (a: Expr, type: "i32" | "i64", count: Count): Expr =>
  count === 1 ? lowBit(a) : bit(a, countMinusOne(count, type));

const countMinusOne = (count: Count, type: "i32" | "i64"): Expr =>
  typeof count === "number" ? numberOf(type, count - 1) : arith("sub", countExpr(count, type), numberOf(type, 1));

const SHIFTS_OF = { shl: "shl", shr: "shr_u", sar: "shr_s" } as const;

const shift =
  (kind: keyof typeof SHIFTS_OF): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const type = typeOf(width);
    const [target, amount] = instruction.operands;
    const count = countOf(steps, amount, width);
    const before = readForWrite(steps, target, width);
    if (count === 0) return unchanged(steps, target, width, before);
    const a = kind === "sar" && width < 4 ? steps.let(signExtended(before, width)) : before;
    const shifted = arith(SHIFTS_OF[kind], a, countExpr(count, type));
    const r = steps.let(kind === "shr" ? shifted : zeroExtended(shifted, width));
    storeResult(steps, target, width, r);
    resultLanes(steps, width, count, r);
    const carry = kind === "shl" ? carryLeft(a, width, count) : carryRight(a, type, count);
    laneUnlessZero(steps, CF, count, carry);
    overflowLane(steps, count, () => {
      if (kind === "sar") return i32(0);
      return kind === "shr" ? topBit(a, width) : op2("i32.xor", topBit(a, width), topBit(r, width));
    });
    setResult(steps, target, r);
  };

/** A count of zero changes nothing, but it writes: 32 bits are extended with zeroes. */
export function unchanged(steps: StepBuilder, target: Operand, width: Width, value: Expr): void {
  storeResult(steps, target, width, value);
  setResult(steps, target, value);
}

/** shld and shrd: bits of the second operand move in. */
const double =
  (left: boolean): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const type = typeOf(width);
    const [target, source, amount] = instruction.operands;
    const count = countOf(steps, amount, width);
    const a = readForWrite(steps, target, width);
    if (count === 0) return unchanged(steps, target, width, a);
    const b = read(steps, source, width);
    const [result, carry] = width === 2 ? doubleWords(steps, left, a, b, count) : doubled(left, a, b, count, type);
    const r = steps.let(result);
    storeResult(steps, target, width, r);
    resultLanes(steps, width, count, r);
    laneUnlessZero(steps, CF, count, carry);
    overflowLane(steps, count, () => op2("i32.xor", topBit(a, width), topBit(r, width)));
    setResult(steps, target, r);
  };

function doubled(left: boolean, a: Expr, b: Expr, count: Count, type: "i32" | "i64"): [Expr, Expr] {
  const n = countExpr(count, type);
  const one = numberOf(type, 1);
  // By the width less n, in two shifts, so that n = 0 moves all bits out.
  const rest = arith("xor", n, numberOf(type, type === "i64" ? 63 : 31));
  if (left) {
    const low = arith("shr_u", arith("shr_u", b, one), rest);
    return [arith("or", arith("shl", a, n), low), carryLeft(a, type === "i64" ? 8 : 4, count)];
  }
  const high = arith("shl", arith("shl", b, one), rest);
  return [arith("or", arith("shr_u", a, n), high), carryRight(a, type, count)];
}

/** Of 16 bits; counts above 16 are undefined. */
function doubleWords(steps: StepBuilder, left: boolean, a: Expr, b: Expr, count: Count): [Expr, Expr] {
  const n = countExpr(count, "i32");
  const [high, low] = left ? [a, b] : [b, a];
  const both = steps.let(op2("i32.or", op2("i32.shl", high, i32(16)), low));
  if (!left) return [zeroExtended(op2("i32.shr_u", both, n), 2), carryRight(both, "i32", count)];
  return [op2("i32.shr_u", op2("i32.shl", both, n), i32(16)), carryLeft(both, 4, count)];
}

/** BMI2: no flags, the count in any register or, for rorx, in the instruction. */
const plainShift =
  (name: "shl" | "shr_u" | "shr_s" | "rotr"): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const [target, source, amount] = instruction.operands;
    const value = read(steps, source, width);
    setResult(steps, target, arith(name, value, read(steps, amount, width)));
  };

export const SHIFTS: LifterTable = {
  shl: shift("shl"),
  sal: shift("shl"),
  shr: shift("shr"),
  sar: shift("sar"),
  shld: double(true),
  shrd: double(false),
  shlx: plainShift("shl"),
  shrx: plainShift("shr_u"),
  sarx: plainShift("shr_s"),
  rorx: plainShift("rotr"),
};
