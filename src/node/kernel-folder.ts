import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { EnvironmentError } from "../util/errors.js";
import { outputFileError, systemCode } from "./file-errors.js";

/**
 * Makes a folder, with those above it. Node's own way of doing so does not end where the system will have none (`/proc`).
 * @throws EnvironmentError
 */
export function makeFolder(path: string): void {
  try {
    makeWithParents(path);
  } catch (error) {
    throw withCacheHint(outputFileError(path, error));
  }
}

/** An error with what to do about it where the cache is what cannot be written to. */
export function withCacheHint(error: unknown): unknown {
  if (!(error instanceof EnvironmentError) || error.message.includes("KORRAL_CACHE")) return error;
  return new EnvironmentError(error.code, `${error.message} (KORRAL_CACHE names the folder in which kernels are kept)`);
}

function makeWithParents(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (dirname(path) !== path) makeWithParents(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    if (systemCode(error) !== "EEXIST" || !statSync(path).isDirectory()) throw error;
  }
}
