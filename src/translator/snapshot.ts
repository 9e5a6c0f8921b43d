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
  /** The same, to be asked quickly. */
  readonly #isShadowed = new Uint8Array(SHADOW / PAGE_BYTES);
  readonly #uniforms: Uint8Array[] = [];

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
    const { sweep } = memory;
    this.cpu.resolveLazyFlags();
    const pages: SnapshotState["pages"] = new Map();
    const varied: number[] = [];
    const all = this.#pages();
    for (const page of all) {
      const shadow = page * PAGE_BYTES + SHADOW;
      sweep.turn(shadow, shadow + PAGE_BYTES, Shadow.accessible, Shadow.watched);
      for (const at of [page * PAGE_BYTES, shadow]) if (!sweep.isUniform(at, at + PAGE_BYTES)) varied.push(at);
    }
    const copies = this.#copies(varied);
    for (const page of all) {
      const at = page * PAGE_BYTES;
      pages.set(page, {
        bytes: copies.get(at) ?? this.#uniform(at),
        shadow: copies.get(at + SHADOW) ?? this.#uniform(at + SHADOW),
      });
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
    if (this.#isShadowed[page] === 0) {
      this.#isShadowed[page] = 1;
      this.#shadowed.add(page);
    }
    this.touch(page);
  }

  /** A page is about to change. */
  touch(page: number): void {
    if (this.#base !== null) this.#dirty.add(page);
  }

  #pages(): Set<number> {
    const pages = new Set(this.#shadowed);
    for (const { address, size, reserved } of this.memory.mappings) {
      if (reserved) continue;
      const last = this.memory.page((address + size - 1) as GuestAddress);
      for (let page = this.memory.page(address); page <= last; page++) pages.add(page);
    }
    return pages;
  }

  /** Copies of pages by where they begin, in one piece: thousands of small buffers would take longer than the copying. */
  #copies(pages: readonly number[]): ReadonlyMap<number, Uint8Array> {
    const all = new Uint8Array(pages.length * PAGE_BYTES);
    const copies = new Map<number, Uint8Array>();
    pages.forEach((at, i) => {
      const copy = all.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      copy.set(this.memory.bytes.subarray(at, at + PAGE_BYTES));
      copies.set(at, copy);
    });
    return copies;
  }

  /** A page that has the same byte all over, shared by all that have it. */
  #uniform(at: number): Uint8Array {
    const value = this.memory.bytes[at];
    this.#uniforms[value] ??= new Uint8Array(PAGE_BYTES).fill(value);
    return this.#uniforms[value];
  }
}
