import type { Clock } from "../bus/clock.js";
import { type DiskBackend, type DiskDone, DiskError } from "../devices/disk-backend.js";
import { happens, type Random, randomBelow } from "../util/random.js";
import { totalLength } from "./disk-image.js";

/** Probabilities from 0 to 1 for each request; left out: 0. */
export interface DiskFaults {
  readError?: number;
  writeError?: number;
  flushError?: number;
  /** Only the first sectors of a write reach the disk, and the request fails. */
  tornWrite?: number;
  /** The request waits up to `longestDelay` nanoseconds before it starts, so that others overtake it. */
  delay?: number;
  longestDelay?: number;
}

/** A failing disk in front of any other: the same seed fails the same requests. */
export class FaultyDisk implements DiskBackend {
  readonly counters = { errors: 0, torn: 0, delayed: 0 };

  constructor(
    private readonly disk: DiskBackend,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly faults: DiskFaults,
  ) {}

  get sectorSize(): 512 | 4096 {
    return this.disk.sectorSize;
  }

  get sectors(): number {
    return this.disk.sectors;
  }

  get readOnly(): boolean {
    return this.disk.readOnly;
  }

  get synchronous(): boolean {
    return this.disk.synchronous === true && !(this.faults.delay !== undefined && this.faults.delay > 0);
  }

  read(position: number, into: readonly Uint8Array[], done: DiskDone): void {
    const error = this.#error(this.faults.readError, "read");
    this.#soon(() => (error === null ? this.disk.read(position, into, done) : done(error)));
  }

  write(position: number, from: readonly Uint8Array[], done: DiskDone): void {
    const error = this.#error(this.faults.writeError, "write");
    const sectors = Math.floor(totalLength(from) / this.sectorSize);
    if (error === null && sectors > 0 && happens(this.random, this.faults.tornWrite)) {
      this.counters.torn++;
      const torn = head(from, randomBelow(this.random, sectors) * this.sectorSize);
      const failed = new DiskError("write", "injected: the write was torn");
      this.#soon(() => this.disk.write(position, torn, (cause) => done(cause ?? failed)));
      return;
    }
    this.#soon(() => (error === null ? this.disk.write(position, from, done) : done(error)));
  }

  flush(done: DiskDone): void {
    const error = this.#error(this.faults.flushError, "write");
    this.#soon(() => (error === null ? this.disk.flush(done) : done(error)));
  }

  discard(position: number, length: number, done: DiskDone): void {
    const error = this.#error(this.faults.writeError, "write");
    this.#soon(() => (error === null ? this.disk.discard(position, length, done) : done(error)));
  }

  writeZeroes(position: number, length: number, done: DiskDone): void {
    const error = this.#error(this.faults.writeError, "write");
    this.#soon(() => (error === null ? this.disk.writeZeroes(position, length, done) : done(error)));
  }

  #error(probability: number | undefined, kind: "read" | "write"): DiskError | null {
    if (!happens(this.random, probability)) return null;
    this.counters.errors++;
    return new DiskError(kind, `injected: the ${kind} failed`);
  }

  #soon(start: () => void): void {
    if (!happens(this.random, this.faults.delay)) {
      start();
      return;
    }
    this.counters.delayed++;
    this.clock.timer(start).arm(randomBelow(this.random, Math.max(1, this.faults.longestDelay ?? 1)));
  }
}

/** The first `length` bytes of `spans`. */
function head(spans: readonly Uint8Array[], length: number): Uint8Array[] {
  const first: Uint8Array[] = [];
  let left = length;
  for (const span of spans) {
    if (left === 0) break;
    const part = span.subarray(0, left);
    first.push(part);
    left -= part.length;
  }
  return first;
}
