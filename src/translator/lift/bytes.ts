import type { Instruction, Width } from "../instruction.js";
import type { Expr } from "../ir.js";
import { extendU, i32, op2, pure } from "../ir.js";
import type { LifterTable, StepBuilder } from "./builder.js";
import { operandWidth, read, readIntoTemporary, register, setResult, widthOf, write } from "./operands.js";

/** The bytes of a value of this width in reverse. */
function reversed(value: Expr, width: Width): Expr {
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
  write(steps, target, width, r);
}

function crc32(steps: StepBuilder, instruction: Instruction): void {
  const [target, source] = instruction.operands;
  if (target.kind !== "register") return;
  const bytes = widthOf(source);
  const data = extendU(read(steps, source, bytes));
  const r = pure("crc32c", "i32", register(target.register, 4), data, i32(bytes));
  setResult(steps, target, target.width === 8 ? extendU(r) : r);
}

export const BYTES: LifterTable = { bswap, movbe, crc32 };
