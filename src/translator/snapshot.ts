import type { GuestAddress } from "../util/guest-address.js";
import type { GuestCode, KnownFunction } from "./code.js";
import type { CpuState } from "./cpu.js";
import { CPU } from "./cpu-state.js";
import { type GuestMemory, type Mapping, PAGE_BYTES } from "./guest-memory.js";
import { SHADOW } from "./guest-space.js";
import { Shadow } from "./shadow.js";

/** A state to go back to. Only the last one that was taken can be restored at a cost in proportion to what changed. */
export interface SnapshotState {
  readonly cpu: Uint8Array;
  readonly mappings: readonly Mapping[];
  readonly functions: readonly KnownFunction[];
  /** Guest memory and its shadow, by page. */
  readonly pages: Map<number, { readonly bytes: Uint8Array; readonly shadow: Uint8Array }>;
}

const PAGE_WORDS = PAGE_BYTES / 8;
const BLANK = new Uint8Array(PAGE_BYTES);

/**
 * Takes snapshots and goes back to them. After one was taken, the shadow of all writable bytes says "watched", so that the
 * first store to each page is noticed, and the page counted as changed; restoring touches these pages only.
 */
export class Snapshots {
  #base: SnapshotState | null = null;
  readonly #dirty = new Set<number>();
  /** Pages whose shadow has been set, mapped or not: red zones may lie beyond mappings. */
  readonly #shadowed = new Set<number>();
  readonly #uniform = new Map<bigint, Uint8Array>();

  constructor(
    private readonly memory: GuestMemory,
    private readonly cpu: CpuState,
    private readonly code: GuestCode,
    private readonly codeChanged: (from: GuestAddress, to: GuestAddress) => void,
  ) {}

  get dirtyPages(): number {
    return this.#dirty.size;
  }

  take(): SnapshotState {
    const { memory, code } = this;
    this.cpu.resolveLazyFlags();
    const pages: SnapshotState["pages"] = new Map();
    for (const page of this.#pages()) {
      this.#watch(page);
      pages.set(page, this.#copy(page));
    }
    this.#dirty.clear();
    const cpu = memory.bytes.slice(0, CPU.targets);
    const base = { cpu, mappings: [...memory.mappings], functions: code.functions, pages };
    this.#base = base;
    return base;
  }

  restore(state: SnapshotState): void {
    const { memory } = this;
    const changed = state === this.#base ? this.#dirty : new Set([...this.#pages(), ...state.pages.keys()]);
    for (const page of changed) {
      const at = page * PAGE_BYTES;
      const saved = state.pages.get(page);
      if (memory.isWatched(page)) {
        const start = memory.addressOf(page);
        this.codeChanged(start, (start + PAGE_BYTES) as GuestAddress);
        memory.unwatch(page);
      }
      memory.bytes.set(saved?.bytes ?? BLANK, at);
      memory.bytes.set(saved?.shadow ?? BLANK, at + SHADOW);
    }
    memory.restoreMappings(state.mappings);
    this.code.functions = state.functions;
    memory.bytes.set(state.cpu, 0);
    this.#base = state;
    this.#dirty.clear();
  }

  /** A page's shadow is about to change. */
  touchShadow(page: number): void {
    this.#shadowed.add(page);
    this.touch(page);
  }

  /** A page is about to change. */
  touch(page: number): void {
    if (this.#base !== null) this.#dirty.add(page);
  }

  #pages(): Set<number> {
    const pages = new Set(this.#shadowed);
    for (const { address, size } of this.memory.mappings) {
      const last = this.memory.page((address + size - 1) as GuestAddress);
      for (let page = this.memory.page(address); page <= last; page++) pages.add(page);
    }
    return pages;
  }

  #copy(page: number): { bytes: Uint8Array; shadow: Uint8Array } {
    const at = page * PAGE_BYTES;
    return { bytes: this.#shared(at), shadow: this.#shared(at + SHADOW) };
  }

  /** A copy of a page, the same for all pages that have one byte all over. */
  #shared(at: number): Uint8Array {
    const words = new BigUint64Array(this.memory.memory.buffer, at, PAGE_WORDS);
    const [first] = words;
    const known = this.#uniform.get(first);
    if ((known !== undefined || isUniform(first)) && words.every((word) => word === first)) {
      const page = known ?? this.memory.bytes.slice(at, at + PAGE_BYTES);
      this.#uniform.set(first, page);
      return page;
    }
    return this.memory.bytes.slice(at, at + PAGE_BYTES);
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

const isUniform = (word: bigint): boolean => word === (word & 0xffn) * 0x0101_0101_0101_0101n;
