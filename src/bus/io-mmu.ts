import { BANK_SHIFT, frameOffset, type PhysicalMemory, pagesSpanned } from "../memory/physical-memory.js";
import { DmaAccess, type Pin, type PinAccess } from "../memory/pin.js";
import { type FrameNumber, type IoAddress, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE } from "../util/brand.js";
import { copyBytes, hex } from "../util/bytes.js";
import { KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";
import { IoWindow, NARROWEST, WIDEST } from "./io-window.js";

/** Why a device's access was refused. */
export type DmaRefusal =
  /** No mapping is or was there. */
  | "unmapped"
  /** A mapping was there, but has been taken away. */
  | "after-unmap"
  /** It starts in a mapping, but leaves its bytes. */
  | "out-of-bounds"
  /** The mapping is for the other direction. */
  | "wrong-direction"
  /** The address belongs to another device's mapping. */
  | "other-device"
  /** Bus mastering is off in the device's command register. */
  | "bus-master-off";

/** What is known of a mapping, for those who explain a fault. */
export interface MappingRecord {
  readonly address: IoAddress;
  readonly length: number;
  readonly access: PinAccess;
  /** Who mapped it, in the mapper's own words (a driver and function, an instruction…). */
  readonly site: string;
  /** Who unmapped it, or null while it lives. */
  readonly unmapSite: string | null;
}

export interface DmaFault {
  readonly device: string;
  readonly reason: DmaRefusal;
  readonly address: IoAddress;
  readonly length: number;
  readonly access: PinAccess;
  /** The nearest mapping: the one that is left, is stale, goes the other way, or is the other device's. */
  readonly mapping: MappingRecord | null;
}

export interface IoMmuEvents {
  fault: DmaFault;
}

/** A mapping request or release that cannot be: wrong bytes, direction, address or device. */
export class IoMmuError extends KorralError {}

/**
 * Memory as one device sees it: every access is translated and checked by the I/O MMU.
 * A refused access moves no byte and returns false, which a device treats as a master abort.
 */
export interface DmaPort {
  read(address: number, into: Uint8Array, offset: number, length: number): boolean;
  write(address: number, from: Uint8Array, offset: number, length: number): boolean;
  /**
   * The machine memory behind a range, in order, as views that are valid until control returns to the machine loop or
   * the range is unmapped; null if any byte of it is refused. For bulk data that should not be copied twice.
   * @param access what the device is going to do with the bytes
   */
  spans(address: number, length: number, access: PinAccess): Uint8Array[] | null;
}

/** The software I/O MMU: one context a device. */
export class IoMmu {
  readonly events = new EventSource<IoMmuEvents>();
  readonly #contexts: IoMmuContext[] = [];
  #attached = 0;
  faults = 0;

  constructor(readonly memory: PhysicalMemory) {}

  /** @param device unique name for messages (`nvme 0000:00:03.0`) */
  attach(device: string): IoMmuContext {
    const context = new IoMmuContext(this, device, this.#attached++);
    this.#contexts.push(context);
    return context;
  }

  detach(context: IoMmuContext): void {
    context.teardown("device removed");
    const at = this.#contexts.indexOf(context);
    if (at >= 0) this.#contexts.splice(at, 1);
  }

  /** @internal */
  othersMapping(context: IoMmuContext, address: number): MappingRecord | null {
    for (const other of this.#contexts) {
      if (other === context) continue;
      const record = other.recordAt(address);
      if (record !== null && record.unmapSite === null) return record;
    }
    return null;
  }
}

/**
 * One device's I/O address space: byte-exact intervals, each on a live pin.
 *
 * Addresses keep the offset in the page, are contiguous within a mapping, leave at least one unmapped page between
 * mappings, and are reused as late as the window allows, so that a stale one is recognised for what it is.
 */
export class IoMmuContext implements DmaPort {
  /** Follows the bus master bit of the device's command register. */
  busMaster = false;
  maps = 0;
  unmaps = 0;
  live = 0;
  bytesRead = 0;
  bytesWritten = 0;

  readonly #memory: PhysicalMemory;
  readonly #windows: IoWindow[] = [];
  readonly #spare: number[] = [];
  // One entry a mapping, in parallel arrays: the device looks these up at every access.
  // Start and end count from the base of the window, so that they are small integers.
  readonly #window: IoWindow[] = [];
  readonly #start: number[] = [];
  readonly #end: number[] = [];
  readonly #access: PinAccess[] = [];
  readonly #pin: (Pin | null)[] = [];
  readonly #site: string[] = [];
  readonly #unmapSite: (string | null)[] = [];
  /** Freed entries stay readable as history until they are needed again, oldest first. */
  #spareHead = 0;

  /** @internal Made by {@link IoMmu.attach}. */
  constructor(
    readonly iommu: IoMmu,
    readonly device: string,
    readonly ordinal: number,
  ) {
    this.#memory = iommu.memory;
    this.#newEntry();
  }

  /**
   * Maps bytes of a pin for the device.
   * @param offset of the first byte, relative to the pin's first byte
   * @param access what the device may do; not more than the pin was made for
   * @param site who maps, for messages
   * @param addressBits of the device's DMA (or coherent) mask, 24 to 64
   * @param aligned whether the address must be aligned to the length rounded up to a power of two (coherent memory)
   * @throws IoMmuError
   */
  map(
    pin: Pin,
    offset: number,
    length: number,
    access: PinAccess,
    site: string,
    addressBits = 64,
    aligned = false,
  ): IoAddress {
    if (!pin.live) throw new IoMmuError("map-not-pinned", `${site} maps frames that are not pinned: pin them first`);
    if (
      !Number.isInteger(offset) ||
      !Number.isInteger(length) ||
      length < 1 ||
      offset < 0 ||
      offset + length > pin.length
    ) {
      throw new IoMmuError(
        "map-bounds",
        `${site} maps bytes ${offset}…${offset + length} of a pin of ${pin.length} bytes`,
      );
    }
    if ((access & ~pin.access) !== 0) {
      throw new IoMmuError("map-direction", `${site} maps for a direction that its pin was not made for`);
    }
    const from = pin.offset + offset;
    const pages = pagesSpanned(from, length);
    const window = this.#windowFor(addressBits);
    const page = window.findRun(pages, aligned);
    if (page < 0) {
      throw new IoMmuError(
        "no-io-address",
        `the ${addressBits}-bit I/O address space of ${this.device} is full: unmap something`,
      );
    }
    const entry = this.#spare.length - this.#spareHead > SPARE_HISTORY ? this.#reuseEntry() : this.#newEntry();
    const start = page * PAGE_SIZE + (from & PAGE_MASK);
    this.#window[entry] = window;
    this.#start[entry] = start;
    this.#end[entry] = start + length;
    this.#access[entry] = access;
    this.#pin[entry] = pin;
    this.#site[entry] = site;
    this.#unmapSite[entry] = null;
    const firstFrame = from >>> PAGE_SHIFT;
    for (let i = 0; i < pages; i++) window.set(page + i, entry, pin.frames[firstFrame + i]);
    pin.mappings++;
    this.maps++;
    this.live++;
    return (window.base + start) as IoAddress;
  }

  /**
   * Takes a mapping away; from now on the device faults there.
   * @param address as returned by {@link map}
   * @throws IoMmuError when nothing is mapped there, or a mapping starts elsewhere
   */
  unmap(address: IoAddress, site: string): Pin {
    const window = this.#windowOf(address);
    const page = window === null ? 0 : window.pageOf(address);
    const entry = window === null ? 0 : window.entries[page];
    const pin = entry > 0 ? this.#pin[entry] : null;
    if (window === null || entry <= 0 || pin === null) {
      const history = this.recordAt(address);
      const tail =
        history === null ? "nothing is known to have been mapped there" : `it was unmapped by ${history.unmapSite}`;
      throw new IoMmuError("unmap-unmapped", `${site} unmaps ${hex(address)} of ${this.device}, but ${tail}`);
    }
    const start = this.#start[entry];
    if (window.base + start !== address) {
      throw new IoMmuError(
        "unmap-inside",
        `${site} unmaps ${hex(address)} of ${this.device}, which lies inside the mapping at ${hex(window.base + start)}`,
      );
    }
    window.clear(page, pagesSpanned(start, this.#end[entry] - start), entry);
    this.#pin[entry] = null;
    this.#unmapSite[entry] = site;
    this.#spare.push(entry);
    pin.mappings--;
    this.unmaps++;
    this.live--;
    return pin;
  }

  /** Unmaps everything: the device can reach nothing more. */
  teardown(site: string): void {
    for (let entry = 1; entry < this.#pin.length; entry++) {
      if (this.#pin[entry] === null) continue;
      this.unmap((this.#window[entry].base + this.#start[entry]) as IoAddress, site);
    }
  }

  read(address: number, into: Uint8Array, offset: number, length: number): boolean {
    if (length <= 0 && this.busMaster) return true;
    const window = this.#allowed(address, length, DmaAccess.read);
    if (window === null) return false;
    for (let done = 0, relative = address - window.base; done < length; ) {
      const chunk = Math.min(length - done, PAGE_SIZE - (relative & PAGE_MASK));
      const frame = window.frames[relative >>> PAGE_SHIFT] as FrameNumber;
      const bank = this.#memory.bankOf(frame).bytes;
      copyBytes(into, offset + done, bank, frameOffset(frame) + (relative & PAGE_MASK), chunk);
      done += chunk;
      relative += chunk;
    }
    this.bytesRead += length;
    return true;
  }

  write(address: number, from: Uint8Array, offset: number, length: number): boolean {
    if (length <= 0 && this.busMaster) return true;
    const window = this.#allowed(address, length, DmaAccess.write);
    if (window === null) return false;
    for (let done = 0, relative = address - window.base; done < length; ) {
      const chunk = Math.min(length - done, PAGE_SIZE - (relative & PAGE_MASK));
      const frame = window.frames[relative >>> PAGE_SHIFT] as FrameNumber;
      const bank = this.#memory.bankOf(frame).bytes;
      copyBytes(bank, frameOffset(frame) + (relative & PAGE_MASK), from, offset + done, chunk);
      done += chunk;
      relative += chunk;
    }
    this.bytesWritten += length;
    return true;
  }

  spans(address: number, length: number, access: PinAccess): Uint8Array[] | null {
    if (length <= 0 && this.busMaster) return [];
    const window = this.#allowed(address, length, access);
    if (window === null) return null;
    const spans: Uint8Array[] = [];
    const relative = address - window.base;
    const lastPage = (relative + length - 1) >>> PAGE_SHIFT;
    let left = length;
    let within = relative & PAGE_MASK;
    for (let page = relative >>> PAGE_SHIFT; left > 0; page++) {
      const first = window.frames[page];
      // Neighbouring frames make one span.
      let run = 1;
      while (page < lastPage && window.frames[page + 1] === first + run && isSameBank(first, first + run)) {
        page++;
        run++;
      }
      const bytes = Math.min(left, run * PAGE_SIZE - within);
      const start = frameOffset(first as FrameNumber) + within;
      spans.push(this.#memory.bankOf(first as FrameNumber).bytes.subarray(start, start + bytes));
      left -= bytes;
      within = 0;
    }
    if ((access & DmaAccess.read) !== 0) this.bytesRead += length;
    if ((access & DmaAccess.write) !== 0) this.bytesWritten += length;
    return spans;
  }

  /** The live mapping that begins at an address, as a number that is its own while it lives; 0 if there is none. */
  entryAt(address: number): number {
    const window = this.#windowOf(address);
    if (window === null) return 0;
    const entry = window.entries[window.pageOf(address)];
    return entry > 0 && window.base + this.#start[entry] === address ? entry : 0;
  }

  /** The mapping, live or past, that an address belongs to. */
  recordAt(address: number): MappingRecord | null {
    const window = this.#windowOf(address);
    if (window === null) return null;
    const entry = Math.abs(window.entries[window.pageOf(address)]);
    if (entry === 0) return null;
    // The entry of a past mapping may serve another one by now; its place tells.
    const start = this.#start[entry];
    const end = this.#end[entry];
    const page = window.pageOf(address);
    if (this.#window[entry] !== window || page < start >>> PAGE_SHIFT || page > (end - 1) >>> PAGE_SHIFT) return null;
    return {
      address: (window.base + start) as IoAddress,
      length: end - start,
      access: this.#access[entry],
      site: this.#site[entry],
      unmapSite: this.#unmapSite[entry],
    };
  }

  /** The window of a range, every byte of which may be accessed so; raises the fault and is null if not. */
  #allowed(address: number, length: number, access: PinAccess): IoWindow | null {
    const window = this.#windowOf(address);
    if (window !== null && this.busMaster) {
      const relative = address - window.base;
      const entry = window.entries[relative >>> PAGE_SHIFT];
      if (
        entry > 0 &&
        relative >= this.#start[entry] &&
        relative + length <= this.#end[entry] &&
        (access & ~this.#access[entry]) === 0
      ) {
        return window;
      }
    }
    return this.#refuse(address, length, access);
  }

  /** Tells why an access is refused. Apart from the checks, so that those stay small enough to be inlined. */
  #refuse(address: number, length: number, access: PinAccess): null {
    let reason = this.#reason(address, length);
    let mapping = this.recordAt(address);
    if (reason === "unmapped" || (reason === "after-unmap" && mapping === null)) {
      const others = this.iommu.othersMapping(this, address);
      if (others !== null) {
        reason = "other-device";
        mapping = others;
      }
    }
    this.iommu.faults++;
    this.iommu.events.emit("fault", {
      device: this.device,
      reason,
      address: address as IoAddress,
      length,
      access,
      mapping,
    });
    return null;
  }

  #reason(address: number, length: number): DmaRefusal {
    if (!this.busMaster) return "bus-master-off";
    const window = this.#windowOf(address);
    const entry = window === null ? 0 : window.entries[window.pageOf(address)];
    if (window === null || entry === 0) return "unmapped";
    if (entry < 0) return "after-unmap";
    const relative = address - window.base;
    const isInside = relative >= this.#start[entry] && relative + length <= this.#end[entry];
    return isInside ? "wrong-direction" : "out-of-bounds";
  }

  #windowOf(address: number): IoWindow | null {
    for (let i = 0; i < this.#windows.length; i++) {
      const window = this.#windows[i];
      if (address >= window.base && address < window.end) return window;
    }
    return null;
  }

  #windowFor(addressBits: number): IoWindow {
    const bits = Math.min(addressBits, WIDEST);
    for (let i = 0; i < this.#windows.length; i++) if (this.#windows[i].addressBits === bits) return this.#windows[i];
    if (!Number.isInteger(bits) || bits < NARROWEST) {
      throw new IoMmuError(
        "address-bits",
        `${this.device} asks for ${addressBits}-bit I/O addresses: ${NARROWEST} to 64 are possible`,
      );
    }
    const window = IoWindow.forDevice(bits, this.ordinal);
    this.#windows.push(window);
    return window;
  }

  #newEntry(): number {
    this.#window.push(NO_WINDOW);
    this.#start.push(0);
    this.#end.push(0);
    this.#access.push(DmaAccess.read);
    this.#pin.push(null);
    this.#site.push("");
    this.#unmapSite.push(null);
    return this.#start.length - 1;
  }

  #reuseEntry(): number {
    const entry = this.#spare[this.#spareHead++];
    if (this.#spareHead > COMPACT_AT) {
      this.#spare.splice(0, this.#spareHead);
      this.#spareHead = 0;
    }
    return entry;
  }
}

/** The window of entries that were never used. */
const NO_WINDOW = new IoWindow(0, 0, 0);

/** So many unmapped mappings are remembered for explaining stale accesses. */
const SPARE_HISTORY = 4096;
/** Consumed places at the front of the queue of spare entries are dropped when there are this many. */
const COMPACT_AT = 4096;

function isSameBank(a: number, b: number): boolean {
  return a >>> BANK_SHIFT === b >>> BANK_SHIFT;
}
