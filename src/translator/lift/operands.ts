import type { Instruction, MemoryOperand, Operand, RegisterOperand, Width } from "../instruction.js";
import { GENERAL_REGISTERS } from "../instruction.js";
import type { Address, Expr } from "../ir.js";
import { arith, extendU, i32, i64, op1, op2, reg32, reg64, wrap } from "../ir.js";
import type { StepBuilder } from "./builder.js";

const REG32 = Array.from({ length: GENERAL_REGISTERS }, (_, register) => reg32(register));
const REG64 = Array.from({ length: GENERAL_REGISTERS }, (_, register) => reg64(register));
const BYTE = i32(0xff);
const WORD = i32(0xffff);
const EIGHT = i32(8);

export const typeOf = (width: Width): "i32" | "i64" => (width === 8 ? "i64" : "i32");
export const bitsOf = (width: Width): number => width * 8;
export const numberOf = (type: "i32" | "i64", value: number): Expr =>
  type === "i64" ? i64(BigInt(value)) : i32(value);

/** A general register, 8 or 4 bytes of it. */
export const register = (number: number, width: Width): Expr => (width === 8 ? REG64 : REG32)[number];

/** The low bytes of an i32, extended with zeroes; wider values as they are. */
export const zeroExtended = (value: Expr, width: Width): Expr =>
  width === 1 ? op2("i32.and", value, BYTE) : width === 2 ? op2("i32.and", value, WORD) : value;

/** An i32 whose low bytes count, with their sign; wider values as they are. */
export const signExtended = (value: Expr, width: Width): Expr =>
  width === 1 ? op1("i32.extend8_s", value) : width === 2 ? op1("i32.extend16_s", value) : value;

/** The top bit of a value of that width, as an i32. */
export function topBit(value: Expr, width: Width): Expr {
  const bit = arith("shr_u", value, numberOf(value.type as "i32" | "i64", bitsOf(width) - 1));
  return wrap(bit);
}

export const isZero = (value: Expr): Expr => op1(value.type === "i64" ? "i64.eqz" : "i32.eqz", value);
export const isNotZero = (value: Expr): Expr => arith("ne", value, numberOf(value.type as "i32" | "i64", 0));

/** The bytes that an operand tells: a register's or memory's. */
export function widthOf(operand: Operand): Width {
  if (operand.kind === "register") return operand.width;
  if (operand.kind === "memory") return operand.bytes as Width;
  throw new TypeError(`a ${operand.kind} operand has no width`);
}

/** Of the first operand. */
export const operandWidth = (instruction: Instruction): Width => widthOf(instruction.operands[0]);

export const addressOf = (operand: MemoryOperand): Address => ({
  base: operand.base < 0 ? null : REG64[operand.base],
  index: operand.index < 0 ? null : REG64[operand.index],
  scale: operand.scale,
  displacement: operand.displacement,
  segment: operand.segment,
  short: operand.short,
});

/** An address in a register or temporary (i64). */
export const at = (base: Expr, displacement = 0): Address => ({
  base,
  index: null,
  scale: 1,
  displacement: BigInt(displacement),
  segment: "none",
  short: false,
});

/** The sum that the operand describes, without its segment, of the given type. */
export function effectiveAddress(operand: MemoryOperand, type: "i32" | "i64"): Expr {
  if (operand.short && type === "i64") return extendU(effectiveAddress(operand, "i32"));
  const width = type === "i64" ? 8 : 4;
  let sum: Expr | null = operand.base < 0 ? null : register(operand.base, width);
  if (operand.index >= 0) {
    const index = register(operand.index, width);
    const shift = Math.log2(operand.scale);
    const scaled = shift === 0 ? index : arith("shl", index, numberOf(type, shift));
    sum = sum === null ? scaled : arith("add", sum, scaled);
  }
  if (sum === null) return immediate(operand.displacement, width);
  return operand.displacement === 0n ? sum : arith("add", sum, immediate(operand.displacement, width));
}

export function immediate(value: bigint, width: Width): Expr {
  if (width === 8) return i64(value);
  const low = Number(BigInt.asIntN(32, value));
  return i32(width === 4 ? low : low & (width === 1 ? 0xff : 0xffff));
}

export function readRegister(operand: RegisterOperand): Expr {
  const value = register(operand.register, operand.width);
  if (operand.width > 2) return value;
  return zeroExtended(operand.high ? op2("i32.shr_u", value, EIGHT) : value, operand.width);
}

/** An operand as an expression; memory is loaded. */
export function read(steps: StepBuilder, operand: Operand, width: Width): Expr {
  switch (operand.kind) {
    case "register":
      return readRegister(operand);
    case "immediate":
      return immediate(operand.value, width);
    case "memory":
      return steps.load(addressOf(operand), width, typeOf(width));
    default:
      throw new TypeError(`a ${operand.kind} operand cannot be read`);
  }
}

/** As `read`, in a form that may be used several times: a register itself as long as it does not change. */
export function readStable(steps: StepBuilder, operand: Operand, width: Width): Expr {
  const value = read(steps, operand, width);
  return value.kind === "reg" ? value : steps.keep(value);
}

/** As `read`, in a temporary: of a source that may be the target, too. */
export const readIntoTemporary = (steps: StepBuilder, operand: Operand, width: Width): Expr =>
  steps.keep(read(steps, operand, width));

/** As `read`, in a temporary: of an operand that will be written. */
export function readForWrite(steps: StepBuilder, operand: Operand, width: Width): Expr {
  if (operand.kind === "memory") return steps.load(addressOf(operand), width, typeOf(width), false, true);
  return steps.let(read(steps, operand, width));
}

/** The source that goes with a target read by `readForWrite`: `before` if it is the same register. */
export function readSource(steps: StepBuilder, operand: Operand, width: Width, target: Operand, before: Expr): Expr {
  return sameRegister(operand, target) ? before : readStable(steps, operand, width);
}

export const sameRegister = (a: Operand, b: Operand): boolean =>
  a.kind === "register" && b.kind === "register" && a.register === b.register && a.high === b.high;

/** Writes a target whose `readForWrite` came before, if it is memory: that comes before all flags. */
export function storeResult(steps: StepBuilder, target: Operand, width: Width, value: Expr): void {
  if (target.kind === "memory") steps.store(addressOf(target), width, value, true);
}

/** Writes a target if it is a register: that comes after all flags. */
export function setResult(steps: StepBuilder, target: Operand, value: Expr): void {
  if (target.kind === "register") steps.set(target.register, target.width, value, target.high);
}

/** Writes an operand that was not read before. */
export function write(steps: StepBuilder, target: Operand, width: Width, value: Expr): void {
  if (target.kind === "memory") steps.store(addressOf(target), width, value);
  else setResult(steps, target, value);
}
