import type { CpuState } from "./cpu.js";
import { CPU } from "./cpu-state.js";
import { type GuestMemory, type Mapping, PAGE_BYTES } from "./guest-memory.js";
import { SHADOW } from "./guest-space.js";
import { Shadow } from "./shadow.js";

/** A state to go back to. Only the last one that was taken can be restored at a cost in proportion to what changed. */
export interface SnapshotState {
  readonly cpu: Uint8Array;
  readonly mappings: readonly Mapping[];
  /** Guest memory and its shadow, by page. */
  readonly pages: Map<number, { readonly bytes: Uint8Array; readonly shadow: Uint8Array }>;
}

const PAGE_WORDS = PAGE_BYTES / 8;

/**
 * Takes snapshots and goes back to them. After one was taken, the shadow of all writable bytes says "watched", so that the
 * first store to each page is noticed, and the page counted as changed; restoring touches these pages only.
 */
export class Snapshots {
  #base: SnapshotState | null = null;
  readonly #dirty = new Set<number>();

  constructor(
    private readonly memory: GuestMemory,
    private readonly cpu: CpuState,
  ) {}

  get dirtyPages(): number {
    return this.#dirty.size;
  }

  take(): SnapshotState {
    const { memory } = this;
    const pages: SnapshotState["pages"] = new Map();
    for (const page of this.#mappedPages()) {
      this.#watch(page);
      pages.set(page, this.#copy(page));
    }
    this.#dirty.clear();
    const base = { cpu: memory.bytes.slice(0, CPU.end), mappings: [...memory.mappings], pages };
    this.#base = base;
    return base;
  }

  restore(state: SnapshotState): void {
    const { memory } = this;
    const changed = state === this.#base ? this.#dirty : new Set([...this.#mappedPages(), ...state.pages.keys()]);
    const blank = new Uint8Array(PAGE_BYTES);
    for (const page of changed) {
      const at = page * PAGE_BYTES;
      const saved = state.pages.get(page);
      memory.bytes.set(saved?.bytes ?? blank, at);
      memory.bytes.set(saved?.shadow ?? blank, at + SHADOW);
    }
    memory.restoreMappings(state.mappings);
    memory.bytes.set(state.cpu, 0);
    this.cpu.resolveLazyFlags();
    this.#base = state;
    this.#dirty.clear();
  }

  /** A page is about to change. */
  touch(page: number): void {
    if (this.#base !== null) this.#dirty.add(page);
  }

  *#mappedPages(): Iterable<number> {
    let last = -1;
    for (const { address, size } of this.memory.mappings) {
      const first = Math.max(last + 1, this.memory.offset(address) >>> 12);
      last = (this.memory.offset(address) + size - 1) >>> 12;
      for (let page = first; page <= last; page++) yield page;
    }
  }

  #copy(page: number): { bytes: Uint8Array; shadow: Uint8Array } {
    const at = page * PAGE_BYTES;
    return {
      bytes: this.memory.bytes.slice(at, at + PAGE_BYTES),
      shadow: this.memory.bytes.slice(at + SHADOW, at + SHADOW + PAGE_BYTES),
    };
  }

  #watch(page: number): void {
    const start = page * PAGE_BYTES + SHADOW;
    const words = new BigUint64Array(this.memory.memory.buffer, start, PAGE_WORDS);
    for (let i = 0; i < PAGE_WORDS; i++) {
      if (words[i] === 0xffff_ffff_ffff_ffffn) words[i] = 0x8282_8282_8282_8282n;
      else if (words[i] !== 0n) this.#watchBytes(start + 8 * i);
    }
  }

  #watchBytes(start: number): void {
    const { bytes } = this.memory;
    for (let i = start; i < start + 8; i++) if (bytes[i] === Shadow.accessible) bytes[i] = Shadow.watched;
  }
}
