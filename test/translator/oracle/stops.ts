import type { TrapName } from "../../../src/translator/ir.js";
import type { Stop } from "./case.js";

/** What the translator's traps are to a processor. */
export const STOP_OF_TRAP: Readonly<Record<TrapName, Stop>> = {
  "divide-error": "divide-error",
  breakpoint: "breakpoint",
  "invalid-opcode": "invalid-opcode",
  "general-protection": "general-protection",
  alignment: "general-protection",
  "bound-range": "vector 5",
};
