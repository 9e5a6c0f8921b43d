import type { GuestAddress } from "../../util/guest-address.js";
import type { Instruction, Operand } from "../instruction.js";
import { CONDITIONS, nextAddress, RCX } from "../instruction.js";
import type { Expr } from "../ir.js";
import { arith, condition, i64, laneOf, op1, op2, ZF } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import { isNotZero, isZero, numberOf, read, readIntoTemporary, register, typeOf } from "./operands.js";
import { popValue, pushValue, unsigned16 } from "./stack.js";

const targetOf = (operand: Operand): GuestAddress => {
  if (operand.kind !== "branch") throw new TypeError(`a ${operand.kind} operand is no target`);
  return operand.target;
};

function jmp(steps: StepBuilder, { operands: [target] }: Instruction): void {
  if (target.kind === "branch") steps.end({ kind: "jump", target: target.target });
  else steps.end({ kind: "jumpIndirect", target: read(steps, target, 8) });
}

function jcc(steps: StepBuilder, { operands: [target], condition: code }: Instruction): void {
  if (code !== null) branch(steps, target, condition(code));
}

const branch = (steps: StepBuilder, target: Operand, taken: Expr): void =>
  steps.end({ kind: "branch", condition: taken, taken: targetOf(target) });

function call(steps: StepBuilder, instruction: Instruction): void {
  const [target] = instruction.operands;
  const returnAddress = i64(BigInt(nextAddress(instruction)));
  if (target.kind === "branch") {
    pushValue(steps, 8, returnAddress);
    steps.end({ kind: "call", target: target.target });
  } else {
    const pointer = readIntoTemporary(steps, target, 8);
    pushValue(steps, 8, returnAddress);
    steps.end({ kind: "callIndirect", target: pointer });
  }
}

function ret(steps: StepBuilder, { operands }: Instruction): void {
  const target = popValue(steps, 8, operands.length === 0 ? 0 : unsigned16(operands[0]));
  steps.end({ kind: "return", target });
}

/** jrcxz and jecxz. */
const jumpIfZero =
  (width: 4 | 8): Lifter =>
  (steps, { operands: [target] }) =>
    branch(steps, target, isZero(register(RCX, width)));

/** Counts RCX or ECX down; goes on while it is not zero and ZF is as wanted. */
const loop =
  (width: 4 | 8, zero: boolean | null): Lifter =>
  (steps, { operands: [target] }) => {
    const left = steps.let(arith("sub", register(RCX, width), numberOf(typeOf(width), 1)));
    steps.set(RCX, width, left);
    const more = isNotZero(left);
    if (zero === null) branch(steps, target, more);
    else branch(steps, target, op2("i32.and", more, zero ? laneOf(ZF) : op1("i32.eqz", laneOf(ZF))));
  };

export const CONTROL: LifterTable = {
  jmp,
  ...Object.fromEntries(CONDITIONS.map((code) => [`j${code}`, jcc])),
  call,
  ret,
  jrcxz: jumpIfZero(8),
  jecxz: jumpIfZero(4),
  loop: loop(8, null),
  loope: loop(8, true),
  loopne: loop(8, false),
  loopd: loop(4, null),
  looped: loop(4, true),
  loopned: loop(4, false),
};
