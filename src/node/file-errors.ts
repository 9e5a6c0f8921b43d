import { EnvironmentError, InputError, type KorralError } from "../util/errors.js";

/** The error number's name ("ENOENT") if `error` comes from the operating system. */
export function systemCode(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return null;
  return "syscall" in error ? error.code : null;
}

// biome-ignore format: a table
const INPUT: Readonly<Record<string, readonly [code: string, what: string]>> = {
  ENOENT:       ["file-missing",     "there is no such file: check the path"],
  ENOTDIR:      ["file-missing",     "a part of its path is no directory: check the path"],
  ENAMETOOLONG: ["file-missing",     "the name is too long for a file"],
  ELOOP:        ["file-missing",     "its symbolic links go round in circles"],
  EISDIR:       ["file-directory",   "it is a directory: give a file"],
  EACCES:       ["file-permission",  "permission denied: make it readable for you"],
  EPERM:        ["file-permission",  "the system does not permit it"],
};

// biome-ignore format: a table
const OUTPUT: Readonly<Record<string, readonly [code: string, what: string]>> = {
  ENOENT:  ["file-missing",     "its directory does not exist: create it first"],
  ENOTDIR: ["file-missing",     "a part of its path is no directory: check the path"],
  EISDIR:  ["file-directory",   "it is a directory: give the name of a file"],
  EACCES:  ["file-permission",  "permission denied: choose a place where you may write"],
  EPERM:   ["file-permission",  "the system does not permit it: choose another place"],
  EROFS:   ["file-permission",  "the file system is read-only: choose another place"],
  ENOSPC:  ["disk-full",        "no space is left: free some, or choose another place"],
  EDQUOT:  ["disk-full",        "your quota is used up: free some space, or choose another place"],
  EFBIG:   ["disk-full",        "it would get larger than the system allows"],
  EPIPE:   ["reader-gone",      "whoever was reading it has gone"],
};

/** What is wrong with a file that is to be read: unusable input, or surroundings that fail. */
export function inputFileError(name: string, error: unknown): KorralError {
  const code = systemCode(error);
  if (code === null) throw error;
  if (code in INPUT) return new InputError(INPUT[code][0], `cannot read ${name}: ${INPUT[code][1]}`);
  return new EnvironmentError("file-read", `cannot read ${name}: the system reports ${code}`);
}

/** What is wrong with a file that is to be written. */
export function outputFileError(name: string, error: unknown): KorralError {
  const code = systemCode(error);
  if (code === null) throw error;
  if (code in OUTPUT) return new EnvironmentError(OUTPUT[code][0], `cannot write ${name}: ${OUTPUT[code][1]}`);
  return new EnvironmentError("file-write", `cannot write ${name}: the system reports ${code}`);
}
