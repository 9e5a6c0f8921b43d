import type { Instruction, MemoryOperand, RegisterOperand } from "../instruction.js";
import { RAX, RBX, RCX, RDX } from "../instruction.js";
import type { Address, Expr } from "../ir.js";
import { arith, extendU, field, i64, op2, select, wrap, ZF } from "../ir.js";
import type { LifterTable, StepBuilder } from "./builder.js";
import {
  addressOf,
  effectiveAddress,
  isNotZero,
  operandWidth,
  read,
  readForWrite,
  readRegister,
  register,
  sameRegister,
  setResult,
  storeResult,
  zeroExtended,
} from "./operands.js";

function xadd(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [target, source] = instruction.operands;
  const a = readForWrite(steps, target, width);
  const b = sameRegister(target, source) ? a : steps.let(read(steps, source, width));
  const r = steps.let(zeroExtended(arith("add", a, b), width));
  storeResult(steps, target, width, r);
  steps.flags("add", width, a, b, r);
  setResult(steps, source, a);
  setResult(steps, target, r);
}

/**
 * A failed comparison writes to memory what it held, but of a register nothing (AMD APM volume 3, CMPXCHG): then its
 * high half stays, as that of RAX does otherwise.
 */
function cmpxchg(steps: StepBuilder, instruction: Instruction): void {
  const width = operandWidth(instruction);
  const [target, source] = instruction.operands;
  const b = readForWrite(steps, target, width);
  const a = steps.let(zeroExtended(register(RAX, width), width));
  const equal = steps.let(arith("eq", a, b));
  const replacement = read(steps, source, width);
  storeResult(steps, target, width, select(equal, replacement, b));
  const r = target.kind === "register" ? steps.let(registerIf(equal, target, replacement)) : b;
  steps.flags("sub", width, a, b, steps.let(zeroExtended(arith("sub", a, b), width)));
  if (width < 4) steps.set(RAX, width, b);
  else steps.set(RAX, 8, select(equal, register(RAX, 8), extendU(b)));
  if (target.kind === "register") steps.set(target.register, width < 4 ? width : 8, r, target.high);
}

/** All that a register is, or `value` if `equal`. */
const registerIf = (equal: Expr, target: RegisterOperand, value: Expr): Expr =>
  target.width < 4
    ? select(equal, value, readRegister(target))
    : select(equal, extendU(value), register(target.register, 8));

/** The halves of EDX:EAX or RDX:RAX that a failed comparison sets; a successful one leaves all of them. */
function setPair(steps: StepBuilder, equal: Expr, low: Expr, high: Expr): void {
  steps.set(RAX, 8, select(equal, register(RAX, 8), low));
  steps.set(RDX, 8, select(equal, register(RDX, 8), high));
}

function cmpxchg8b(steps: StepBuilder, { operands: [target] }: Instruction): void {
  if (target.kind !== "memory") return;
  const low = (number: number): Expr => extendU(register(number, 4));
  const pair = (high: number, lower: number): Expr => op2("i64.or", op2("i64.shl", low(high), i64(32n)), low(lower));
  const value = readForWrite(steps, target, 8);
  const equal = steps.let(op2("i64.eq", value, pair(RDX, RAX)));
  storeResult(steps, target, 8, select(equal, pair(RCX, RBX), value));
  steps.lane(ZF, equal);
  setPair(steps, equal, extendU(wrap(value)), op2("i64.shr_u", value, i64(32n)));
}

/** Only ever aligned, so both halves lie in one page. */
function cmpxchg16b(steps: StepBuilder, { operands: [target] }: Instruction): void {
  if (target.kind !== "memory") return;
  const misaligned = op2("i64.and", linearAddress(target), i64(15n));
  steps.trapIf(isNotZero(misaligned), "general-protection");
  const lower = addressOf(target);
  const upper: Address = { ...lower, displacement: lower.displacement + 8n };
  const low = steps.load(lower, 8, "i64", false, true);
  const high = steps.load(upper, 8, "i64", false, true);
  const equal = steps.let(op2("i32.and", op2("i64.eq", low, register(RAX, 8)), op2("i64.eq", high, register(RDX, 8))));
  steps.store(lower, 8, select(equal, register(RBX, 8), low), true);
  steps.store(upper, 8, select(equal, register(RCX, 8), high), true);
  steps.lane(ZF, equal);
  setPair(steps, equal, low, high);
}

function linearAddress(operand: MemoryOperand): Expr {
  const offset = effectiveAddress(operand, "i64");
  if (operand.segment === "none") return offset;
  return op2("i64.add", offset, field(operand.segment === "fs" ? "fsBase" : "gsBase"));
}

export const EXCHANGE: LifterTable = { xadd, cmpxchg, cmpxchg8b, cmpxchg16b };
