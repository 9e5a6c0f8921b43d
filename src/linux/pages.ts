import { SHADOW } from "../translator/guest-space.js";
import { Shadow } from "../translator/shadow.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Field, Guest } from "./guest.js";
import { type AllocationObserver, HeapExhaustedError } from "./heap.js";
import { physicalOf, VMEMMAP, VMEMMAP_END, virtualOf } from "./layout.js";

const PAGE = 4096;
const PAGE_SHIFT = 12;
/** Blocks that are freed are not used again before so many others of their order were. */
const QUARANTINE = 16;
const LARGEST_ORDER = 14;
/** Bits of `struct page.flags` count from 0; the heads of compound pages have this one in all kernels so far. */
const HEAD_FLAG = "PG_head";
/** Slabs are told by a flag, or by a type in the high byte of what counts mappings of other pages. */
const SLAB_FLAG = "PG_slab";
const SLAB_TYPE = "PGTY_slab";
const PAGE_TYPE_SHIFT = 24;

export interface PageState {
  readonly bottom: number;
  readonly free: readonly (readonly Block[])[];
  readonly live: readonly (readonly [page: GuestAddress, block: Block])[];
}

interface Block {
  readonly address: GuestAddress;
  readonly order: number;
}

/** Pages of low memory, from its end downwards, and the `struct page` of each frame. */
export class PageAllocator {
  live = 0;
  /** Told of each block, and of its end, by the address of its `struct page`. */
  observer: AllocationObserver | null = null;
  readonly #free: Block[][] = Array.from({ length: LARGEST_ORDER + 1 }, () => []);
  /** By the address of their `struct page`. */
  readonly #live = new Map<GuestAddress, Block>();
  readonly #pageBytes: number;
  readonly #refcount: Field;
  readonly #mapcount: Field;
  readonly #flags: Field;
  readonly #compoundHead: Field;
  readonly #headBit: number;
  /** 0 where the kernel tells slabs by the type of their pages. */
  readonly #slabFlag: number;
  readonly #slabType: number = 0;
  /** Where the order of a compound page is kept: in its second `struct page`. */
  readonly #order: number;
  readonly #count: number;
  #bottom: number;

  constructor(
    private readonly guest: Guest,
    readonly end: GuestAddress,
    private readonly heapTop: () => GuestAddress,
  ) {
    this.#bottom = end;
    this.#pageBytes = guest.sizeOf("page");
    this.#refcount = guest.field("page._refcount.counter");
    this.#mapcount = guest.field("page._mapcount.counter");
    this.#flags = guest.field("page.flags");
    this.#compoundHead = guest.field("page.compound_head");
    const flags = guest.image.types.enumerators("pageflags");
    this.#headBit = Number(flags.find(({ name }) => name === HEAD_FLAG)?.value ?? 0);
    const slab = flags.find(({ name }) => name === SLAB_FLAG);
    this.#slabFlag = slab === undefined ? 0 : 1 << Number(slab.value);
    if (slab === undefined) {
      const type = guest.image.types.enumerators("pagetype").find(({ name }) => name === SLAB_TYPE);
      this.#slabType = Number(type?.value ?? 0) * 2 ** PAGE_TYPE_SHIFT;
    }
    const isOld = guest.hasField("page.compound_order");
    this.#order = isOld ? guest.offset("page.compound_order") : guest.offset("folio._flags_1") - this.#pageBytes;
    this.#count = guest.hasField("page.compound_nr")
      ? guest.offset("page.compound_nr")
      : guest.hasField("folio._folio_nr_pages")
        ? guest.offset("folio._folio_nr_pages") - this.#pageBytes
        : -1;
  }

  /** The lowest address that is a page. */
  get bottom(): GuestAddress {
    return this.#bottom as GuestAddress;
  }

