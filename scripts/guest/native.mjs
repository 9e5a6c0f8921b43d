// Programs for guests that the shell there has nothing for: C, linked so that it needs nothing else.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * @param name of a source file in this folder
 * @returns the executable
 * @throws Error if there is no compiler, or it refuses
 */
export function guestProgram(name) {
  const folder = mkdtempSync(join(tmpdir(), "korral-guest-"));
  try {
    const binary = join(folder, "program");
    const source = fileURLToPath(new URL(name, import.meta.url));
    const { status, error, stderr } = spawnSync("gcc", ["-O2", "-static", "-o", binary, source], { encoding: "utf8" });
    if (status === 0) return readFileSync(binary);
    throw new Error(`${name} does not compile (packages gcc and libc6-dev): ${error?.message ?? stderr}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
