import { type DiskBackend, type DiskDone, DiskError } from "../devices/disk-backend.js";
import { InputError } from "../util/errors.js";

// Devices stand below ports and state what they ask of a far side; everybody above may take it from here.
export * from "../devices/disk-backend.js";

/** The error for a range that leaves a disk of `size` bytes, or null. */
export function rangeError(size: number, position: number, length: number): DiskError | null {
  if (Number.isSafeInteger(position) && position >= 0 && length >= 0 && length <= size - position) return null;
  return new DiskError(
    "out-of-range",
    `bytes ${position} to ${position + length} lie outside this disk of ${size} bytes`,
  );
}

export function totalLength(spans: readonly Uint8Array[]): number {
  let length = 0;
  for (let i = 0; i < spans.length; i++) length += spans[i].length;
  return length;
}

/** How many sectors a raw image of `size` bytes has. @throws InputError if it does not end on a sector, or is empty. */
export function wholeSectors(name: string, size: number, sectorSize: 512 | 4096): number {
  if (size === 0)
    throw new InputError("disk-empty", `${name} is empty: a disk image has at least one sector of ${sectorSize} bytes`);
  const rest = size % sectorSize;
  if (rest !== 0) {
    throw new InputError(
      "disk-partial-sector",
      `${name} has ${size} bytes, which is no multiple of the sector size ${sectorSize}: the last sector has only ${rest} bytes (make it ${size + sectorSize - rest} bytes long, say with truncate -s)`,
    );
  }
  return size / sectorSize;
}

const CHUNK = 65_536;

export interface MemoryDiskOptions {
  sectorSize?: 512 | 4096;
  readOnly?: boolean;
}

/** A disk in memory. Only chunks of 64 KiB that were written to take up room. */
export class MemoryDisk implements DiskBackend {
  readonly sectorSize: 512 | 4096;
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly synchronous = true;
  readonly #size: number;
  readonly #chunks = new Map<number, Uint8Array>();

  /** @param size bytes, a multiple of the sector size. @throws InputError if it is not. */
  constructor(size: number, options: MemoryDiskOptions = {}) {
    this.sectorSize = options.sectorSize ?? 512;
    this.sectors = wholeSectors("the memory disk", size, this.sectorSize);
    this.readOnly = options.readOnly ?? false;
    this.#size = size;
  }

  read(position: number, into: readonly Uint8Array[], done: DiskDone): void {
    const error = rangeError(this.#size, position, totalLength(into));
    if (error !== null) {
      done(error);
      return;
    }
    let at = position;
    for (const span of into) {
      for (let filled = 0; filled < span.length; ) {
        const inside = at % CHUNK;
        const length = Math.min(CHUNK - inside, span.length - filled);
        const chunk = this.#chunks.get(Math.floor(at / CHUNK));
        if (chunk === undefined) span.fill(0, filled, filled + length);
        else span.set(chunk.subarray(inside, inside + length), filled);
        filled += length;
        at += length;
      }
    }
    done(null);
  }

  write(position: number, from: readonly Uint8Array[], done: DiskDone): void {
    const error = this.#refuse(position, totalLength(from));
    if (error !== null) {
      done(error);
      return;
    }
    let at = position;
    for (const span of from) {
      for (let taken = 0; taken < span.length; ) {
        const inside = at % CHUNK;
        const length = Math.min(CHUNK - inside, span.length - taken);
        this.#chunkAt(Math.floor(at / CHUNK)).set(span.subarray(taken, taken + length), inside);
        taken += length;
        at += length;
      }
    }
    done(null);
  }

  flush(done: DiskDone): void {
    done(null);
  }

  discard(position: number, length: number, done: DiskDone): void {
    this.writeZeroes(position, length, done);
  }

  writeZeroes(position: number, length: number, done: DiskDone): void {
    const error = this.#refuse(position, length);
    if (error !== null) {
      done(error);
      return;
    }
    const end = position + length;
    for (const [index, chunk] of this.#chunks) {
      const start = index * CHUNK;
      if (start >= end || start + CHUNK <= position) continue;
      if (start >= position && start + CHUNK <= end) this.#chunks.delete(index);
      else chunk.fill(0, Math.max(position - start, 0), Math.min(end - start, CHUNK));
    }
    done(null);
  }

  /** Bytes of memory that the content takes up. */
  get resident(): number {
    return this.#chunks.size * CHUNK;
  }

  #refuse(position: number, length: number): DiskError | null {
    if (this.readOnly) return new DiskError("read-only", "this disk was opened read-only");
    return rangeError(this.#size, position, length);
  }

  #chunkAt(index: number): Uint8Array {
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) {
      chunk = new Uint8Array(CHUNK);
      this.#chunks.set(index, chunk);
    }
    return chunk;
  }
}
