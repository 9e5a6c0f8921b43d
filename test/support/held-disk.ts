import type { DiskBackend, DiskDone } from "../../src/devices/disk-backend.js";
import { MemoryDisk } from "../../src/ports/disk-image.js";

/** A disk in memory that answers when it is told to. */
export class HeldDisk implements DiskBackend {
  readonly sectorSize = 512;
  readonly sectors: number;
  readonly readOnly = false;
  readonly memory: MemoryDisk;
  readonly held: (() => void)[] = [];
  /** Otherwise it answers at once. */
  holding = true;

  constructor(content: Uint8Array) {
    this.memory = new MemoryDisk(content.length);
    this.memory.write(0, [content], () => {});
    this.sectors = this.memory.sectors;
  }

  read(position: number, into: readonly Uint8Array[], done: DiskDone): void {
    this.#soon(() => this.memory.read(position, into, done));
  }

  write(position: number, from: readonly Uint8Array[], done: DiskDone): void {
    this.#soon(() => this.memory.write(position, from, done));
  }

  flush(done: DiskDone): void {
    this.#soon(() => this.memory.flush(done));
  }

  discard(position: number, length: number, done: DiskDone): void {
    this.#soon(() => this.memory.discard(position, length, done));
  }

  writeZeroes(position: number, length: number, done: DiskDone): void {
    this.#soon(() => this.memory.writeZeroes(position, length, done));
  }

  /** Does all that it was asked so far. */
  answer(): void {
    for (const answer of this.held.splice(0)) answer();
  }

  #soon(act: () => void): void {
    if (this.holding) this.held.push(act);
    else act();
  }
}
