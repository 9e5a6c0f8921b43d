import type { Instruction, MemoryOperand, Operand, Width } from "../instruction.js";
import type { Address, Expr, Lane } from "../ir.js";
import {
  AF,
  ARITHMETIC_FLAGS,
  arith,
  CF,
  extendS,
  extendU,
  i32,
  i64,
  laneOf,
  OF,
  op1,
  op2,
  PF,
  pure,
  SF,
  select,
  wrap,
  ZF,
} from "../ir.js";
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
  readStable,
  register,
  setResult,
  signExtended,
  topBit,
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
    const value = steps.let(read(steps, source, width));
    const found = reverse
      ? arith("xor", count("clz", value), numberOf(type, type === "i64" ? 63 : 31))
      : count("ctz", value);
    const all = select(isNotZero(value), extendU(found), register(target.register, 8));
    const result = steps.let(width === 2 ? wrap(all) : all);
    steps.lane(ZF, isZero(value));
    steps.undefined(OF | SF | AF | CF | PF);
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
    steps.lane(CF, isZero(value));
    steps.lane(ZF, isZero(r));
    steps.undefined(OF | SF | AF | PF);
    setResult(steps, target, r);
  };

/** A source in a temporary, since the target may be the same register. */
const readIntoTemporary = (steps: StepBuilder, source: Operand, width: Width): Expr =>
  steps.keep(read(steps, source, width));

function zeroesOf(name: "clz" | "ctz", value: Expr, width: Width): Expr {
  if (width !== 2) return count(name, value);
  if (name === "ctz") return count("ctz", op2("i32.or", value, i32(0x10000)));
  return op2("i32.sub", count("clz", value), i32(16));
}

function popcnt(steps: StepBuilder, instruction: Instruction): void {
  const [target, source] = instruction.operands;
  const value = readIntoTemporary(steps, source, operandWidth(instruction));
  steps.undefined(ARITHMETIC_FLAGS & ~ZF);
  steps.lane(ZF, isZero(value));
  setResult(steps, target, count("popcnt", value));
}

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

/** The bytes of a value of this width in reverse. */
export function reversed(value: Expr, width: Width): Expr {
  if (width === 8) return pure("bswap64", "i64", value);
  if (width === 2) return op2("i32.or", op2("i32.shr_u", value, i32(8)), op2("i32.shl", value, i32(8)));
  const even = op2("i32.rotl", op2("i32.and", value, i32(0x00ff00ff)), i32(24));
  const odd = op2("i32.rotl", op2("i32.and", value, i32(0xff00ff00)), i32(8));
  return op2("i32.or", even, odd);
}

function bswap(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [target] = instruction.operands;
  // Undefined for 16 bits; processors leave zero.
  const r = width === 2 ? i32(0) : reversed(steps.let(read(steps, target, width)), width);
  setResult(steps, target, r);
}

/** A byte swap while loading or storing. */
function movbe(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [target, source] = instruction.operands;
  const r = reversed(readIntoTemporary(steps, source, width), width);
  if (target.kind === "memory") steps.store(addressOf(target), width, r);
  else setResult(steps, target, r);
}

function crc32(steps: StepBuilder, instruction: Instruction): void {
  const [target, source] = instruction.operands;
  if (target.kind !== "register" || (source.kind !== "register" && source.kind !== "memory")) return;
  const bytes = source.kind === "register" ? source.width : (source.bytes as Width);
  const data = extendU(read(steps, source, bytes));
  const r = pure("crc32c", "i32", register(target.register, 4), data, i32(bytes));
  setResult(steps, target, target.width === 8 ? extendU(r) : r);
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
  bswap,
  movbe,
  crc32,
};
