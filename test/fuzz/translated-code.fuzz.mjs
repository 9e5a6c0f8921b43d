// The same snippets as functions that are compiled to WebAssembly, which shows what single instructions cannot: registers
// and flags that are kept or left out across instructions, checks that are joined, loops that are interrupted.
import { targetOf } from "../translator/oracle/target.mjs";

export const name = "translated-code";
export const { run, runBatch, close } = targetOf("sandbox-halting");
