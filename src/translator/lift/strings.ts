import type { Instruction, MemoryOperand, Width } from "../instruction.js";
import { RAX, RCX, RDI, RSI } from "../instruction.js";
import type { Expr } from "../ir.js";
import { arith, field, i64, op2, wrap } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import { addressOf, isZero, numberOf, readStable, register, typeOf, zeroExtended } from "./operands.js";

/** How a repeated comparison goes on: rep and repe while equal, repne while not. */
type Repetition = "none" | "rep" | "repne";

/** One turn. It returns the two values that were compared, if any. */
type Turn = (steps: StepBuilder, places: Places, width: Width) => readonly [Expr, Expr] | null;

interface Places {
  readonly source: MemoryOperand;
  readonly target: MemoryOperand;
  /** What is added to the addresses after each turn (i64). */
  readonly step: Expr;
}

const stringLifter =
  (width: Width, turn: Turn): Lifter =>
  (steps, instruction) => {
    const step = steps.let(directedStep(width));
    const places = { ...placesOf(instruction), step };
    const repetition = instruction.repne ? "repne" : instruction.rep ? "rep" : "none";
    if (repetition === "none") turn(steps, places, width);
    else repeat(steps, repetition, places, width, turn);
  };

/** The width, or its negative if DF is set. */
const directedStep = (width: Width): Expr =>
  op2("i64.sub", i64(BigInt(width)), op2("i64.shl", field("df"), i64(BigInt(Math.log2(width) + 1))));

/** Each turn is complete before the next begins, so that a fault or an interrupt leaves a state to go on from. */
function repeat(steps: StepBuilder, repetition: Repetition, places: Places, width: Width, turn: Turn): void {
  const wide = places.target.short ? 4 : 8;
  const count = register(RCX, wide);
  steps.loop(() => {
    steps.leaveIf(isZero(count));
    const compared = turn(steps, places, width);
    steps.set(RCX, wide, arith("sub", count, numberOf(typeOf(wide), 1)));
    if (compared !== null) steps.leaveIf(arith(repetition === "rep" ? "ne" : "eq", ...compared));
  });
}

/** The operands at RSI and RDI; where the instruction has but one of them, it stands for both. */
function placesOf({ operands }: Instruction): { source: MemoryOperand; target: MemoryOperand } {
  const memory = operands.filter((operand) => operand.kind === "memory");
  const source = memory.find(({ base }) => base === RSI) ?? memory[0];
  const target = memory.find(({ base }) => base === RDI) ?? memory[0];
  return { source, target };
}

function advance(steps: StepBuilder, { base, short }: MemoryOperand, step: Expr): void {
  if (short) steps.set(base, 4, op2("i32.add", register(base, 4), wrap(step)));
  else steps.set(base, 8, op2("i64.add", register(base, 8), step));
}

const load = (steps: StepBuilder, operand: MemoryOperand, width: Width): Expr =>
  steps.load(addressOf(operand), width, typeOf(width));

function movs(steps: StepBuilder, { source, target, step }: Places, width: Width): null {
  const value = load(steps, source, width);
  steps.store(addressOf(target), width, value);
  advance(steps, source, step);
  advance(steps, target, step);
  return null;
}

function stos(steps: StepBuilder, { target, step }: Places, width: Width): null {
  steps.store(addressOf(target), width, register(RAX, width));
  advance(steps, target, step);
  return null;
}

function lods(steps: StepBuilder, { source, step }: Places, width: Width): null {
  const value = load(steps, source, width);
  advance(steps, source, step);
  steps.set(RAX, width, value);
  return null;
}

function compare(steps: StepBuilder, width: Width, a: Expr, b: Expr): readonly [Expr, Expr] {
  steps.flags("sub", width, a, b, steps.let(zeroExtended(arith("sub", a, b), width)));
  return [a, b];
}

function cmps(steps: StepBuilder, { source, target, step }: Places, width: Width): readonly [Expr, Expr] {
  const a = load(steps, source, width);
  const compared = compare(steps, width, a, load(steps, target, width));
  advance(steps, source, step);
  advance(steps, target, step);
  return compared;
}

function scas(steps: StepBuilder, { target, step }: Places, width: Width): readonly [Expr, Expr] {
  const b = load(steps, target, width);
  const a = readStable(steps, { kind: "register", register: RAX, width, high: false }, width);
  const compared = compare(steps, width, a, b);
  advance(steps, target, step);
  return compared;
}

const family = (name: string, turn: Turn): LifterTable => ({
  [`${name}b`]: stringLifter(1, turn),
  [`${name}w`]: stringLifter(2, turn),
  [`${name}d`]: stringLifter(4, turn),
  [`${name}q`]: stringLifter(8, turn),
});

export const STRINGS: LifterTable = {
  ...family("movs", movs),
  ...family("stos", stos),
  ...family("lods", lods),
  ...family("cmps", cmps),
  ...family("scas", scas),
};
