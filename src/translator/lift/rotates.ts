import type { Width } from "../instruction.js";
import type { Expr } from "../ir.js";
import { arith, CF, constant, extendU, i32, laneOf, op2, select, wrap } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import {
  bitsOf,
  isNotZero,
  numberOf,
  operandWidth,
  readForWrite,
  setResult,
  storeResult,
  topBit,
  typeOf,
  zeroExtended,
} from "./operands.js";
import { bit, type Count, countExpr, countOf, laneUnlessZero, lowBit, overflowLane, unchanged } from "./shifts.js";

/** Rotations leave all flags but CF and OF. */
const rotate =
  (left: boolean): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const [target, amount] = instruction.operands;
    const count = countOf(steps, amount, width);
    const a = readForWrite(steps, target, width);
    if (count === 0) return unchanged(steps, target, width, a);
    const r = steps.let(width > 2 ? rotatedWide(left, a, count) : rotatedNarrow(left, a, width, count));
    storeResult(steps, target, width, r);
    const top = topBit(r, width);
    const carry = left ? lowBit(r) : top;
    laneUnlessZero(steps, CF, count, carry);
    overflowLane(steps, count, () => op2("i32.xor", top, left ? carry : secondBit(r, width)));
    setResult(steps, target, r);
  };

/** The bit below the top bit. */
const secondBit = (value: Expr, width: Width): Expr => bit(value, numberOf(typeOf(width), bitsOf(width) - 2));

const rotatedWide = (left: boolean, a: Expr, count: Count): Expr =>
  arith(left ? "rotl" : "rotr", a, countExpr(count, a.type as "i32" | "i64"));

/** A count modulo 8, 9, 16, 17 or 33, as an i32. */
function modulo(count: Count, divisor: number): Expr {
  if (typeof count === "number") return i32(count % divisor);
  if (divisor > 31) return count;
  const isPower = (divisor & (divisor - 1)) === 0;
  return isPower ? op2("i32.and", count, i32(divisor - 1)) : op2("i32.rem_u", count, i32(divisor));
}

/** `total` less a count. */
const reducedBy = (total: number, count: Expr): Expr =>
  count.kind === "i32" ? i32(total - count.value) : op2("i32.sub", i32(total), count);

/** Of 8 or 16 bits, modulo their number, in two copies side by side. */
function rotatedNarrow(left: boolean, a: Expr, width: Width, count: Count): Expr {
  const bits = bitsOf(width);
  const both = op2("i32.or", a, op2("i32.shl", a, i32(bits)));
  const by = left ? reducedBy(bits, modulo(count, bits)) : modulo(count, bits);
  return zeroExtended(op2("i32.shr_u", both, by), width);
}

/** rcl and rcr rotate the operand and CF together. */
const rotateThroughCarry =
  (left: boolean): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const [target, amount] = instruction.operands;
    const count = countOf(steps, amount, width);
    const a = readForWrite(steps, target, width);
    if (count === 0) return unchanged(steps, target, width, a);
    const [r, carry] = width === 8 ? throughCarry64(steps, left, a, count) : throughCarry(steps, left, a, width, count);
    storeResult(steps, target, width, r);
    overflowLane(steps, count, () => op2("i32.xor", topBit(r, width), left ? carry : secondBit(r, width)));
    laneUnlessZero(steps, CF, count, carry);
    setResult(steps, target, r);
  };

/** In 64 bits, of which `bits` + 1 count. */
function throughCarry(steps: StepBuilder, left: boolean, a: Expr, width: Width, count: Count): [Expr, Expr] {
  const bits = bitsOf(width);
  const n = modulo(count, bits + 1);
  const right = steps.keep(left ? reducedBy(bits + 1, n) : n);
  const x = steps.let(op2("i64.or", extendU(a), op2("i64.shl", extendU(laneOf(CF)), constant("i64", BigInt(bits)))));
  const rotated = steps.let(
    op2("i64.or", op2("i64.shr_u", x, extendU(right)), op2("i64.shl", x, extendU(reducedBy(bits + 1, right)))),
  );
  const r = steps.let(zeroExtended(wrap(rotated), width));
  return [r, steps.let(bit(rotated, constant("i64", BigInt(bits))))];
}

function throughCarry64(steps: StepBuilder, left: boolean, a: Expr, count: Count): [Expr, Expr] {
  const n = countExpr(count, "i64");
  const one = constant("i64", 1n);
  const before = op2("i64.sub", n, one);
  const rest = op2("i64.sub", constant("i64", 64n), n);
  const carryIn = extendU(laneOf(CF));
  const [shiftOut, shiftIn] = left ? (["i64.shl", "i64.shr_u"] as const) : (["i64.shr_u", "i64.shl"] as const);
  const carried = op2("i64.shl", carryIn, left ? before : rest);
  const rotated = op2("i64.or", op2("i64.or", op2(shiftOut, a, n), carried), op2(shiftIn, op2(shiftIn, a, one), rest));
  const carry = bit(a, left ? rest : before);
  if (typeof count === "number") return [steps.let(rotated), steps.let(carry)];
  return [steps.let(select(isNotZero(n), rotated, a)), steps.let(carry)];
}

export const ROTATES: LifterTable = {
  rol: rotate(true),
  ror: rotate(false),
  rcl: rotateThroughCarry(true),
  rcr: rotateThroughCarry(false),
};
