import { frameOffset, type PhysicalMemory, pagesSpanned } from "../memory/physical-memory.js";
import { DmaAccess, type PinAccess } from "../memory/pin.js";
import { GuestFailure } from "../translator/sandbox.js";
import { Shadow } from "../translator/shadow.js";
import { type FrameNumber, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE } from "../util/brand.js";
import { KorralError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Field, Guest } from "./guest.js";
import { VMEMMAP, VMEMMAP_END, virtualOf } from "./layout.js";

/** Lent frames begin at domain-physical 4 GiB, where no memory of the domain is: accesses of its own are calls. */
const FIRST_PAGE = 2 ** 32 / PAGE_SIZE;
const WINDOW = virtualOf(2 ** 32);

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
  /** Mappings of it for devices. */
  mapped: number;
}

/** Why lent frames may not be mapped. */
export type LentRefusal = "not-lent" | "other-bytes" | "direction";

interface LentPage {
  readonly range: LentRange;
  /** Among the range's pages. */
  readonly index: number;
}

/**
 * Frames of clients that the domain can map for its devices: `struct page`s without memory behind them. Each serves one
 * request, for its bytes and direction, and means nothing after it.
 *
 * Some drivers say that they take a frame in pieces, and then copy the pieces together themselves. They get to read what
 * is lent for reading, which their device could show them anyway, byte by byte, and whoever lends hears of it.
 */
export class LentFrames {
  /** Somebody in the domain reads lent bytes: it would be cheaper to give it a copy. */
  onRead: () => void = () => {};
  /** Frames are taken back that a device can reach still. */
  onEndMapped: (range: LentRange) => void = () => {};
  /** By the number of the page among those that are for lent frames. */
  readonly #lent = new Map<number, LentPage>();
  readonly #pageBytes: number;
  readonly #refcount: Field;
  readonly #mapcount: Field;
  readonly #slots: number;
  #next = 0;

  constructor(
    private readonly guest: Guest,
    private readonly memory: PhysicalMemory,
  ) {
    this.#pageBytes = guest.sizeOf("page");
    this.#refcount = guest.field("page._refcount.counter");
    this.#mapcount = guest.field("page._mapcount.counter");
    this.#slots = Math.floor((VMEMMAP_END - VMEMMAP) / this.#pageBytes) - FIRST_PAGE;
    guest.memory.handle(BigInt(WINDOW), this.#slots * PAGE_SIZE, {
      read: (address, bytes) => this.#read(Number(address), bytes),
      write: (address) => this.#refuse("writes to", Number(address)),
    });
  }

  /** Pages that are lent. */
  get live(): number {
    return this.#lent.size;
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
    const range = {
      page,
      frames: frames.slice(0, count),
      offset: offset & PAGE_MASK,
      length,
      access,
      onRelease,
      mapped: 0,
    };
    for (let index = 0; index < count; index++) this.#lent.set(slot + index, { range, index });
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
  ): { readonly range: LentRange; readonly frames: readonly FrameNumber[]; readonly offset: number } | LentRefusal {
    const found = this.#find(page);
    if (found === null) return "not-lent";
    const { range, index } = found;
    const start = index * PAGE_SIZE + offset;
    if (length < 1 || start < range.offset || start + length > range.offset + range.length) return "other-bytes";
    if ((access & ~range.access) !== 0) return "direction";
    const first = start >>> PAGE_SHIFT;
    const within = start & PAGE_MASK;
    return { range, frames: range.frames.slice(first, first + pagesSpanned(within, length)), offset: within };
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
    if (this.#lent.get(slot)?.range !== range) return;
    if (range.mapped > 0) this.onEndMapped(range);
    for (let i = 0; i < range.frames.length; i++) this.#lent.delete(slot + i);
    this.guest.memory.setShadow(range.page, range.frames.length * this.#pageBytes, Shadow.freed);
  }

  /** Takes all back. */
  endAll(): void {
    for (const { range, index } of [...this.#lent.values()]) {
      if (index > 0) continue;
      this.end(range);
      range.onRelease();
    }
  }

  #find(page: GuestAddress): LentPage | null {
    return this.#lent.get((page - this.#pageAt(0)) / this.#pageBytes) ?? null;
  }

  #read(address: number, bytes: number): bigint {
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#byteAt(address + i));
    this.onRead();
    return value;
  }

  #byteAt(address: number): number {
    const at = address - WINDOW;
    const found = this.#lent.get(Math.floor(at / PAGE_SIZE));
    if (found === undefined) return this.#refuse("reads", address);
    const { range, index } = found;
    const offset = index * PAGE_SIZE + (at & PAGE_MASK);
    const isLent = offset >= range.offset && offset < range.offset + range.length;
    if (!isLent || (range.access & DmaAccess.read) === 0) return this.#refuse("reads", address);
    const frame = range.frames[index];
    return this.memory.bankOf(frame).bytes[frameOffset(frame) + (at & PAGE_MASK)];
  }

  #refuse(verb: string, address: number): never {
    const what = `the driver ${verb} 0x${address.toString(16)}, where clients' memory is that is not lent to it for that`;
    throw new GuestFailure(this.guest.sandbox.failure("lent-memory", what));
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
    for (let i = 0; i < count; i++) if (this.#lent.has(slot + i)) return false;
    return true;
  }

  #pageAt(slot: number): GuestAddress {
    return (VMEMMAP + (FIRST_PAGE + slot) * this.#pageBytes) as GuestAddress;
  }
}
