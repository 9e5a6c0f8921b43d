// The translator's instructions one by one against the processor that this runs on: registers, flags, memory and faults
// after snippets of random instructions. test/translator/fuzz.mjs goes on after differences and sums them up.
import { targetOf } from "../translator/oracle/target.mjs";

export const name = "translator";
export const { run, runBatch, close } = targetOf("evaluator");
