import type { Instruction, Width } from "../instruction.js";
import { RAX, RDX } from "../instruction.js";
import type { Expr } from "../ir.js";
import { arith, CF, extendS, extendU, i32, i64, OF, op1, op2, pure, wrap } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import {
  bitsOf,
  isNotZero,
  operandWidth,
  read,
  readStable,
  register,
  setResult,
  signExtended,
  zeroExtended,
} from "./operands.js";

const accumulator = (width: Width): Expr => zeroExtended(register(RAX, width), width);

/** CF and OF alike; the others are undefined. */
function overflow(steps: StepBuilder, value: Expr): void {
  steps.clearFlags();
  const lane = steps.let(value);
  steps.lane(CF, lane);
  steps.lane(OF, lane);
}

/** mul and imul of the accumulator: the product has twice the width, in AX or in RDX and RAX. */
const wide =
  (signed: boolean): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const factor = readStable(steps, instruction.operands[0], width);
    const [low, high] = halves(steps, signed, width, steps.let(accumulator(width)), factor);
    overflow(steps, signed ? arith("ne", high, signOf(low, width)) : isNotZero(high));
    if (width === 1) {
      steps.set(RAX, 2, op2("i32.or", low, op2("i32.shl", high, i32(8))));
    } else {
      steps.set(RAX, width, low);
      steps.set(RDX, width, high);
    }
  };

/** The upper half of a number that the lower half alone describes. */
function signOf(low: Expr, width: Width): Expr {
  if (width === 8) return op2("i64.shr_s", low, i64(63n));
  return zeroExtended(op2("i32.shr_s", signExtended(low, width), i32(31)), width);
}

/** Both halves of a product, extended with zeroes. */
function halves(steps: StepBuilder, signed: boolean, width: Width, a: Expr, b: Expr): [Expr, Expr] {
  if (width === 8) return [steps.let(op2("i64.mul", a, b)), steps.let(pure(signed ? "mulhs" : "mulhu", "i64", a, b))];
  if (width === 4) {
    const extend = signed ? extendS : extendU;
    const product = steps.let(op2("i64.mul", extend(a), extend(b)));
    return [steps.let(wrap(product)), steps.let(wrap(op2("i64.shr_u", product, i64(32n))))];
  }
  const extend = (e: Expr): Expr => (signed ? signExtended(e, width) : e);
  const product = steps.let(op2("i32.mul", extend(a), extend(b)));
  const high = op2("i32.shr_u", product, i32(bitsOf(width)));
  return [steps.let(zeroExtended(product, width)), steps.let(zeroExtended(high, width))];
}

const accumulatorImul = wide(true);

function imul(steps: StepBuilder, instruction: Instruction): void {
  const { operands } = instruction;
  if (operands.length === 1) {
    accumulatorImul(steps, instruction);
    return;
  }
  const width = operandWidth(instruction);
  const [target] = operands;
  const [left, right] = operands.length === 2 ? operands : operands.slice(1);
  const a = readStable(steps, left, width);
  const b = readStable(steps, right, width);
  const [r, overflows] = truncatedProduct(steps, width, a, b);
  overflow(steps, overflows);
  setResult(steps, target, r);
}

/** A signed product and whether it does not fit. */
function truncatedProduct(steps: StepBuilder, width: Width, a: Expr, b: Expr): [Expr, Expr] {
  if (width === 8) {
    const r = steps.let(op2("i64.mul", a, b));
    return [r, op2("i64.ne", pure("mulhs", "i64", a, b), signOf(r, 8))];
  }
  if (width === 4) {
    const r = steps.let(op2("i32.mul", a, b));
    return [r, op2("i64.ne", op2("i64.mul", extendS(a), extendS(b)), extendS(r))];
  }
  const r = steps.let(op2("i32.mul", signExtended(a, width), signExtended(b, width)));
  return [r, op2("i32.ne", r, signExtended(r, width))];
}

/** No flags; RDX is the other factor. If both targets are one register, it gets the high half. */
function mulx(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [high, low, source] = instruction.operands;
  const b = readStable(steps, source, width);
  const [lowHalf, highHalf] = halves(steps, false, width, steps.let(register(RDX, width)), b);
  setResult(steps, low, lowHalf);
  setResult(steps, high, highHalf);
}

