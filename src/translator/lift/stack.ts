import type { Instruction, MemoryOperand, Operand } from "../instruction.js";
import { RBP, RSP } from "../instruction.js";
import type { Expr } from "../ir.js";
import { i64, op2, wrap } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import { addressOf, at, read, register, setResult, typeOf, widthOf } from "./operands.js";

const stack = register(RSP, 8);
const frame = register(RBP, 8);

const plus = (value: Expr, bytes: number): Expr => op2("i64.add", value, i64(BigInt(bytes)));

/** Of 2 or 8 bytes. */
export function pushValue(steps: StepBuilder, width: 2 | 8, value: Expr): void {
  steps.store(at(stack, -width), width, value);
  steps.set(RSP, 8, plus(stack, -width));
}

/** The value at the top; `skip` more bytes than it has are taken from the stack. */
export function popValue(steps: StepBuilder, width: 2 | 8, skip = 0): Expr {
  const value = steps.load(at(stack), width, typeOf(width));
  steps.set(RSP, 8, plus(stack, width + skip));
  return value;
}

const push =
  (unstated: 2 | 8): Lifter =>
  (steps, { operands: [source] }) => {
    const width = source.kind === "immediate" ? unstated : (widthOf(source) as 2 | 8);
    pushValue(steps, width, read(steps, source, width));
  };

function pop(steps: StepBuilder, { operands: [target] }: Instruction): void {
  const width = widthOf(target) as 2 | 8;
  if (target.kind === "memory") {
    const value = steps.load(at(stack), width, typeOf(width));
    steps.store(addressOf(afterPop(target, width)), width, value);
    steps.set(RSP, 8, plus(stack, width));
  } else {
    setResult(steps, target, popValue(steps, width));
  }
}

/** An address with RSP as base uses the value that the pop leaves (Intel SDM volume 2, POP). */
const afterPop = (target: MemoryOperand, width: number): MemoryOperand =>
  target.base === RSP ? { ...target, displacement: target.displacement + BigInt(width) } : target;

const leave =
  (width: 2 | 8): Lifter =>
  (steps) => {
    const value = steps.load(at(frame), width, typeOf(width));
    steps.set(RSP, 8, plus(frame, width));
    steps.set(RBP, width, value);
  };

const unsigned16 = (operand: Operand): number =>
  operand.kind === "immediate" ? Number(BigInt.asUintN(16, operand.value)) : 0;

/**
 * A frame with copies of up to 30 pointers to outer frames. Whatever may fault is asked first: the copies may replace
 * what they are made of, and so could not be made again.
 */
const enter =
  (width: 2 | 8): Lifter =>
  (steps, { operands: [bytes, levels] }) => {
    const level = unsigned16(levels) & 31;
    for (let i = 1; i < level; i++) steps.probe(at(frame, -width * i), width, false);
    for (let i = 1; i <= level; i++) steps.probe(at(stack, -width * (i + 1)), width, true);
    // Intel SDM volume 2, ENTER: the last value of RSP must be a place that could be written.
    const top = steps.let(plus(stack, -width * (level + 1) - unsigned16(bytes)));
    steps.probe(at(top), width, true);
    steps.store(at(stack, -width), width, register(RBP, width));
    for (let i = 1; i < level; i++) {
      const pointer = steps.load(at(frame, -width * i), width, typeOf(width));
      steps.store(at(stack, -width * (i + 1)), width, pointer);
    }
    const pointer = steps.let(plus(stack, -width));
    if (level > 0) steps.store(at(stack, -width * (level + 1)), width, pointer);
    steps.set(RSP, 8, top);
    steps.set(RBP, width, width === 8 ? pointer : wrap(pointer));
  };

export const STACK: LifterTable = {
  push: push(8),
  pushw: push(2),
  pop,
  popw: pop,
  leave: leave(8),
  leavew: leave(2),
  enter: enter(8),
  enterw: enter(2),
};

export { unsigned16 };
