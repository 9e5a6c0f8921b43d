import type { Instruction, Operand, Width } from "../instruction.js";
import type { Expr, Lane } from "../ir.js";
import { arith, CF, extendU, i32, laneOf, OF, op2, pure, select, wrap } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import {
  bitsOf,
  isNotZero,
  isZero,
  numberOf,
  operandWidth,
  read,
  readIntoTemporary,
  readStable,
  setResult,
  topBit,
  typeOf,
} from "./operands.js";

/** Flags of the BMI1 and BMI2 instructions: SF and ZF from the result, OF = 0; AF and PF are undefined. */
function finish(steps: StepBuilder, width: Width, target: Operand, r: Expr, carry: Expr | null): void {
  steps.flags("logic", width, r, r, r);
  if (carry !== null) steps.lane(CF, carry);
  setResult(steps, target, r);
}

function andn(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [target, inverted, source] = instruction.operands;
  const b = read(steps, source, width);
  const a = arith("xor", read(steps, inverted, width), numberOf(typeOf(width), -1));
  finish(steps, width, target, steps.let(arith("and", a, b)), null);
}

/** blsi, blsmsk, blsr: of the lowest bit set. */
const lowestBit =
  (result: (value: Expr, zero: Expr, one: Expr) => Expr, carryIfZero: boolean): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const type = typeOf(width);
    const [target, source] = instruction.operands;
    const value = readIntoTemporary(steps, source, width);
    const r = steps.let(result(value, numberOf(type, 0), numberOf(type, 1)));
    finish(steps, width, target, r, carryIfZero ? isZero(value) : isNotZero(value));
  };

/** All ones below bit `bits` (i32), of the type. */
const ones = (type: "i32" | "i64", bits: Expr): Expr => {
  const n = type === "i64" ? extendU(bits) : bits;
  return arith("sub", arith("shl", numberOf(type, 1), n), numberOf(type, 1));
};

const byteOf = (value: Expr, shift: number): Expr => {
  const low = wrap(value);
  return op2("i32.and", shift === 0 ? low : op2("i32.shr_u", low, i32(shift)), i32(0xff));
};

/** `value` where `amount` is less than the width, else `otherwise`. */
const ifBelow = (amount: Expr, width: Width, value: Expr, otherwise: Expr): Expr =>
  select(op2("i32.lt_u", amount, i32(bitsOf(width))), value, otherwise);

/** The second source holds the first bit and the number of bits, a byte each. */
function bextr(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const type = typeOf(width);
  const [target, source, control] = instruction.operands;
  const value = read(steps, source, width);
  const ranges = readStable(steps, control, width);
  const start = steps.let(byteOf(ranges, 0));
  const length = steps.let(byteOf(ranges, 8));
  const shifted = arith("shr_u", value, type === "i64" ? extendU(start) : start);
  const field = steps.let(ifBelow(start, width, shifted, numberOf(type, 0)));
  const mask = ifBelow(length, width, ones(type, length), numberOf(type, -1));
  finish(steps, width, target, steps.let(arith("and", field, mask)), null);
}

function bzhi(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const type = typeOf(width);
  const [target, source, control] = instruction.operands;
  const value = readIntoTemporary(steps, source, width);
  const bits = steps.let(byteOf(read(steps, control, width), 0));
  const r = steps.let(ifBelow(bits, width, arith("and", value, ones(type, bits)), value));
  finish(steps, width, target, r, op2("i32.ge_u", bits, i32(bitsOf(width))));
}

/** pdep and pext, without flags. */
const scatter =
  (name: "pdep" | "pext"): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const [target, source, mask] = instruction.operands;
    const value = extendU(read(steps, source, width));
    const r = pure(name, "i64", value, extendU(read(steps, mask, width)));
    setResult(steps, target, width === 8 ? r : wrap(r));
  };

/** adcx and adox: an addition through one flag, the others unchanged. */
const addThrough =
  (lane: Lane): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const [target, source] = instruction.operands;
    const a = steps.let(read(steps, target, width));
    const b = steps.keep(read(steps, source, width));
    const carry = laneOf(lane);
    const r = steps.let(arith("add", arith("add", a, b), width === 8 ? extendU(carry) : carry));
    const inverted = arith("xor", r, numberOf(typeOf(width), -1));
    steps.lane(lane, topBit(arith("or", arith("and", a, b), arith("and", arith("or", a, b), inverted)), width));
    setResult(steps, target, r);
  };

export const BMI: LifterTable = {
  andn,
  blsi: lowestBit((value, zero) => arith("and", value, arith("sub", zero, value)), false),
  blsmsk: lowestBit((value, _zero, one) => arith("xor", value, arith("sub", value, one)), true),
  blsr: lowestBit((value, _zero, one) => arith("and", value, arith("sub", value, one)), true),
  bextr,
  bzhi,
  pdep: scatter("pdep"),
  pext: scatter("pext"),
  adcx: addThrough(CF),
  adox: addThrough(OF),
};
