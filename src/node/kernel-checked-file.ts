import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { outputFileError, systemCode } from "./file-errors.js";

/** What is read and summed up at once: it stays in the processor's cache between the two. */
const CHUNK = 1 << 20;
const SEAL_BYTES = 8;
let written = 0;

/** What a file has to be. The sum finds accidents; whoever may write to a cache can write the sum, too. */
export interface FileCheck {
  readonly size: number;
  readonly crc: number;
}

export function checkOf(bytes: Uint8Array): FileCheck {
  return { size: bytes.length, crc: crc32(bytes) };
}

/** @returns the file's bytes, null if it is missing or not what was written once */
export function readChecked(path: string, check: FileCheck): Uint8Array | null {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return null;
  }
  try {
    if (fstatSync(fd).size !== check.size) return null;
    const bytes = new Uint8Array(check.size);
    let crc = 0;
    for (let at = 0; at < bytes.length; ) {
      const count = readSync(fd, bytes, at, Math.min(CHUNK, bytes.length - at), at);
      if (count === 0) return null;
      crc = crc32(bytes.subarray(at, at + count), crc);
      at += count;
    }
    return crc === check.crc ? bytes : null;
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return null;
  } finally {
    closeSync(fd);
  }
}

/** On the disk when it returns, under a name that nothing else has. @throws EnvironmentError */
export function writeDurably(path: string, bytes: Uint8Array): void {
  try {
    const fd = openSync(path, "wx", 0o644);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw outputFileError(path, error);
  }
}

/** Whoever reads meanwhile, or after a crash, finds all of the old contents or all of the new. @throws EnvironmentError */
export function replaceFile(path: string, bytes: Uint8Array): void {
  const scratch = `${path}.new-${process.pid}-${written++}`;
  try {
    writeDurably(scratch, bytes);
    // A file cannot take the place of a folder, which is damage like any other.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
      rmSync(path, { recursive: true, force: true });
    renameSync(scratch, path);
  } catch (error) {
    if (existsSync(scratch)) rmSync(scratch, { force: true });
    throw systemCode(error) === null ? error : outputFileError(path, error);
  }
  syncDirectory(dirname(path));
}

/** Renames in it outlive a loss of power; not every file system can. */
export function syncDirectory(path: string): void {
  try {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemCode(error) === null) throw error;
  }
}

/** As `replaceFile`, with a check of its own behind the bytes. @throws EnvironmentError */
export function writeSealed(path: string, bytes: Uint8Array): void {
  const sealed = new Uint8Array(bytes.length + SEAL_BYTES);
  sealed.set(bytes);
  const view = new DataView(sealed.buffer);
  view.setUint32(bytes.length, crc32(bytes), true);
  view.setUint32(bytes.length + 4, bytes.length, true);
  replaceFile(path, sealed);
}

/** @returns what `writeSealed` wrote, null if there is no such file, or it is damaged */
export function readSealed(path: string): Uint8Array | null {
  if (!existsSync(path)) return null;
  let sealed: Uint8Array;
  try {
    sealed = readFileSync(path);
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return null;
  }
  const size = sealed.length - SEAL_BYTES;
  if (size < 0) return null;
  const view = new DataView(sealed.buffer, sealed.byteOffset + size, SEAL_BYTES);
  const bytes = new Uint8Array(sealed.buffer, sealed.byteOffset, size);
  return view.getUint32(4, true) === size && view.getUint32(0, true) === crc32(bytes) ? bytes : null;
}
