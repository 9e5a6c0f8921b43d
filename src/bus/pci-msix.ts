import { StateReader } from "../util/state-reader.js";
import type { AccessSize, DeviceHost } from "./device.js";
import { PciCapability, type PciConfigSpace } from "./pci-config.js";

const ENTRY_BYTES = 16;
const CONTROL_ENABLE = 0x8000;
const CONTROL_FUNCTION_MASK = 0x4000;
const VECTOR_MASKED = 1;

/** Plain-state twin. */
export interface MsiXState {
  table: number[];
  pending: number[];
}

/**
 * MSI-X (PCI 3.0 §6.8.2): capability, vector table and pending bit array. The device owns the BAR and forwards accesses
 * that fall into table or pending bits; a vector that is masked stays pending until it is unmasked.
 */
export class MsiX {
  /** Four words a vector: address low, address high, data, control. */
  readonly #table: Uint32Array;
  readonly #pending: Uint32Array;
  readonly #capability: number;

  constructor(
    readonly host: DeviceHost,
    readonly config: PciConfigSpace,
    readonly vectors: number,
    /** BAR and byte offsets of the table and the pending bits. */
    readonly place: { bar: number; table: number; pending: number },
  ) {
    this.#table = new Uint32Array(4 * vectors);
    this.#pending = new Uint32Array(Math.ceil(vectors / 32));
    this.#capability = config.addCapability(PciCapability.msix, 12);
    config.preset(this.#capability + 2, vectors - 1, 2);
    config.makeWritable(this.#capability + 2, CONTROL_ENABLE | CONTROL_FUNCTION_MASK, 2);
    config.preset(this.#capability + 4, place.table | place.bar, 4);
    config.preset(this.#capability + 8, place.pending | place.bar, 4);
    this.reset();
  }

  get enabled(): boolean {
    return (this.#control & CONTROL_ENABLE) !== 0;
  }

  get tableBytes(): number {
    return this.vectors * ENTRY_BYTES;
  }

  get pendingBytes(): number {
    return 8 * Math.ceil(this.vectors / 64);
  }

  /** Signals a vector: sends its message, or leaves it pending while masked. */
  notify(vector: number): void {
    if (vector >= this.vectors || !this.enabled) return;
    if (this.#isMasked(vector)) {
      this.#pending[vector >>> 5] |= 1 << (vector & 31);
      return;
    }
    this.#send(vector);
  }

  /** The owner calls this after writes to configuration space: the function mask may have gone. */
  configWritten(): void {
    if (this.enabled) for (let vector = 0; vector < this.vectors; vector++) this.#flush(vector);
  }

  readTable(offset: number, size: AccessSize): number {
    return readBytes(this.#table, offset, size);
  }

  writeTable(offset: number, size: AccessSize, value: number): void {
    const word = offset >>> 2;
    if (word >= this.#table.length) return;
    if (size === 4 && (offset & 3) === 0) {
      this.#table[word] = value;
    } else {
      const shift = 8 * (offset & 3);
      const mask = (size === 1 ? 0xff : 0xffff) << shift;
      this.#table[word] = (this.#table[word] & ~mask) | ((value << shift) & mask);
    }
    if ((word & 3) === 3) this.#flush(word >>> 2);
  }

  readPending(offset: number, size: AccessSize): number {
    return readBytes(this.#pending, offset, size);
  }

  reset(): void {
    this.#table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) this.#table[4 * vector + 3] = VECTOR_MASKED;
    this.#pending.fill(0);
  }

  snapshot(): MsiXState {
    return { table: [...this.#table], pending: [...this.#pending] };
  }

  /** @throws InputError */
  restore(state: unknown): void {
    const reader = new StateReader("MSI-X", state);
    const table = reader.numbers("table", this.#table.length, this.#table.length, 0xffff_ffff);
    const pending = reader.numbers("pending", this.#pending.length, this.#pending.length, 0xffff_ffff);
    this.#table.set(table);
    this.#pending.set(pending);
  }

  get #control(): number {
    return this.config.read(this.#capability + 2, 2);
  }

  #isMasked(vector: number): boolean {
    return (this.#control & CONTROL_FUNCTION_MASK) !== 0 || (this.#table[4 * vector + 3] & VECTOR_MASKED) !== 0;
  }

  #flush(vector: number): void {
    const bit = 1 << (vector & 31);
    if ((this.#pending[vector >>> 5] & bit) === 0 || !this.enabled || this.#isMasked(vector)) return;
    this.#pending[vector >>> 5] &= ~bit;
    this.#send(vector);
  }

  #send(vector: number): void {
    const at = 4 * vector;
    this.host.message(this.#table[at + 1] * 2 ** 32 + this.#table[at], this.#table[at + 2]);
  }
}

function readBytes(words: Uint32Array, offset: number, size: AccessSize): number {
  const word = words[offset >>> 2] ?? 0;
  if (size === 4) return word;
  return (word >>> (8 * (offset & 3))) & (size === 1 ? 0xff : 0xffff);
}
