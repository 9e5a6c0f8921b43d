import type { Instruction, Operand, Width } from "../instruction.js";
import type { Expr, FlagsOperation } from "../ir.js";
import { arith, CF, extendU, laneOf } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import {
  immediate,
  numberOf,
  operandWidth,
  read,
  readForWrite,
  readSource,
  readStable,
  sameRegister,
  setResult,
  storeResult,
  typeOf,
  zeroExtended,
} from "./operands.js";

const carryIn = (type: "i32" | "i64"): Expr => (type === "i64" ? extendU(laneOf(CF)) : laneOf(CF));

/** Flags from the operands, then the target: of memory the other way round, since the store may fault. */
function finish(
  steps: StepBuilder,
  target: Operand,
  width: Width,
  op: FlagsOperation,
  [a, b, r]: readonly [Expr, Expr, Expr],
): void {
  storeResult(steps, target, width, r);
  steps.flags(op, width, a, b, r);
  setResult(steps, target, r);
}

/** add, sub, and their relatives with carry. */
const sum =
  (op: "add" | "adc" | "sub" | "sbb"): Lifter =>
  (steps, instruction) => {
    const [target, source] = instruction.operands;
    const width = operandWidth(instruction);
    const name = op === "add" || op === "adc" ? "add" : "sub";
    // x - x does not depend on x, only on the carry: `sub` and `sbb` of a register with itself are ways to write that.
    const itself = name === "sub" && sameRegister(target, source);
    const a = itself ? immediate(0n, width) : readForWrite(steps, target, width);
    const b = readSource(steps, source, width, target, a);
    const plain = itself ? immediate(0n, width) : arith(name, a, b);
    const value = op === name ? plain : arith(name, plain, carryIn(typeOf(width)));
    const r = steps.keep(zeroExtended(value, width));
    finish(steps, target, width, op, [a, b, r]);
  };

const logic =
  (name: "and" | "or" | "xor"): Lifter =>
  (steps, instruction) => {
    const [target, source] = instruction.operands;
    const width = operandWidth(instruction);
    if (name === "xor" && sameRegister(target, source)) {
      const zero = immediate(0n, width);
      finish(steps, target, width, "logic", [zero, zero, zero]);
      return;
    }
    const a = readForWrite(steps, target, width);
    const r = steps.let(arith(name, a, readSource(steps, source, width, target, a)));
    finish(steps, target, width, "logic", [r, r, r]);
  };

function cmp(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [left, right] = instruction.operands;
  const a = readStable(steps, left, width);
  const b = readSource(steps, right, width, left, a);
  steps.flags("sub", width, a, b, steps.let(zeroExtended(arith("sub", a, b), width)));
}

function test(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [left, right] = instruction.operands;
  const a = readStable(steps, left, width);
  const r = sameRegister(left, right) ? a : steps.let(arith("and", a, read(steps, right, width)));
  steps.flags("logic", width, r, r, r);
}

const step =
  (op: "inc" | "dec"): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const [target] = instruction.operands;
    const a = readForWrite(steps, target, width);
    const one = numberOf(typeOf(width), 1);
    const r = steps.let(zeroExtended(arith(op === "inc" ? "add" : "sub", a, one), width));
    finish(steps, target, width, op, [a, one, r]);
  };

function neg(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [target] = instruction.operands;
  const b = readForWrite(steps, target, width);
  const zero = numberOf(typeOf(width), 0);
  finish(steps, target, width, "sub", [zero, b, steps.let(zeroExtended(arith("sub", zero, b), width))]);
}

function not(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [target] = instruction.operands;
  const value = readForWrite(steps, target, width);
  const r = arith("xor", value, numberOf(typeOf(width), -1));
  storeResult(steps, target, width, r);
  setResult(steps, target, r);
}

export const ARITHMETIC: LifterTable = {
  add: sum("add"),
  adc: sum("adc"),
  sub: sum("sub"),
  sbb: sum("sbb"),
  and: logic("and"),
  or: logic("or"),
  xor: logic("xor"),
  cmp,
  test,
  inc: step("inc"),
  dec: step("dec"),
  neg,
  not,
};
