import { InstructionDecoder, isDecodeFailure } from "../../src/translator/decode.js";
import type { Instruction } from "../../src/translator/instruction.js";
import { printSteps } from "../../src/translator/ir-text.js";
import { lift } from "../../src/translator/lift/index.js";
import type { GuestAddress } from "../../src/util/guest-address.js";

/** Where the instructions of specs lie. */
export const CODE = -0x7f000000 as GuestAddress;

const decoder = new InstructionDecoder();

/** The instruction that these hexadecimal bytes are. */
export function decoded(hex: string): Instruction {
  const bytes = Uint8Array.from(hex.trim().split(/\s+/), (byte) => Number.parseInt(byte, 16));
  const instruction = decoder.decode(bytes, 0, bytes.length, CODE);
  if (isDecodeFailure(instruction)) throw new Error(`${hex}: ${instruction.failure}`);
  if (instruction.length !== bytes.length) throw new Error(`${hex}: ${instruction.length} bytes are an instruction`);
  return instruction;
}

/** Its steps as text. */
export const lifted = (hex: string): string[] => printSteps(lift(decoded(hex)));
