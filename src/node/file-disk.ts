import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  openSync,
  readSync,
  readvSync,
  writeSync,
  writevSync,
} from "node:fs";
import { type DiskBackend, type DiskDone, DiskError } from "../devices/disk-backend.js";
import { rangeError, totalLength, wholeSectors } from "../ports/disk-image.js";
import { InputError } from "../util/errors.js";
import { inputFileError, systemCode } from "./file-errors.js";
import { transferAll } from "./transfer-all.js";

const ZEROES = new Uint8Array(65_536);
/** Refused for writing, though perhaps not for reading. */
const NOT_WRITABLE = new Set(["EACCES", "EPERM", "EROFS", "ETXTBSY"]);

export interface FileDiskOptions {
  sectorSize?: 512 | 4096;
  /** `if-needed`: only if the file cannot be opened for writing. */
  readOnly?: boolean | "if-needed";
}

/**
 * A raw disk image. Reads and writes go straight between the file and the spans; the file never changes its size.
 * Each request is finished when its call returns.
 */
export class FileDisk implements DiskBackend, Disposable {
  readonly sectorSize: 512 | 4096;
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly synchronous = true;
  readonly #name: string;
  readonly #size: number;
  #fd: number;

  /** @throws InputError if the file cannot be opened, is no regular file, or does not end on a sector. */
  constructor(name: string, options: FileDiskOptions = {}) {
    this.#name = name;
    this.sectorSize = options.sectorSize ?? 512;
    const opened = openImage(name, options.readOnly ?? false);
    this.#fd = opened.fd;
    this.readOnly = opened.readOnly;
    try {
      const status = fstatSync(this.#fd);
      if (!status.isFile()) throw new InputError("disk-kind", `${name} is no regular file: give a raw disk image`);
      this.#size = status.size;
      this.sectors = wholeSectors(name, status.size, this.sectorSize);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  read(position: number, into: readonly Uint8Array[], done: DiskDone): void {
    const error = rangeError(this.#size, position, totalLength(into));
    done(error ?? this.#attempt("read", () => this.#readAll(position, into)));
  }

  write(position: number, from: readonly Uint8Array[], done: DiskDone): void {
    const error = this.#refuse(position, totalLength(from));
    done(error ?? this.#attempt("write", () => this.#writeAll(position, from)));
  }

  flush(done: DiskDone): void {
    done(this.#attempt("write", () => fdatasyncSync(this.#fd)));
  }

  /** The file system is not asked to give the room back: the content stays. */
  discard(position: number, length: number, done: DiskDone): void {
    done(this.#refuse(position, length));
  }

  writeZeroes(position: number, length: number, done: DiskDone): void {
    const error = this.#refuse(position, length);
    done(error ?? this.#attempt("write", () => this.#zero(position, length)));
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #refuse(position: number, length: number): DiskError | null {
    if (this.readOnly) return new DiskError("read-only", `${this.#name} was opened read-only`);
    return rangeError(this.#size, position, length);
  }

  #attempt(kind: "read" | "write", transfer: () => void): DiskError | null {
    try {
      transfer();
      return null;
    } catch (error) {
      if (error instanceof DiskError) return error;
      const code = systemCode(error);
      if (code === null) throw error;
      const full = code === "ENOSPC" || code === "EDQUOT";
      return new DiskError(full ? "no-space" : kind, `${kind} of ${this.#name} failed: the system reports ${code}`);
    }
  }

  #readAll(position: number, into: readonly Uint8Array[]): void {
    transferAll(position, into, (spans, at) => {
      const count =
        spans.length === 1 ? readSync(this.#fd, spans[0], 0, spans[0].length, at) : readvSync(this.#fd, spans, at);
      if (count === 0) throw new DiskError("read", `${this.#name} has become shorter: it ends before byte ${at}`);
      return count;
    });
  }

  #writeAll(position: number, from: readonly Uint8Array[]): void {
    transferAll(position, from, (spans, at) =>
      spans.length === 1 ? writeSync(this.#fd, spans[0], 0, spans[0].length, at) : writevSync(this.#fd, spans, at),
    );
  }

  #zero(position: number, length: number): void {
    for (let at = 0; at < length; ) {
      at += writeSync(this.#fd, ZEROES, 0, Math.min(ZEROES.length, length - at), position + at);
    }
  }
}

function openImage(name: string, readOnly: boolean | "if-needed"): { fd: number; readOnly: boolean } {
  if (readOnly === true) return { fd: open(name, constants.O_RDONLY), readOnly };
  try {
    return { fd: openSync(name, constants.O_RDWR | constants.O_NONBLOCK), readOnly: false };
  } catch (error) {
    if (!NOT_WRITABLE.has(systemCode(error) ?? "")) throw inputFileError(name, error);
    if (readOnly === "if-needed") return { fd: open(name, constants.O_RDONLY), readOnly: true };
    throw new InputError("file-permission", `cannot write ${name}: make it writable for you, or attach it read-only`);
  }
}

function open(name: string, flags: number): number {
  try {
    // Non-blocking, or a named pipe would wait for its other end instead of being refused.
    return openSync(name, flags | constants.O_NONBLOCK);
  } catch (error) {
    throw inputFileError(name, error);
  }
}
