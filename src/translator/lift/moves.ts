import { CONDITIONS, type Instruction, type Operand, RAX, RBX, RDX, type Width } from "../instruction.js";
import type { Expr } from "../ir.js";
import { arith, condition, extendS, extendU, select } from "../ir.js";
import type { LifterTable, StepBuilder } from "./builder.js";
import {
  addressOf,
  effectiveAddress,
  numberOf,
  operandWidth,
  read,
  readForWrite,
  readRegister,
  register,
  sameRegister,
  setResult,
  signExtended,
  storeResult,
  typeOf,
  widthOf,
  write,
  zeroExtended,
} from "./operands.js";

function mov(steps: StepBuilder, { operands: [target, source] }: Instruction): void {
  const width = widthOf(target);
  write(steps, target, width, read(steps, source, width));
}

/** The source extended to the target's width. */
function extended(steps: StepBuilder, source: Operand, width: Width, signed: boolean): Expr {
  const narrow = widthOf(source);
  if (source.kind === "memory") return steps.load(addressOf(source), narrow as 1 | 2 | 4, typeOf(width), signed);
  const value = read(steps, source, narrow);
  if (!signed) return width === 8 ? extendU(value) : value;
  const word = signExtended(value, narrow);
  return width === 8 ? extendS(word) : word;
}

function movzx(steps: StepBuilder, { operands: [target, source] }: Instruction): void {
  setResult(steps, target, extended(steps, source, widthOf(target), false));
}

function movsx(steps: StepBuilder, { operands: [target, source] }: Instruction): void {
  setResult(steps, target, extended(steps, source, widthOf(target), true));
}

function lea(steps: StepBuilder, { operands: [target, source] }: Instruction): void {
  if (source.kind === "memory") setResult(steps, target, effectiveAddress(source, typeOf(widthOf(target))));
}

/** Memory is read, and may fault, whatever the condition; 32 bits are extended whatever the condition. */
function cmov(steps: StepBuilder, { operands: [target, source], condition: code }: Instruction): void {
  if (code === null || target.kind !== "register") return;
  const value = read(steps, source, target.width);
  setResult(steps, target, select(condition(code), value, readRegister(target)));
}

function setcc(steps: StepBuilder, { operands: [target], condition: code }: Instruction): void {
  if (code !== null) write(steps, target, 1, condition(code));
}

function xchg(steps: StepBuilder, instruction: Instruction): void {
  const { operands } = instruction;
  const [a, b] = operands[0].kind === "memory" ? operands : [operands[1], operands[0]];
  const width = operandWidth(instruction);
  const first = readForWrite(steps, a, width);
  const second = sameRegister(a, b) ? first : steps.let(read(steps, b, width));
  storeResult(steps, a, width, second);
  setResult(steps, a, second);
  setResult(steps, b, first);
}

/** The sign of the low half of the accumulator into all of it. */
const extendAccumulator =
  (width: 2 | 4 | 8) =>
  (steps: StepBuilder): void => {
    const half = extended(
      steps,
      { kind: "register", register: RAX, width: (width / 2) as Width, high: false },
      width,
      true,
    );
    steps.set(RAX, width, half);
  };

/** The sign of the accumulator into all of the data register. */
const extendIntoData =
  (width: 2 | 4 | 8) =>
  (steps: StepBuilder): void => {
    const value = signExtended(register(RAX, width), width);
    steps.set(RDX, width, arith("shr_s", value, numberOf(typeOf(width), width === 8 ? 63 : 31)));
  };

/** AL = the byte at RBX + AL. */
function xlatb(steps: StepBuilder, { operands: [source] }: Instruction): void {
  if (source.kind !== "memory") return;
  const index = steps.let(extendU(zeroExtended(register(RAX, 4), 1)));
  const address = { ...addressOf(source), base: register(RBX, 8), index };
  steps.set(RAX, 1, steps.load(address, 1, "i32"));
}

export const MOVES: LifterTable = {
  mov,
  movnti: mov,
  movdiri: mov,
  movzx,
  movsx,
  movsxd: movsx,
  lea,
  xchg,
  xlatb,
  cbw: extendAccumulator(2),
  cwde: extendAccumulator(4),
  cdqe: extendAccumulator(8),
  cwd: extendIntoData(2),
  cdq: extendIntoData(4),
  cqo: extendIntoData(8),
  ...Object.fromEntries(CONDITIONS.map((code) => [`cmov${code}`, cmov])),
  ...Object.fromEntries(CONDITIONS.map((code) => [`set${code}`, setcc])),
};