  /** The `struct page` of the frame that an address lies in. */
  pageOf(address: GuestAddress): GuestAddress {
    return (VMEMMAP + (physicalOf(address) >>> PAGE_SHIFT) * this.#pageBytes) as GuestAddress;
  }

  /** The first address of the frame that a `struct page` stands for; null if it is none. */
  addressOf(page: GuestAddress): GuestAddress | null {
    const index = (page - VMEMMAP) / this.#pageBytes;
    if (!Number.isInteger(index) || page < VMEMMAP || page >= VMEMMAP_END) return null;
    return virtualOf(index * PAGE);
  }

  /** Lets the kernel see the `struct page`s of a range. */
  reveal(address: GuestAddress, bytes: number): void {
    const first = this.pageOf(address);
    const size = Math.ceil(bytes / PAGE) * this.#pageBytes;
    this.guest.memory.setShadow(first, size, Shadow.accessible);
  }

  /** The same for memory that `kmalloc` takes from: the kernel frees some things only if they are of such. */
  revealSlab(address: GuestAddress, bytes: number): void {
    this.reveal(address, bytes);
    for (let at = address; at < address + bytes; at = (at + PAGE) as GuestAddress) {
      const page = this.pageOf(at);
      if (this.#slabFlag === 0) this.#mapcount.set(page, this.#slabType);
      else this.#flags.set(page, this.#slabFlag);
    }
  }

  /** @returns the `struct page` of 2^order zeroed pages that belong to the caller. @throws HeapExhaustedError */
  allocate(order: number, compound: boolean): GuestAddress {
    if (order > LARGEST_ORDER) throw exhausted(PAGE << order);
    const block = this.#free[order].length > QUARANTINE ? this.#reuse(order) : this.#fresh(order);
    const { guest } = this;
    const bytes = PAGE << order;
    guest.memory.setShadow(block.address, bytes, Shadow.accessible);
    const at = guest.memory.offset(block.address);
    guest.memory.sweep.fill(at, at + bytes, 0);
    const page = this.pageOf(block.address);
    this.#describe(page, order, compound && order > 0);
    this.#live.set(page, block);
    this.live++;
    this.observer?.allocated(page, bytes);
    return page;
  }

  /** @returns whether it was a live block */
  free(page: GuestAddress): boolean {
    const block = this.#live.get(page);
    if (block === undefined) return false;
    this.#live.delete(page);
    this.live--;
    this.observer?.freed(page);
    this.#refcount.set(page, 0);
    const at = this.guest.memory.offset(block.address);
    this.guest.memory.onShadowChange?.(at >>> PAGE_SHIFT, (at + (PAGE << block.order) - 1) >>> PAGE_SHIFT);
    this.guest.memory.sweep.fill(at + SHADOW, at + SHADOW + (PAGE << block.order), Shadow.freed);
    this.#free[block.order].push(block);
    return true;
  }

  /** Drops a reference; the last one frees. @returns false if there was none to drop */
  put(page: GuestAddress): boolean {
    const count = (this.#refcount.get(page) | 0) - 1;
    if (count < 0) return false;
    if (count > 0) {
      this.#refcount.set(page, count);
      return true;
    }
    return this.free(page);
  }

  /** The order of a live block, -1 if there is none. */
  orderOf(page: GuestAddress): number {
    return this.#live.get(page)?.order ?? -1;
  }

  snapshot(): PageState {
    return { bottom: this.#bottom, free: this.#free.map((list) => [...list]), live: [...this.#live] };
  }

  restore(state: PageState): void {
    this.#bottom = state.bottom;
    state.free.forEach((list, order) => {
      this.#free[order] = [...list];
    });
    for (const [page, block] of state.live) this.#live.set(page, block);
    this.live = state.live.length;
  }

  #describe(page: GuestAddress, order: number, compound: boolean): void {
    const { guest } = this;
    guest.fill(page, this.#pageBytes << order, 0);
    this.#refcount.set(page, 1);
    for (let i = 0; i < 1 << order; i++) {
      this.#mapcount.set((page + i * this.#pageBytes) as GuestAddress, -1);
      if (compound && i > 0) this.#compoundHead.set((page + i * this.#pageBytes) as GuestAddress, page + 1);
    }
    if (!compound) return;
    this.#flags.set(page, this.#flags.get(page) | (1 << this.#headBit));
    const second = (page + this.#pageBytes) as GuestAddress;
    guest.write((second + this.#order) as GuestAddress, 1, order);
    if (this.#count >= 0) guest.write((second + this.#count) as GuestAddress, 4, 1 << order);
  }

  #reuse(order: number): Block {
    const [block] = this.#free[order].splice(0, 1);
    return block;
  }

  #fresh(order: number): Block {
    const bytes = PAGE << order;
    const at = Math.floor((this.#bottom - bytes) / bytes) * bytes;
    if (at < this.heapTop()) {
      const [last] = this.#free[order];
      if (last !== undefined) return this.#reuse(order);
      throw exhausted(bytes);
    }
    this.#bottom = at;
    this.reveal(at as GuestAddress, bytes);
    return { address: at as GuestAddress, order };
  }
}

function exhausted(bytes: number): HeapExhaustedError {
  return new HeapExhaustedError("pages-exhausted", `${bytes} bytes of pages cannot be had: memory is used up`, 1);
}
