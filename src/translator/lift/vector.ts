import type { Instruction } from "../instruction.js";
import type { Step } from "../ir.js";
import { StepBuilder } from "./builder.js";
import { VECTOR_ARITHMETIC } from "./vector-arithmetic.js";
import { VECTOR_MOVES } from "./vector-moves.js";
import type { VectorLifter } from "./vector-operands.js";
import { isVector } from "./vector-operands.js";
import { VECTOR_SHIFTS } from "./vector-shifts.js";
import { VECTOR_SHUFFLES } from "./vector-shuffles.js";

const LIFTERS: ReadonlyMap<string, VectorLifter> = new Map(
  [VECTOR_MOVES, VECTOR_ARITHMETIC, VECTOR_SHIFTS, VECTOR_SHUFFLES].flatMap((family) => Object.entries(family)),
);

/**
 * What an instruction on XMM registers does, if it only moves or computes with integers (SSE to SSE4.1). null: it
 * computes with floating-point numbers, is newer or uses MMX registers.
 */
export function liftVector({ mnemonic, operands }: Instruction): readonly Step[] | null {
  const lifter = LIFTERS.get(mnemonic);
  // Without such an operand it is a string instruction of the same name.
  if (lifter === undefined || !operands.some(isVector)) return null;
  if (operands.some(({ kind }) => kind === "special")) return null;
  const steps = new StepBuilder();
  lifter(steps, operands);
  return steps.steps;
}
