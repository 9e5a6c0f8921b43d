import type { Instruction, MemoryOperand, Operand, Width } from "../instruction.js";
import type { Address, Expr } from "../ir.js";
import { AF, arith, CF, extendS, extendU, i32, i64, OF, op1, op2, PF, SF, select, wrap, ZF } from "../ir.js";
import type { PlainOperation } from "../wasm-opcodes.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import {
  addressOf,
  bitsOf,
  isNotZero,
  isZero,
  numberOf,
  operandWidth,
  read,
  readForWrite,
  readIntoTemporary,
  readStable,
  register,
  setResult,
  signExtended,
  typeOf,
} from "./operands.js";

type BitChange = "none" | "set" | "reset" | "complement";

/** bt and its relatives: CF = the bit. ZF stays, the others are undefined. */
const bitTest =
  (change: BitChange): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const type = typeOf(width);
    const [target, offset] = instruction.operands;
    const place = target.kind === "memory" ? bitString(steps, target, offset, width) : null;
    const writes = change !== "none";
    const value =
      place === null
        ? writes
          ? readForWrite(steps, target, width)
          : readStable(steps, target, width)
        : steps.load(place, width, type, false, writes);
    const index = bitIndex(steps, offset, width);
    const bit = steps.let(op2("i32.and", wrap(arith("shr_u", value, index)), i32(1)));
    if (!writes) return finishBitTest(steps, bit);
    const mask = arith("shl", numberOf(type, 1), index);
    const changed = steps.let(changedBit(change, value, mask));
    if (place !== null) steps.store(place, width, changed, true);
    finishBitTest(steps, bit);
    setResult(steps, target, changed);
  };

function changedBit(change: BitChange, value: Expr, mask: Expr): Expr {
  if (change === "set") return arith("or", value, mask);
  if (change === "complement") return arith("xor", value, mask);
  return arith("and", value, arith("xor", mask, numberOf(mask.type as "i32" | "i64", -1)));
}

function finishBitTest(steps: StepBuilder, bit: Expr): void {
  steps.lane(CF, bit);
  steps.undefined(OF | SF | AF | PF);
}

/** The number of the bit in its word, of the word's type. */
function bitIndex(steps: StepBuilder, offset: Operand, width: Width): Expr {
  const mask = bitsOf(width) - 1;
  const type = typeOf(width);
  if (offset.kind === "immediate") return numberOf(type, Number(offset.value) & mask);
  return steps.let(arith("and", read(steps, offset, width), numberOf(type, mask)));
}

/** The word that holds the bit: a register as offset is signed and reaches beyond the operand (Intel SDM volume 2, BT). */
function bitString(steps: StepBuilder, target: MemoryOperand, offset: Operand, width: Width): Address {
  const address = addressOf(target);
  if (offset.kind === "immediate") return address;
  const number = signExtended(read(steps, offset, width), width);
  const bits = number.type === "i64" ? number : extendS(number);
  const words = op2("i64.shr_s", bits, i64(BigInt(Math.log2(bitsOf(width)))));
  const bytes = op2("i64.shl", words, i64(BigInt(Math.log2(width))));
  return { ...address, base: steps.let(address.base === null ? bytes : op2("i64.add", address.base, bytes)) };
}

/** `name` of clz, ctz or popcnt on the operand's type. */
const count = (name: "clz" | "ctz" | "popcnt", value: Expr): Expr =>
  op1(`${value.type}.${name}` as PlainOperation, value);

/** A source of zero leaves all of the target (Intel SDM volume 2, BSF, note 1). */
const bitScan =
  (reverse: boolean): Lifter =>
  (steps, instruction) => {
    const [target, source] = instruction.operands;
    const width = operandWidth(instruction);
    const type = typeOf(width);
    if (target.kind !== "register") return;
    const value = readIntoTemporary(steps, source, width);
    const found = reverse
      ? arith("xor", count("clz", value), numberOf(type, type === "i64" ? 63 : 31))
      : count("ctz", value);
    const all = select(isNotZero(value), extendU(found), register(target.register, 8));
    const result = steps.let(width === 2 ? wrap(all) : all);
    steps.clearFlags();
    steps.lane(ZF, isZero(value));
    steps.set(target.register, width === 2 ? 2 : 8, result);
  };

/** tzcnt and lzcnt: CF tells a source of zero, ZF a result of zero. */
const zeroCount =
  (name: "clz" | "ctz"): Lifter =>
  (steps, instruction) => {
    const width = operandWidth(instruction);
    const [target, source] = instruction.operands;
    const value = readIntoTemporary(steps, source, width);
    const r = steps.let(zeroesOf(name, value, width));
    steps.clearFlags();
    steps.lane(CF, isZero(value));
    steps.lane(ZF, isZero(r));
    setResult(steps, target, r);
  };

function zeroesOf(name: "clz" | "ctz", value: Expr, width: Width): Expr {
  if (width !== 2) return count(name, value);
  if (name === "ctz") return count("ctz", op2("i32.or", value, i32(0x10000)));
  return op2("i32.sub", count("clz", value), i32(16));
}

function popcnt(steps: StepBuilder, instruction: Instruction): void {
  const [target, source] = instruction.operands;
  const value = readIntoTemporary(steps, source, operandWidth(instruction));
  steps.clearFlags();
  steps.lane(ZF, isZero(value));
  setResult(steps, target, count("popcnt", value));
}

export const BITS: LifterTable = {
  bt: bitTest("none"),
  bts: bitTest("set"),
  btr: bitTest("reset"),
  btc: bitTest("complement"),
  bsf: bitScan(false),
  bsr: bitScan(true),
  tzcnt: zeroCount("ctz"),
  lzcnt: zeroCount("clz"),
  popcnt,
};
