import { PAGE_SHIFT, PAGE_SIZE } from "../util/brand.js";

/** Pages of a window when the device's mask leaves room: 512 MiB of addresses. */
const FULL_PAGES = 1 << 17;
const FULL_BYTES = FULL_PAGES * PAGE_SIZE;
/** Fewer bits than these no bus master has (ISA). */
export const NARROWEST = 24;
/** Device addresses of at least this many bits are served from the wide windows. */
export const WIDEST = 44;
/** Wide windows start here, far from where memory, BARs and kernel addresses are, so that they stand out in a trace. */
const WIDE_BASE = 0xd3a_0000_0000;
const WIDE_STRIDE = 0x4000_0000;
const WIDE_PLACES = (2 ** WIDEST - WIDE_BASE) / WIDE_STRIDE;
/** Addresses below 1 MiB are never given out: a small number that got lost is then never somebody's buffer. */
const LOWEST = 0x10_0000;
/** 32-bit windows keep below the interrupt window and the BARs at 0xe0000000. */
const HIGHEST_32 = 0xe000_0000;

/**
 * A range of I/O addresses of one device. Per page: the mapping it belongs to (0: none yet; negative: one that was taken
 * away, kept as history) and the frame behind it. A mapping never shares a page with another, and unmapped pages lie
 * between, so the page's entry plus a compare of start and length is exact to the byte.
 */
export class IoWindow {
  readonly entries: Int32Array;
  readonly frames: Int32Array;
  readonly end: number;
  /** Where the next search starts: addresses go round, so each is reused as late as possible. */
  #cursor = 1;

  constructor(
    readonly base: number,
    readonly pages: number,
    readonly addressBits: number,
  ) {
    this.entries = new Int32Array(pages);
    this.frames = new Int32Array(pages);
    this.end = base + pages * PAGE_SIZE;
  }

  /**
   * A width's window lies where the next narrower width does not reach, so the windows of a device never overlap.
   * Devices of equal width get different places where there are any, so that one's address is not another's.
   * @param addressBits {@link NARROWEST} … {@link WIDEST}
   */
  static forDevice(addressBits: number, ordinal: number): IoWindow {
    if (addressBits === WIDEST) {
      return new IoWindow(WIDE_BASE + (ordinal % WIDE_PLACES) * WIDE_STRIDE, FULL_PAGES, addressBits);
    }
    const bottom = addressBits === NARROWEST ? LOWEST : 2 ** (addressBits - 1);
    const top = addressBits === 32 ? HIGHEST_32 : 2 ** addressBits;
    const places = Math.max(1, Math.floor((top - bottom) / FULL_BYTES));
    const pages = Math.min(FULL_PAGES, (top - bottom) / PAGE_SIZE);
    return new IoWindow(top - (ordinal % places) * FULL_BYTES - pages * PAGE_SIZE, pages, addressBits);
  }

  pageOf(address: number): number {
    return (address - this.base) >>> PAGE_SHIFT;
  }

  /**
   * Finds unmapped pages with an unmapped page on either side, going round.
   * @returns the first page, or −1 when there is no such run
   */
  findRun(count: number, aligned: boolean): number {
    const { entries, pages } = this;
    const step = aligned ? powerOfTwo(count) : 1;
    const basePage = this.base / PAGE_SIZE;
    let page = this.#cursor;
    let wrapped = false;
    for (;;) {
      if (step > 1) page += (step - ((basePage + page) % step)) % step;
      if (page + count >= pages) {
        if (wrapped) return -1;
        wrapped = true;
        page = 1;
        continue;
      }
      let i = count;
      while (i >= -1 && entries[page + i] <= 0) i--;
      if (i < -1) {
        this.#cursor = page + count + 1;
        return page;
      }
      // Page + i is in use: the next candidate leaves one page free behind it.
      page += i + 2;
      if (wrapped && page >= pages) return -1;
    }
  }

  set(page: number, entry: number, frame: number): void {
    this.entries[page] = entry;
    this.frames[page] = frame;
  }

  clear(page: number, count: number, entry: number): void {
    for (let i = 0; i < count; i++) this.entries[page + i] = -entry;
  }
}

function powerOfTwo(count: number): number {
  let size = 1;
  while (size < count) size *= 2;
  return size;
}
