import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { inputFileError } from "./file-errors.js";

/** What changes when a file does, its contents not being read. @throws InputError if it is not there */
export function identityOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch (error) {
    throw inputFileError(path, error);
  }
}

/** A name for what may be anything. */
export function digestOf(contents: Uint8Array | string): string {
  return createHash("sha256").update(contents).digest("hex").slice(0, 32);
}
