import { pagesSpanned } from "../memory/physical-memory.js";
import type { PinAccess } from "../memory/pin.js";
import { Shadow } from "../translator/shadow.js";
import { type FrameNumber, PAGE_MASK, PAGE_SHIFT } from "../util/brand.js";
import { KorralError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Field, Guest } from "./guest.js";
import { VMEMMAP, VMEMMAP_END } from "./layout.js";

/** Lent frames begin at domain-physical 4 GiB: no memory of the domain is there, so it cannot touch them itself. */
const FIRST_PAGE = 2 ** 32 / 4096;

/** A client's bytes that a request in flight lends to the domain. */
export interface LentRange {
  /** Its first `struct page`. */
  readonly page: GuestAddress;
  readonly frames: readonly FrameNumber[];
  /** Of the first byte, in the first frame. */
  readonly offset: number;
  readonly length: number;
  /** What devices may do with it. */
  readonly access: PinAccess;
  /** Its last user in the domain has let go of it. */
  readonly onRelease: () => void;
}

/** Why lent frames may not be mapped. */
export type LentRefusal = "not-lent" | "other-bytes" | "direction";

/**
 * Frames of clients that the domain can map for its devices, but not touch: `struct page`s without memory behind them.
 * Each serves one request, for its bytes and direction, and means nothing after it.
 */
export class LentFrames {
  readonly #ranges = new Map<number, LentRange>();
  readonly #pageBytes: number;
  readonly #refcount: Field;
  readonly #mapcount: Field;
  readonly #slots: number;
  #next = 0;

  constructor(private readonly guest: Guest) {
    this.#pageBytes = guest.sizeOf("page");
    this.#refcount = guest.field("page._refcount.counter");
    this.#mapcount = guest.field("page._mapcount.counter");
    this.#slots = Math.floor((VMEMMAP_END - VMEMMAP) / this.#pageBytes) - FIRST_PAGE;
  }

  get live(): number {
    return this.#ranges.size;
  }

  /** Lends bytes of pinned frames. @throws KorralError when there is no room for more */
  lend(
    frames: readonly FrameNumber[],
    offset: number,
    length: number,
    access: PinAccess,
    onRelease: () => void,
  ): LentRange {
    const count = pagesSpanned(offset, length);
    const slot = this.#take(count);
    const { guest } = this;
    const page = this.#pageAt(slot);
    guest.memory.setShadow(page, count * this.#pageBytes, Shadow.accessible);
    guest.fill(page, count * this.#pageBytes, 0);
    for (let i = 0; i < count; i++) {
      this.#refcount.set(this.#pageAt(slot + i), 1);
      this.#mapcount.set(this.#pageAt(slot + i), -1);
    }
    const range = { page, frames: frames.slice(0, count), offset: offset & PAGE_MASK, length, access, onRelease };
    this.#ranges.set(slot, range);
    return range;
  }

  /** Whether a `struct page` is one for lent frames, live or not. */
  owns(page: GuestAddress): boolean {
    return page >= this.#pageAt(0) && page < VMEMMAP_END;
  }

  /**
   * The frames that a mapping of lent bytes leads to.
   * @param page the `struct page` that the driver names
   * @param offset from the start of that page
   */
  resolve(
    page: GuestAddress,
    offset: number,
    length: number,
    access: PinAccess,
  ): { readonly frames: readonly FrameNumber[]; readonly offset: number } | LentRefusal {
    const found = this.#find(page);
    if (found === null) return "not-lent";
    const { range, index } = found;
    const start = index * 4096 + offset;
    if (length < 1 || start < range.offset || start + length > range.offset + range.length) return "other-bytes";
    if ((access & ~range.access) !== 0) return "direction";
    const first = start >>> PAGE_SHIFT;
    const within = start & PAGE_MASK;
    return { frames: range.frames.slice(first, first + pagesSpanned(within, length)), offset: within };
  }

  /** The kernel dropped the last reference of a page. @returns whether it was a lent one */
  released(page: GuestAddress): boolean {
    const found = this.#find(page);
    if (found === null) return false;
    this.end(found.range);
    found.range.onRelease();
    return true;
  }

  /** Takes the frames back; what the domain does with them from now on is refused. */
  end(range: LentRange): void {
    const slot = (range.page - this.#pageAt(0)) / this.#pageBytes;
    if (this.#ranges.get(slot) !== range) return;
    this.#ranges.delete(slot);
    const bytes = pagesSpanned(range.offset, range.length) * this.#pageBytes;
    this.guest.memory.setShadow(range.page, bytes, Shadow.freed);
  }

  /** Takes all back. */
  endAll(): void {
    for (const range of [...this.#ranges.values()]) {
      this.end(range);
      range.onRelease();
    }
  }

  #find(page: GuestAddress): { readonly range: LentRange; readonly index: number } | null {
    const slot = (page - this.#pageAt(0)) / this.#pageBytes;
    const own = this.#ranges.get(slot);
    if (own !== undefined) return { range: own, index: 0 };
    if (!Number.isInteger(slot)) return null;
    for (const [start, range] of this.#ranges) {
      const count = pagesSpanned(range.offset, range.length);
      if (slot > start && slot < start + count) return { range, index: slot - start };
    }
    return null;
  }

  /** The next free places, going round, so that each is used again as late as can be. */
  #take(count: number): number {
    for (let tries = 0; tries < this.#slots; tries++) {
      if (this.#next + count > this.#slots) this.#next = 0;
      const slot = this.#next++;
      if (this.#isFree(slot, count)) {
        this.#next = slot + count;
        return slot;
      }
    }
    throw new KorralError("lent-frames", "too many frames are lent to the domain at a time: wait for some", 1);
  }

  #isFree(slot: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.#ranges.has(slot + i)) return false;
    return true;
  }

  #pageAt(slot: number): GuestAddress {
    return (VMEMMAP + (FIRST_PAGE + slot) * this.#pageBytes) as GuestAddress;
  }
}
