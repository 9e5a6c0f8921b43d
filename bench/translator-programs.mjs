// The programs that the translator is measured with, and what the system's gcc makes of them.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** As many iterations as take a native processor some 70 ms. */
export const PROGRAMS = [
  { name: "crc32", iterations: 15_000 },
  { name: "hash", iterations: 13_000 },
  { name: "list", iterations: 3_800 },
  { name: "sort", iterations: 330 },
  { name: "lexer", iterations: 40_000 },
  { name: "matrix", iterations: 800 },
  { name: "checksum", iterations: 110_000 },
  { name: "ring", iterations: 30_000 },
  { name: "calls", iterations: 15_000 },
  { name: "core", iterations: 1_900 },
];

/** Apart from the others: a mix as CoreMark's, with a target of its own. */
export const MIXED = "core";

export const GCC_PACKAGES = "apt-get install gcc libc6-dev binutils";

/** Why nothing can be built here, or undefined. */
export function whyNoPrograms() {
  if (process.arch !== "x64") return `not measured: the programs are x86-64 and this machine is ${process.arch}`;
  for (const tool of ["gcc", "nm"])
    if (spawnSync(tool, ["--version"]).error !== undefined) return `not measured: ${tool} is missing (${GCC_PACKAGES})`;
  return undefined;
}

/** @returns the path of an object file, as anybody would compile it; it imports nothing */
export function compileObject(name, directory) {
  const object = join(directory, `${name}.o`);
  compile(["-O2", "-c", source(name), "-o", object]);
  const imports = spawnSync("nm", ["-u", object], { encoding: "utf8" }).stdout.trim();
  if (imports !== "") throw new Error(`${name}.c is to import nothing, but gcc made it import ${imports}`);
  return object;
}

export function linkProgram(name, object, directory) {
  const program = join(directory, name);
  compile(["-O2", source("main"), object, "-o", program]);
  return program;
}

/** @returns undefined where gcc has no AddressSanitizer */
export function linkWithAsan(name, directory) {
  const program = join(directory, `${name}-asan`);
  const args = ["-O2", "-fsanitize=address", source("main"), source(name), "-o", program];
  return spawnSync("gcc", args, { encoding: "utf8" }).status === 0 ? program : undefined;
}

const source = (name) => fileURLToPath(new URL(`programs/${name}.c`, import.meta.url));

function compile(args) {
  const { status, stderr } = spawnSync("gcc", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`gcc ${args.join(" ")} failed (${GCC_PACKAGES}):\n${stderr}`);
}
