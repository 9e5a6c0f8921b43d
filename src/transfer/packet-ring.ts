import { type AddressSpaceCapability, resolveRange } from "../capability/address-space.js";
import { Capability, type Incarnation, KernelObject, openRing } from "../capability/capability.js";
import { ArgumentError, LengthError, VoidError } from "../capability/errors.js";
import type { Page } from "../capability/page.js";
import { frameOffset } from "../memory/physical-memory.js";
import { type FrameNumber, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE } from "../util/brand.js";
import { copyBytes } from "../util/bytes.js";
import type { MaybePromise } from "../util/maybe-promise.js";

const MAX_SLOTS = 65_536;
const SMALLEST_SLOT = 60;

/** Memory that a client provides for frames: a range of its own space, cut into equal slots. */
export interface RingRequest {
  readonly space: AddressSpaceCapability;
  readonly offset: number;
  readonly slots: number;
  /** Bytes a slot: the longest frame that the client takes whole. */
  readonly slotBytes: number;
}

/**
 * A ring of client-provided buffers that frames are put into, oldest first. The producer never waits: a full ring drops
 * that frame and counts it.
 */
export class PacketRing extends KernelObject {
  readonly #pages: readonly Page[];
  readonly #frames: readonly FrameNumber[];
  readonly #incarnations: readonly Incarnation[];
  readonly #lengths: Int32Array;
  readonly #originals: Int32Array;
  readonly #start: number;
  #produced = 0;
  #consumed = 0;
  /** Called when the client has freed a slot: a producer that posts the slots themselves wants to know. */
  onRoom: (() => void) | null = null;
  /** Frames lost because every slot was in use. */
  full = 0;
  /** Frames lost because the client has destroyed, or lost the right to, the memory it provided. */
  gone = 0;
  /** Frames that were longer than a slot: cut to it. */
  cut = 0;
  delivered = 0;
  bytes = 0;

  constructor(readonly request: RingRequest) {
    super();
    const { space, offset, slots, slotBytes } = request;
    if (!Number.isInteger(slots) || slots < 1 || slots > MAX_SLOTS) {
      throw new LengthError("packet ring", `${slots} slots: 1…${MAX_SLOTS} are possible`);
    }
    if (!Number.isInteger(slotBytes) || slotBytes < SMALLEST_SLOT || slotBytes > 65_536) {
      throw new LengthError("packet ring", `slots of ${slotBytes} bytes: ${SMALLEST_SLOT}…65536 are possible`);
    }
    this.#pages = resolveRange(space, offset, slots * slotBytes, true, "packet ring");
    if (!this.#pages.every((page) => page.resident)) {
      throw new ArgumentError("packet ring", "a page of the buffers is not in memory: touch it first");
    }
    this.#frames = this.#pages.map((page) => page.frame);
    this.#incarnations = this.#pages.map((page) => page.incarnation);
    this.#lengths = new Int32Array(slots);
    this.#originals = new Int32Array(slots);
    this.#start = offset & PAGE_MASK;
  }

  get waiting(): number {
    return this.#produced - this.#consumed;
  }

  /** Frames lost for whatever reason. */
  get dropped(): number {
    return this.full + this.gone;
  }

  /** Copies a frame into the next slot. @returns false if it was dropped */
  deliver(bytes: Uint8Array, offset: number, length: number): boolean {
    const slot = this.reserve();
    if (slot < 0) return false;
    const { slotBytes, space } = this.request;
    if (space.isVoid) {
      this.gone++;
      return false;
    }
    const count = Math.min(length, slotBytes);
    if (!this.#copy(slot, bytes, offset, count, true)) {
      this.gone++;
      return false;
    }
    this.commit(slot, count, length > slotBytes, length);
    return true;
  }

