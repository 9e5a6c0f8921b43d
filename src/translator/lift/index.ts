import { INVALID } from "../decode.js";
import type { Instruction, Operand } from "../instruction.js";
import type { Step } from "../ir.js";
import { ARITHMETIC } from "./arithmetic.js";
import { BITS } from "./bits.js";
import { BMI } from "./bmi.js";
import { type Lifter, StepBuilder } from "./builder.js";
import { BYTES } from "./bytes.js";
import { CONTROL } from "./control.js";
import { EXCHANGE } from "./exchange.js";
import { MOVES } from "./moves.js";
import { MULTIPLICATION } from "./multiply.js";
import { ROTATES } from "./rotates.js";
import { SHIFTS } from "./shifts.js";
import { STACK } from "./stack.js";
import { STATUS } from "./status.js";
import { STRINGS } from "./strings.js";
import { SYSTEM, SYSTEM_WITH_SPECIAL_REGISTER } from "./system.js";
import { liftVector } from "./vector.js";

const FAMILIES = [
  MOVES,
  ARITHMETIC,
  SHIFTS,
  ROTATES,
  MULTIPLICATION,
  BITS,
  BMI,
  BYTES,
  EXCHANGE,
  STRINGS,
  STACK,
  CONTROL,
  STATUS,
  SYSTEM,
];

const LIFTERS: ReadonlyMap<string, Lifter> = new Map(FAMILIES.flatMap((family) => Object.entries(family)));

const SYSTEM_STEPS: readonly Step[] = [{ kind: "system" }];

/** What the instruction does. The last step ends the block, or the next instruction follows. */
export function lift(instruction: Instruction): readonly Step[] {
  const { mnemonic, operands } = instruction;
  if (!operands.every(isGeneral)) {
    if (operands.some(isSpecial) && SYSTEM_WITH_SPECIAL_REGISTER.has(mnemonic)) return SYSTEM_STEPS;
    return liftVector(instruction) ?? unsupported(instruction);
  }
  const lifter = LIFTERS.get(mnemonic);
  if (lifter === undefined) return liftVector(instruction) ?? unsupported(instruction);
  const steps = new StepBuilder();
  lifter(steps, instruction);
  return steps.steps;
}

const isSpecial = ({ kind }: Operand): boolean => kind === "special";
const isGeneral = ({ kind }: Operand): boolean => kind !== "special" && kind !== "vector";

const unsupported = ({ mnemonic }: Instruction): readonly Step[] => [
  { kind: "unsupported", why: `${mnemonic} is not supported` },
];

/** Whether the instruction can be executed, by translated code or by the runtime. */
export const isCovered = (instruction: Instruction): boolean =>
  instruction.mnemonic !== INVALID && lift(instruction)[0]?.kind !== "unsupported";
