// Shared by the fuzz runner and the spec: what a target is, and how its cases are numbered.
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { seededRandom } from "../../dist/util/random.js";

const SUFFIX = ".fuzz.mjs";
const folder = fileURLToPath(new URL(".", import.meta.url));

/** File names of the targets here. */
export function targetFiles() {
  return readdirSync(folder)
    .filter((name) => name.endsWith(SUFFIX))
    .sort();
}

/**
 * A target exports `name` and `run(rng)`: one case, made from `rng()` (32-bit unsigned numbers), sync or async. It
 * throws only on a defect. One whose cases are cheaper together exports `runBatch(rngs)` too, which throws an error with
 * the `index` of the case that failed; one that holds on to something exports `close()`.
 */
export async function loadTarget(file) {
  const { name, run, runBatch, close } = await import(new URL(file, import.meta.url).href);
  if (typeof name !== "string" || typeof run !== "function")
    throw new TypeError(`${file} exports no name and run(rng)`);
  return { name, run, runBatch, close };
}

/** Each case has a generator of its own, so that it can be run again alone. */
export function caseRandom(seed, number) {
  return seededRandom((Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) | 0);
}
