import type { IoMmuContext } from "../bus/io-mmu.js";
import type { Bank } from "../memory/physical-memory.js";
import { BANK_SHIFT, pagesSpanned } from "../memory/physical-memory.js";
import { DmaAccess, type Pin, type PinAccess } from "../memory/pin.js";
import { type PinAuthority, PinPool } from "../memory/pin-budget.js";
import { SHADOW } from "../translator/guest-space.js";
import { Shadow } from "../translator/shadow.js";
import { type FrameNumber, type IoAddress, PAGE_MASK, PAGE_SHIFT } from "../util/brand.js";
import { KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";
import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import type { LentFrames, LentRange, LentRefusal } from "./lent-frames.js";

/** `enum dma_data_direction`. */
export const DmaDirection = { bidirectional: 0, toDevice: 1, fromDevice: 2, none: 3 } as const;
/** The driver says itself when a buffer changes hands. */
export const DMA_ATTR_SKIP_CPU_SYNC = 1 << 5;
const LENT_REFUSALS: Readonly<Record<LentRefusal, string>> = {
  "not-lent": "a page that is not lent to it: forged, or its request is over",
  "other-bytes": "bytes beside those that are lent to it",
  direction: "lent bytes for a direction that they were not lent for",
};
const NOT_ALLOCATED: readonly number[] = [Shadow.unmapped, Shadow.freed, Shadow.redZone];
/** Records of mappings that are gone, kept to be used again. */
const MOST_SPARE = 1024;
/** What a driver is told instead of an I/O address. */
export const DMA_MAPPING_ERROR = -1;

/** A mapping request, release or synchronisation that does not fit what is mapped. */
export interface DmaMisuse {
  readonly rule: string;
  readonly device: string;
  readonly message: string;
  readonly site: string;
}

export interface DmaEvents {
  misuse: DmaMisuse;
  /** A mapping was refused: the bound on pins is reached, or I/O addresses are used up. The driver is told. */
  refused: { readonly device: string; readonly message: string; readonly site: string };
}

/** Which of the calls a mapping was made with: it is to be released with its counterpart. */
export type DmaKind = "single" | "coherent" | "scatter-gather";

/** A mapping's record. Those of mappings that are gone are used again, with their pins: mapping is done for every packet. */
class Mapping {
  address = 0 as IoAddress;
  pin: Pin | null = null;
  /** Of the domain's own bytes: what the pin has. */
  readonly frames: FrameNumber[] = [];
  /** Null for a client's bytes, which the domain cannot touch. */
  start: GuestAddress | null = null;
  length = 0;
  direction = 0;
  kind: DmaKind = "single";
  /** Of a client's bytes: what lends them. */
  lent: LentRange | null = null;
  site = "";
}

/** Mappings of one device, by their entries in its I/O MMU. */
interface DeviceMappings {
  readonly device: IoMmuContext;
  readonly byEntry: (Mapping | null)[];
  live: number;
}

export interface DmaStatistics {
  maps: number;
  unmaps: number;
  coherent: number;
  refused: number;
  /** Mappings of clients' bytes. */
  lent: number;
}

/**
 * The domain's I/O mappings: for each the pin that nobody asked the driver to make, and the I/O MMU entry on top of it.
 * While a device owns bytes, the shadow says so.
 */
export class DmaMappings {
  readonly events = new EventSource<DmaEvents>();
  readonly statistics: DmaStatistics = { maps: 0, unmaps: 0, coherent: 0, refused: 0, lent: 0 };
  readonly #devices: DeviceMappings[] = [];
  /** The device that was asked for last. */
  #last: DeviceMappings | null = null;
  readonly #spare: Mapping[] = [];

  constructor(
    private readonly guest: Guest,
    private readonly bank: Bank,
    private readonly authority: PinAuthority,
    private readonly lent: LentFrames,
    private readonly site: () => string,
  ) {
    lent.onEndMapped = (range) => this.#revoke(range);
  }

  get live(): number {
    let live = 0;
    for (const device of this.#devices) live += device.live;
    return live;
  }

  /**
   * Pins and maps bytes for a device.
   * @param bits of the device's mask
   * @returns the I/O address; `DMA_MAPPING_ERROR` if that cannot be now
   */
  map(
    device: IoMmuContext,
    start: GuestAddress,
    length: number,
    direction: number,
    attributes: number,
    bits: number,
    kind: DmaKind = "single",
  ): number {
    const site = this.site();
    const access = accessOf(direction);
    if (access === null || !(length > 0) || !this.#isOwn(start, length)) {
      const what = `${length} bytes at ${formatGuestAddress(start)}, direction ${direction}`;
      this.#misuse(device, "dma-map-invalid", `maps ${what}, which is no memory that it may map`, site);
      return DMA_MAPPING_ERROR;
    }
    const pool =
      kind === "coherent" ? PinPool.reserved : access === DmaAccess.read ? PinPool.solicited : PinPool.posted;
    const mapping = this.#spare.pop() ?? new Mapping();
    this.#describe(mapping, start, length, direction, kind, null, site);
    this.#frames(start, length, mapping.frames);
    if (!this.#enter(device, mapping, mapping.frames, start & PAGE_MASK, access, pool, bits)) return DMA_MAPPING_ERROR;
    if (kind === "coherent") this.statistics.coherent++;
    else this.#give(start, length, direction, attributes);
    return mapping.address;
  }

  /**
   * The same for bytes that a client lends: those, in that direction, while its request is in flight.
   * @param page the `struct page` that the driver names
   * @param offset from the start of that page
   */
  mapLent(
    device: IoMmuContext,
    page: GuestAddress,
    offset: number,
    length: number,
    direction: number,
    bits: number,
    kind: DmaKind = "single",
  ): number {
    const site = this.site();
    const access = accessOf(direction);
    const found = access === null ? "direction" : this.lent.resolve(page, offset, length, access);
    if (access === null || typeof found === "string") {
      this.#misuse(device, "dma-map-foreign", `maps ${LENT_REFUSALS[found as LentRefusal]}`, site);
      return DMA_MAPPING_ERROR;
    }
    const pool = access === DmaAccess.read ? PinPool.solicited : PinPool.posted;
    const mapping = this.#spare.pop() ?? new Mapping();
    this.#describe(mapping, null, length, direction, kind, found.range, site);
    if (!this.#enter(device, mapping, found.frames, found.offset, access, pool, bits)) return DMA_MAPPING_ERROR;
    found.range.mapped++;
    this.statistics.lent++;
    return mapping.address;
  }

  /** Unmaps and releases. @returns whether anything was mapped there */
  unmap(device: IoMmuContext, address: number, length: number, direction: number, kind: DmaKind = "single"): boolean {
    const mapping = this.#at(device, address);
    if (mapping === null) {
      this.#misuse(device, "dma-unmap-unknown", `unmaps ${hex(address)}, which is not mapped`, this.site());
      return false;
    }
    if (mapping.kind !== kind) {
      const what = `unmaps ${hex(address)} as ${kind}, which was mapped as ${mapping.kind}`;
      this.#misuse(device, "dma-unmap-function", what, this.site());
    } else if (mapping.length !== length) {
      const what = `unmaps ${length} bytes at ${hex(address)}, where ${mapping.length} are mapped`;
      this.#misuse(device, "dma-unmap-size", what, this.site());
    } else if (mapping.direction !== direction) {
      const what = `unmaps ${hex(address)} for direction ${direction}, which was mapped for ${mapping.direction}`;
      this.#misuse(device, "dma-unmap-direction", what, this.site());
    }
    this.#release(device, mapping);
    return true;
  }

  /** The bytes change hands, or a part of them. */
  sync(device: IoMmuContext, address: number, length: number, direction: number, toDevice: boolean): void {
    const mapping = this.#find(device, address);
    if (mapping === null) {
      this.#misuse(device, "dma-sync-unknown", `synchronises ${hex(address)}, which is not mapped`, this.site());
      return;
    }
    const offset = address - mapping.address;
    if (offset + length > mapping.length) {
      const what = `synchronises ${length} bytes at ${hex(address)}, beyond the mapping's end`;
      this.#misuse(device, "dma-sync-range", what, this.site());
      return;
    }
    if (mapping.start === null) return;
    const start = (mapping.start + offset) as GuestAddress;
    if (toDevice) this.#give(start, length, direction, 0);
    else this.#take(start, length);
  }

  /** The mapping that an I/O address lies in. */
  #find(device: IoMmuContext, address: number): Mapping | null {
    const exact = this.#at(device, address);
    if (exact !== null) return exact;
    const record = device.recordAt(address);
    return record === null ? null : this.#at(device, record.address);
  }

  /** Takes everything of a device away, at the end of the driver: its I/O MMU entries may be gone before. */
  releaseAll(device: IoMmuContext): void {
    for (const mapping of this.#all(device)) this.#release(device, mapping);
  }

  /** A request is over, and what it lent is mapped still: no device may reach it any more. */
  #revoke(range: LentRange): void {
    const site = this.site();
    for (const { device } of this.#devices) {
      for (const mapping of this.#all(device)) {
        if (mapping.lent !== range) continue;
        const what = `lets go of ${mapping.length} lent bytes that are mapped at ${hex(mapping.address)} still`;
        this.#misuse(device, "dma-free-mapped", what, site);
        this.#release(device, mapping);
      }
    }
  }

  /** The mapping that begins at an address. */
  #at(device: IoMmuContext, address: number): Mapping | null {
    const mappings = this.#mappingsOf(device);
    const found = mappings.byEntry[device.entryAt(address)] ?? null;
    if (found !== null && found.address === address) return found;
    // The I/O MMU may have been emptied already.
    return mappings.byEntry.find((other) => other?.address === address) ?? null;
  }

  #all(device: IoMmuContext): Mapping[] {
    return this.#mappingsOf(device).byEntry.filter((mapping) => mapping !== null);
  }

  #describe(
    mapping: Mapping,
    start: GuestAddress | null,
    length: number,
    direction: number,
    kind: DmaKind,
    lent: LentRange | null,
    site: string,
  ): void {
    mapping.start = start;
    mapping.length = length;
    mapping.direction = direction;
    mapping.kind = kind;
    mapping.lent = lent;
    mapping.site = site;
  }

  #release(device: IoMmuContext, mapping: Mapping): void {
    const { address, pin, start, length, kind, lent } = mapping;
    const { byEntry } = this.#mappingsOf(device);
    const entry = device.entryAt(address);
    byEntry[byEntry[entry] === mapping ? entry : byEntry.indexOf(mapping)] = null;
    this.#mappingsOf(device).live--;
    if (device.live > 0) device.unmap(address, "the driver");
    if (lent !== null) lent.mapped--;
    if (pin !== null) this.authority.unpin(pin);
    if (kind !== "coherent" && start !== null) this.#take(start, length);
    this.statistics.unmaps++;
    this.#spareIt(mapping);
  }

  #spareIt(mapping: Mapping): void {
    // It must not keep a client's range alive.
    mapping.lent = null;
    if (this.#spare.length < MOST_SPARE) this.#spare.push(mapping);
  }

  /**
   * Pins frames for a mapping, and enters them into the I/O MMU.
   * @param offset of the first byte in the first frame
   * @returns false if that is refused; who listens was told
   */
  #enter(
    device: IoMmuContext,
    mapping: Mapping,
    frames: readonly FrameNumber[],
    offset: number,
    access: PinAccess,
    pool: PinPool,
    bits: number,
  ): boolean {
    const { length, kind, site } = mapping;
    try {
      const pin = this.authority.tryPin(frames, offset, length, access, pool, mapping.pin);
      mapping.pin = pin;
      try {
        mapping.address = device.map(pin, 0, length, access, site, bits, kind === "coherent");
      } catch (error) {
        this.authority.unpin(pin);
        throw error;
      }
    } catch (error) {
      if (!(error instanceof KorralError)) throw error;
      this.#spareIt(mapping);
      this.statistics.refused++;
      this.events.emit("refused", { device: device.device, message: error.message, site });
      return false;
    }
    const mappings = this.#mappingsOf(device);
    const entry = device.entryAt(mapping.address);
    while (mappings.byEntry.length <= entry) mappings.byEntry.push(null);
    mappings.byEntry[entry] = mapping;
    mappings.live++;
    this.statistics.maps++;
    return true;
  }

  /** The device owns the bytes: it writes them, or it reads them and nobody may write. */
  #give(start: GuestAddress, length: number, direction: number, attributes: number): void {
    if ((attributes & DMA_ATTR_SKIP_CPU_SYNC) !== 0 || length === 0) return;
    const shadow = direction === DmaDirection.toDevice ? Shadow.toDevice : Shadow.deviceOwned;
    this.guest.memory.setShadow(start, length, shadow);
  }

  #take(start: GuestAddress, length: number): void {
    if (length > 0) this.guest.memory.setShadow(start, length, Shadow.accessible);
  }

  #mappingsOf(device: IoMmuContext): DeviceMappings {
    if (this.#last !== null && this.#last.device === device) return this.#last;
    let mappings = this.#devices.find((other) => other.device === device);
    if (mappings === undefined) {
      mappings = { device, byEntry: [null], live: 0 };
      this.#devices.push(mappings);
    }
    this.#last = mappings;
    return mappings;
  }

  #frames(start: GuestAddress, length: number, into: FrameNumber[]): void {
    const first = this.guest.memory.offset(start) >>> PAGE_SHIFT;
    const count = pagesSpanned(start & PAGE_MASK, length);
    if (into.length > count) into.length = count;
    for (let i = 0; i < count; i++) into[i] = ((this.bank.index << BANK_SHIFT) | (first + i)) as FrameNumber;
  }

  /** Memory of the domain that something has allocated, as far as its first and last byte tell. */
  #isOwn(start: GuestAddress, length: number): boolean {
    const { space } = this.guest.memory;
    if (start < space.firstMappable || start + length > space.endMappable) return false;
    return this.#isAllocated(start) && this.#isAllocated((start + length - 1) as GuestAddress);
  }

  #isAllocated(address: GuestAddress): boolean {
    const { memory } = this.guest;
    return !NOT_ALLOCATED.includes(memory.bytes[memory.offset(address) + SHADOW]);
  }

  /** A driver maps what is the page of nothing. */
  refusePage(device: IoMmuContext, page: GuestAddress): number {
    const what = `maps the page ${formatGuestAddress(page)}, which is none`;
    this.#misuse(device, "dma-map-invalid", what, this.site());
    return DMA_MAPPING_ERROR;
  }

  #misuse(device: IoMmuContext, rule: string, what: string, site: string): void {
    this.events.emit("misuse", { rule, device: device.device, message: `${site} ${what}`, site });
  }
}

function accessOf(direction: number): PinAccess | null {
  switch (direction) {
    case DmaDirection.bidirectional:
      return DmaAccess.both;
    case DmaDirection.toDevice:
      return DmaAccess.read;
    case DmaDirection.fromDevice:
      return DmaAccess.write;
    default:
      return null;
  }
}

const hex = (value: number): string => `0x${value.toString(16)}`;
