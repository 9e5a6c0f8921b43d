// Bare code that runs until `hlt`, and what the registers hold then.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { machineState, stopOf } from "./state.mjs";

const BUDGET = 50_000_000;
/** Never mapped. */
const NOWHERE = 0x108;
const ALL = { read: true, write: true, execute: true };
const MASK = (1n << 64n) - 1n;

/** @returns how it ended, and the whole state then */
export function runImage(sandbox, folder, test, known) {
  const code = readFileSync(join(folder, test.code));
  const start = Number(test.address);
  sandbox.map(start, Math.ceil(code.length / 4096) * 4096, ALL, "code");
  sandbox.write(start, code);
  for (const [address, size] of Object.entries(test.maps)) sandbox.map(Number(address), size, ALL, address);
  for (const [address, bytes] of Object.entries(test.memory)) sandbox.write(Number(address), Buffer.from(bytes, "hex"));
  if (known) sandbox.code.addFunctions([{ name: "test", address: start, size: code.length }]);
  sandbox.setRegister("rip", BigInt(start));
  const stop = sandbox.run(NOWHERE, BUDGET);
  const state = machineState(sandbox);
  const end = stopOf(sandbox, stop);
  return { ...end, state, wrong: end.end === "halted" ? differences(test.expect, state) : [] };
}

/** Registers that are not as expected; those that the sandbox has none of (mm0, the upper half of ymm0) do not count. */
function differences(expected, state) {
  const wrong = [];
  for (const [name, words] of Object.entries(expected)) {
    const got = state.registers[name];
    if (got === undefined) continue;
    words.slice(0, got.length).forEach((word, i) => {
      const wanted = BigInt(word) & MASK;
      if (wanted !== BigInt(got[i])) wrong.push(`${name}[${i}] is ${got[i]}, not 0x${wanted.toString(16)}`);
    });
  }
  return wrong;
}
