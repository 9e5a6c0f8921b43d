import { SHADOW } from "../translator/guest-space.js";
import { Shadow } from "../translator/shadow.js";
import { KorralError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";

/** Behind each allocation so many bytes are a red zone, at least. */
const RED_ZONE = 16;
const GRANULE = 16;
/** What is freed is not used again before so many others of its size were freed. */
const QUARANTINE = 64;
/** Above this, allocations are of whole pages. */
const LARGEST_SMALL = 32_768;
const PAGE = 4096;
/** Taken items of a queue that are kept until they are cut off together. */
const LONGEST_HEAD = 4096;
/** Small slots are cut out of pieces of this size. */
const CHUNK = 0x10000;

/** The domain's memory is used up. */
export class HeapExhaustedError extends KorralError {}

/** What is wrong with a pointer that is to be freed. */
export type BadFree = "double-free" | "invalid-free";

/** A live or freed allocation, for those who explain an access. */
export interface AllocationRecord {
  readonly address: GuestAddress;
  readonly size: number;
  readonly live: boolean;
}

export interface AllocationObserver {
  allocated(address: GuestAddress, size: number): void;
  freed(address: GuestAddress): void;
}

export interface HeapState {
  readonly next: number;
  readonly live: number;
  readonly liveBytes: number;
  /** By slot size. */
  readonly free: readonly (readonly [slot: number, addresses: readonly number[]])[];
  readonly open: readonly (readonly [slot: number, at: number, end: number])[];
}

/** First in, first out. */
class Queue {
  readonly #items: number[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: number): void {
    this.#items.push(item);
  }

  get all(): number[] {
    return this.#items.slice(this.#head);
  }

  shift(): number {
    const item = this.#items[this.#head++];
    if (this.#head > LONGEST_HEAD) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }
}

/**
 * Where `kmalloc` takes memory from. Each allocation has its exact size: a byte more is a red zone, and what is freed stays
 * inaccessible until its place is used again, as late as possible.
 */
export class Heap {
  live = 0;
  liveBytes = 0;
  /** Told of each allocation, and of each end of one. */
  observer: AllocationObserver | null = null;
  #next: number;
  /** By granule from the start: bytes of a live allocation that begins there, negative for a freed one. 0-byte ones count as 1. */
  readonly #sizes: Int32Array;
  /** Bytes of the slot that begins there. */
  readonly #slots: Int32Array;
  /** Free places by slot size in granules; of large ones, by size. */
  readonly #free: (Queue | undefined)[] = [];
  readonly #freeLarge = new Map<number, Queue>();
  /** What is left of a chunk, by slot size. */
  readonly #open = new Map<number, { at: number; end: number }>();

  constructor(
    private readonly guest: Guest,
    readonly start: GuestAddress,
    private readonly limit: () => GuestAddress,
    /** Told of memory that is going to be used. */
    private readonly reveal: (address: GuestAddress, bytes: number) => void,
  ) {
    this.#next = start;
    const granules = (limit() - start) / GRANULE;
    this.#sizes = new Int32Array(granules);
    this.#slots = new Int32Array(granules);
  }

  /** The first address that no allocation has reached. */
  get top(): GuestAddress {
    return this.#next as GuestAddress;
  }

  /** Zeroed. Aligned to its size if that is a power of two, else to 64 or 16 bytes. @throws HeapExhaustedError */
  allocate(size: number): GuestAddress {
    if (!(size >= 0 && size < 2 ** 30)) throw this.#exhausted(size);
    const slot = slotFor(size);
    const free = this.#freeOf(slot);
    const address = (free !== undefined && free.length > QUARANTINE ? free.shift() : this.#fresh(slot)) as GuestAddress;
    const granule = (address - this.start) / GRANULE;
    this.#sizes[granule] = Math.max(1, size);
    this.#slots[granule] = slot;
    this.live++;
    this.liveBytes += size;
    const { memory } = this.guest;
    const at = memory.offset(address);
    memory.onShadowChange?.(at >>> 12, (at + slot - 1) >>> 12);
    memory.sweep.fill(at + SHADOW, at + SHADOW + size, Shadow.accessible);
    memory.sweep.fill(at + SHADOW + size, at + SHADOW + slot, Shadow.redZone);
    memory.sweep.fill(at, at + size, 0);
    this.observer?.allocated(address, size);
    return address;
  }

  /** @returns what is wrong with it, null if it was freed */
  free(address: GuestAddress): BadFree | null {
    const granule = (address - this.start) / GRANULE;
    const size = this.#sizes[granule];
    if (size === undefined || size === 0 || !Number.isInteger(granule)) return "invalid-free";
    if (size < 0) return "double-free";
    this.#sizes[granule] = -size;
    const slot = this.#slots[granule];
    this.live--;
    this.liveBytes -= size;
    this.observer?.freed(address);
    const { memory } = this.guest;
    const at = memory.offset(address);
    memory.onShadowChange?.(at >>> 12, (at + slot - 1) >>> 12);
    memory.sweep.fill(at + SHADOW, at + SHADOW + slot, Shadow.freed);
    (this.#freeOf(slot) ?? this.#newFree(slot)).push(address);
    return null;
  }

  #freeOf(slot: number): Queue | undefined {
    return slot <= LARGEST_SMALL ? this.#free[slot / GRANULE] : this.#freeLarge.get(slot);
  }

  #newFree(slot: number): Queue {
    const queue = new Queue();
    if (slot > LARGEST_SMALL) this.#freeLarge.set(slot, queue);
    else {
      while (this.#free.length <= slot / GRANULE) this.#free.push(undefined);
      this.#free[slot / GRANULE] = queue;
    }
    return queue;
  }

  owns(address: GuestAddress): boolean {
    return address >= this.start && address < this.#next;
  }

  /** Bytes of a live allocation; -1 if none begins there. */
  sizeOf(address: GuestAddress): number {
    const size = this.#sizes[(address - this.start) / GRANULE] ?? 0;
    return size > 0 ? size : -1;
  }

  /** The allocation that an address lies in or behind. */
  recordAt(address: GuestAddress): AllocationRecord | null {
    if (!this.owns(address)) return null;
    for (let granule = Math.floor((address - this.start) / GRANULE); granule >= 0; granule--) {
      const size = this.#sizes[granule];
      if (size === 0) continue;
      const start = (this.start + granule * GRANULE) as GuestAddress;
      if (start + this.#slots[granule] <= address) return null;
      return { address: start, size: Math.abs(size), live: size > 0 };
    }
    return null;
  }

  /** Plain data, but for its tables, which `tables` has. */
  snapshot(): HeapState {
    return {
      next: this.#next,
      live: this.live,
      liveBytes: this.liveBytes,
      free: [
        ...this.#free.flatMap((queue, granules) =>
          queue === undefined ? [] : [[granules * GRANULE, queue.all] as const],
        ),
        ...[...this.#freeLarge].map(([slot, queue]) => [slot, queue.all] as const),
      ],
      open: [...this.#open].map(([slot, { at, end }]) => [slot, at, end]),
    };
  }

  /** Views of the tables, as far as they are in use. */
  get tables(): readonly [sizes: Int32Array, slots: Int32Array] {
    const granules = (this.#next - this.start) / GRANULE;
    return [this.#sizes.subarray(0, granules), this.#slots.subarray(0, granules)];
  }

  /** Whether a state, with tables of so many granules, may be one of this heap. */
  holds({ next, free, open }: HeapState, granules: number): boolean {
    const isOurs = (from: number, to: number): boolean => {
      return from >= this.start && from <= to && to <= next && from % GRANULE === 0;
    };
    const isSlot = (slot: number): boolean => slot > 0 && slot % GRANULE === 0;
    return (
      granules <= this.#sizes.length &&
      next === this.start + granules * GRANULE &&
      free.every(([slot, places]) => isSlot(slot) && places.every((at) => isOurs(at, at + slot))) &&
      open.every(([slot, at, end]) => isSlot(slot) && isOurs(at, end))
    );
  }

  restore(state: HeapState, sizes: Int32Array, slots: Int32Array): void {
    this.#next = state.next;
    this.live = state.live;
    this.liveBytes = state.liveBytes;
    this.#sizes.set(sizes);
    this.#slots.set(slots);
    for (const [slot, items] of state.free) {
      const queue = this.#newFree(slot);
      for (const item of items) queue.push(item);
    }
    for (const [slot, at, end] of state.open) this.#open.set(slot, { at, end });
  }

  /** All live allocations, ascending. */
  *allocations(): Iterable<AllocationRecord> {
    const end = (this.#next - this.start) / GRANULE;
    for (let granule = 0; granule < end; granule++) {
      const size = this.#sizes[granule];
      if (size > 0) yield { address: (this.start + granule * GRANULE) as GuestAddress, size, live: true };
    }
  }

  #fresh(slot: number): number {
    if (slot > LARGEST_SMALL) return this.#take(slot, PAGE);
    let open = this.#open.get(slot);
    if (open === undefined || open.at + slot > open.end) {
      const bytes = Math.max(CHUNK, slot);
      const at = this.#take(bytes, Math.max(PAGE, slot & -slot));
      open = { at, end: at + bytes };
      this.#open.set(slot, open);
    }
    const { at } = open;
    open.at += slot;
    return at;
  }

  #take(bytes: number, alignment: number): number {
    const at = Math.ceil(this.#next / alignment) * alignment;
    if (at + bytes > this.limit()) throw this.#exhausted(bytes);
    this.#next = at + Math.ceil(bytes / PAGE) * PAGE;
    this.reveal(at as GuestAddress, this.#next - at);
    return at;
  }

  #exhausted(size: number): HeapExhaustedError {
    return new HeapExhaustedError("heap-exhausted", `${size} bytes cannot be had: the domain's memory is used up`, 1);
  }
}

/** Bytes of the slot that an allocation gets, a red zone behind it included. */
function slotFor(size: number): number {
  if (size > LARGEST_SMALL - RED_ZONE) return Math.ceil((size + RED_ZONE) / PAGE) * PAGE;
  const isPower = size >= GRANULE && (size & (size - 1)) === 0;
  if (isPower) return 2 * size;
  const least = size + RED_ZONE;
  if (least <= 256) return Math.ceil(least / (size >= 64 ? 64 : GRANULE)) * (size >= 64 ? 64 : GRANULE);
  // Eighths of a power of two: little is wasted, and there are few sizes.
  const step = Math.max(64, 2 ** (Math.floor(Math.log2(least)) - 3));
  return Math.ceil(least / step) * step;
}