  /**
   * Copies the oldest frame out and frees its slot.
   * @returns its length, of which `into` got what fits; −1 if none waits
   */
  take(into: Uint8Array): number {
    const length = this.peek();
    if (length < 0) return -1;
    const slot = this.#consumed % this.request.slots;
    if (!this.#copy(slot, into, 0, Math.min(length, into.length), false)) throw new VoidError("packet ring");
    this.shift();
    return length;
  }

  /** @returns the slot that the next frame goes to, or −1 and counts the drop when all are in use */
  reserve(): number {
    if (this.#produced - this.#consumed >= this.request.slots || this.destroyed) {
      this.full++;
      return -1;
    }
    return this.#produced % this.request.slots;
  }

  /** The frame is in its slot. @param original its length before it was cut, if that is known */
  commit(slot: number, length: number, cut: boolean, original = length): void {
    this.#lengths[slot] = length;
    this.#originals[slot] = original;
    this.#produced++;
    this.delivered++;
    this.bytes += length;
    if (cut) this.cut++;
    if (this.stalled.length > 0) this.stalled.wake();
  }

  /** @returns the length of the oldest frame, or −1 */
  peek(): number {
    return this.#produced === this.#consumed ? -1 : this.#lengths[this.#consumed % this.request.slots];
  }

  /** The length of the oldest frame before it was cut to its slot, as far as that is known. */
  get originalLength(): number {
    return this.#originals[this.#consumed % this.request.slots];
  }

  /** Offset, in the client's space, of the oldest frame. */
  get offset(): number {
    return this.request.offset + (this.#consumed % this.request.slots) * this.request.slotBytes;
  }

  shift(): void {
    if (this.#produced === this.#consumed) return;
    this.#consumed++;
    this.onRoom?.();
  }

  release(): void {
    this.stalled.fail(new VoidError("packet ring"));
  }

  /** @returns false when a page of the slot is not there any more */
  #copy(slot: number, bytes: Uint8Array, offset: number, count: number, intoSlot: boolean): boolean {
    const at = this.#start + slot * this.request.slotBytes;
    for (let done = 0; done < count; ) {
      const page = (at + done) >>> PAGE_SHIFT;
      const inPage = (at + done) & PAGE_MASK;
      const chunk = Math.min(PAGE_SIZE - inPage, count - done);
      const frame = this.#frames[page];
      if (this.#pages[page].frame !== frame || this.#incarnations[page].object === null) return false;
      const bank = this.#pages[page].memoryBank;
      if (intoSlot) {
        bank.setDirty(frame, true);
        const to = frameOffset(frame) + inPage;
        const from = offset + done;
        // Within one memory the built-in needs no view, and beats the loop.
        if (bytes === bank.bytes) bytes.copyWithin(to, from, from + chunk);
        else copyBytes(bank.bytes, to, bytes, from, chunk);
      } else {
        copyBytes(bytes, offset + done, bank.bytes, frameOffset(frame) + inPage, chunk);
      }
      done += chunk;
    }
    return true;
  }
}

/** What became of the frames for a ring, so far. */
export interface RingCounters {
  readonly delivered: number;
  readonly bytes: number;
  /** Lost because every slot was in use. */
  readonly full: number;
  /** Lost because the memory of the slots was gone. */
  readonly gone: number;
  /** Delivered, but cut to a slot. */
  readonly cut: number;
}

/** The client's end of a packet ring. */
export class PacketRingCapability extends Capability<PacketRing> {
  /** Frames that wait; 0 once the session is closed. */
  get waiting(): number {
    return this.isVoid ? 0 : openRing(this, "packet ring").waiting;
  }

  /** Length of the oldest frame that waits, or −1. */
  peek(): number {
    return openRing(this, "packet ring").peek();
  }

  /** Its length before it was cut to its slot, as far as that is known. */
  get originalLength(): number {
    return openRing(this, "packet ring").originalLength;
  }

  /** Where that frame is, in the space that the client provided. */
  get offset(): number {
    return openRing(this, "packet ring").offset;
  }

  /** Done with that frame: its slot may be used again. */
  shift(): void {
    openRing(this, "packet ring").shift();
  }

  /**
   * Reads the oldest frame from the client's memory, and is done with it.
   * @returns its length, of which `into` got what fits; −1 if none waits
   * @throws VoidError also when the memory of the slot is gone
   */
  take(into: Uint8Array): number {
    return openRing(this, "packet ring").take(into);
  }

  /** Resolves when at least one frame waits. */
  wait(): MaybePromise<void> {
    const ring = openRing(this, "packet ring");
    return ring.waiting > 0 ? undefined : ring.stalled.wait();
  }

  get counters(): RingCounters {
    const { delivered, bytes, full, gone, cut } = openRing(this, "packet ring");
    return { delivered, bytes, full, gone, cut };
  }
}