const div =
  (signed: boolean): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const operand = read(steps, instruction.operands[0], width);
    const [quotient, remainder] = DIVISIONS[width](steps, signed, operand);
    steps.clearFlags();
    if (width === 1) {
      const low = zeroExtended(quotient, 1);
      steps.set(RAX, 2, op2("i32.or", low, op2("i32.shl", remainder, i32(8))));
    } else {
      steps.set(RAX, width, quotient);
      steps.set(RDX, width, remainder);
    }
  };

/** Quotient and remainder, after the trap for those that do not fit. */
type Division = (steps: StepBuilder, signed: boolean, divisor: Expr) => readonly [Expr, Expr];

/** The halves of the dividend, each 16 bits, as an i32. */
const wordPair = (): Expr =>
  op2("i32.or", zeroExtended(register(RAX, 4), 2), op2("i32.shl", register(RDX, 4), i32(16)));

const DIVISIONS: Readonly<Record<Width, Division>> = {
  1: (steps, signed, operand) => {
    const ax = register(RAX, 4);
    if (!signed) return unsignedDivision(steps, zeroExtended(ax, 2), 1, operand);
    return signedDivision(steps, signExtended(ax, 2), 1, signExtended(operand, 1));
  },
  // A signed dividend is made 64 bits wide, so that no quotient of it overflows.
  2: (steps, signed, operand) => {
    if (!signed) return unsignedDivision(steps, wordPair(), 2, operand);
    return signedDivision(steps, extendS(wordPair()), 2, extendS(signExtended(operand, 2)));
  },
  4: (steps, signed, operand) => {
    const high = op2("i64.shl", extendU(register(RDX, 4)), i64(32n));
    const dividend = op2("i64.or", high, extendU(register(RAX, 4)));
    if (!signed) return unsignedDivision(steps, dividend, 4, extendU(operand));
    return signedDivision(steps, dividend, 4, extendS(operand));
  },
  8: (steps, signed, operand) => {
    const args = [register(RDX, 8), register(RAX, 8), steps.keep(operand)];
    steps.trapIf(op1("i32.eqz", pure(signed ? "divFitsS" : "divFitsU", "i32", ...args)), "divide-error");
    return [
      steps.let(pure(signed ? "divQuotientS" : "divQuotientU", "i64", ...args)),
      steps.let(pure(signed ? "divRemainderS" : "divRemainderU", "i64", ...args)),
    ];
  },
};

const low = (value: Expr, width: Width): Expr => (width === 8 ? value : wrap(value));

function unsignedDivision(steps: StepBuilder, dividend: Expr, width: 1 | 2 | 4, divisor: Expr): [Expr, Expr] {
  const a = steps.let(dividend);
  const b = steps.let(divisor);
  const bits = a.type === "i64" ? i64(BigInt(bitsOf(width))) : i32(bitsOf(width));
  // The quotient fits if the high half is less than the divisor, which then is not zero.
  steps.trapIf(arith("ge_u", arith("shr_u", a, bits), b), "divide-error");
  return [steps.let(low(arith("div_u", a, b), width)), steps.let(low(arith("rem_u", a, b), width))];
}

function signedDivision(steps: StepBuilder, dividend: Expr, width: 1 | 2 | 4, divisor: Expr): [Expr, Expr] {
  const a = steps.let(dividend);
  const b = steps.let(divisor);
  steps.trapIf(op1(b.type === "i64" ? "i64.eqz" : "i32.eqz", b), "divide-error");
  // The one quotient that WebAssembly has no number for.
  if (width === 4) {
    const least = op2("i64.eq", a, i64(-(1n << 63n)));
    steps.trapIf(op2("i32.and", least, op2("i64.eq", b, i64(-1n))), "divide-error");
  }
  const quotient = steps.let(arith("div_s", a, b));
  const fits = a.type === "i64" ? extendS(signExtended(wrap(quotient), width)) : signExtended(quotient, width);
  steps.trapIf(arith("ne", fits, quotient), "divide-error");
  return [steps.let(low(quotient, width)), steps.let(low(arith("rem_s", a, b), width))];
}

export const MULTIPLICATION: LifterTable = {
  mul: wide(false),
  imul,
  mulx,
  div: div(false),
  idiv: div(true),
};
