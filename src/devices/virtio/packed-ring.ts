import type { StateReader } from "../../util/state-reader.js";
import type { DescriptorChain } from "./descriptor-chain.js";
import {
  DESCRIPTOR_BYTES,
  DescriptorFlag,
  DescriptorReader,
  hasPassed,
  type Ring,
  type RingGeometry,
  type RingOwner,
  type RingState,
} from "./ring.js";

/** Event suppression structures (§2.8.10): offset and wrap counter, then flags. */
const EVENT_FLAGS = 2;
const EVENT_BYTES = 4;
const Events = { ENABLE: 0, DISABLE: 1, DESCRIPTOR: 2 } as const;
const WRAP = 1 << 15;
/** Where length, buffer ID and flags start in a descriptor. */
const USED_PART = 8;

export interface PackedRingState extends RingState {
  nextWrap: boolean;
  usedWrap: boolean;
}

/** A packed virtqueue (VIRTIO 1.2, §2.8): one ring of descriptors that both sides write. */
export class PackedRing implements Ring {
  readonly #owner: RingOwner;
  readonly #geometry: RingGeometry;
  readonly #reader: DescriptorReader;
  #next = 0;
  #nextWrap = true;
  #used = 0;
  #usedWrap = true;
  /** Places that were taken and not used. */
  #held = 0;
  /** What will be used: ID, length and places of each. */
  readonly #staged: Uint32Array;
  #stagedCount = 0;
  #markedNext = 0;
  #markedWrap = true;
  #markedHeld = 0;
  #markedCount = 0;
  readonly #scratch = new Uint8Array(8);
  readonly #scratchView = new DataView(this.#scratch.buffer);
  #notified = true;

  constructor(owner: RingOwner, geometry: RingGeometry) {
    this.#owner = owner;
    this.#geometry = geometry;
    this.#reader = new DescriptorReader(owner, geometry);
    this.#staged = new Uint32Array(3 * geometry.size);
  }

  take(chain: DescriptorChain): boolean {
    const { size } = this.#geometry;
    const { words } = this.#reader;
    if (this.#held === size || !this.#reader.read(this.#next)) return false;
    if (!isAvailable(words[3] >>> 16, this.#nextWrap)) return false;
    chain.clear();
    let at = this.#next;
    let wrap = this.#nextWrap;
    for (let slots = 1; ; slots++) {
      const flags = words[3] >>> 16;
      const id = words[3] & 0xffff;
      const last = (flags & DescriptorFlag.NEXT) === 0;
      if ((flags & DescriptorFlag.INDIRECT) !== 0) {
        if (slots > 1 || !last) {
          return this.#broken("virtio-indirect-next", "an indirect descriptor stands in a chain of others (§2.8.5)");
        }
        if (!this.#reader.appendTable(chain, false, 0)) return false;
      } else if (!this.#reader.append(chain, 0, flags)) {
        return false;
      }
      if (++at === size) {
        at = 0;
        wrap = !wrap;
      }
      if (last) {
        chain.id = id;
        chain.slots = slots;
        this.#held += slots;
        this.#next = at;
        this.#nextWrap = wrap;
        return true;
      }
      if (this.#held + slots >= size) {
        return this.#broken(
          "virtio-descriptor-loop",
          "a chain of descriptors is longer than what is free of the queue",
        );
      }
      if (!this.#reader.read(at)) return false;
      if (!isAvailable(words[3] >>> 16, wrap)) {
        return this.#broken("virtio-chain-open", `descriptor ${at} continues a buffer, but is not available (§2.8.6)`);
      }
    }
  }

  mark(): void {
    this.#markedNext = this.#next;
    this.#markedWrap = this.#nextWrap;
    this.#markedHeld = this.#held;
    this.#markedCount = this.#stagedCount;
  }

  rewind(): void {
    this.#next = this.#markedNext;
    this.#nextWrap = this.#markedWrap;
    this.#held = this.#markedHeld;
    this.#stagedCount = this.#markedCount;
  }

  use(chain: DescriptorChain, written: number): void {
    const at = 3 * this.#stagedCount++;
    this.#staged[at] = chain.id;
    this.#staged[at + 1] = written;
    this.#staged[at + 2] = chain.slots;
  }

  publish(): boolean {
    const count = this.#stagedCount;
    if (count === 0) return false;
    this.#stagedCount = 0;
    const before = this.#used;
    const wrapBefore = this.#usedWrap;
    let passed = 0;
    // The first one last: then the driver sees all of them or none (§2.8.9).
    for (let i = 0; i < count; i++) {
      if (i > 0 && !this.#writeUsed(i, this.#used, this.#usedWrap)) return false;
      const slots = this.#staged[3 * i + 2];
      passed += slots;
      this.#used += slots;
      if (this.#used >= this.#geometry.size) {
        this.#used -= this.#geometry.size;
        this.#usedWrap = !this.#usedWrap;
      }
    }
    this.#held -= passed;
    return this.#writeUsed(0, before, wrapBefore) && this.#isNotificationWanted(passed);
  }

  wantNotification(wanted: boolean): void {
    if (wanted === this.#notified) return;
    this.#notified = wanted;
    this.#scratchView.setUint16(0, 0, true);
    this.#scratchView.setUint16(EVENT_FLAGS, wanted ? Events.ENABLE : Events.DISABLE, true);
    if (!this.#owner.dma.write(this.#geometry.device, this.#scratch, 0, EVENT_BYTES)) this.#owner.refused();
  }

  snapshot(): PackedRingState {
    return {
      next: this.#next,
      used: this.#used,
      nextWrap: this.#nextWrap,
      usedWrap: this.#usedWrap,
      notified: this.#notified,
    };
  }

  restore(state: StateReader): void {
    this.#next = state.integer("next", 0, this.#geometry.size - 1);
    this.#used = state.integer("used", 0, this.#geometry.size - 1);
    this.#nextWrap = state.flag("nextWrap");
    this.#usedWrap = state.flag("usedWrap");
    this.#notified = state.flag("notified");
    this.#held = 0;
    this.#stagedCount = 0;
  }

  #writeUsed(staged: number, at: number, wrap: boolean): boolean {
    const written = this.#staged[3 * staged + 1];
    const flags = (wrap ? DescriptorFlag.AVAIL | DescriptorFlag.USED : 0) | (written > 0 ? DescriptorFlag.WRITE : 0);
    this.#scratchView.setUint32(0, written, true);
    this.#scratchView.setUint16(4, this.#staged[3 * staged], true);
    this.#scratchView.setUint16(6, flags, true);
    const address = this.#geometry.descriptors + at * DESCRIPTOR_BYTES + USED_PART;
    if (this.#owner.dma.write(address, this.#scratch, 0, DESCRIPTOR_BYTES - USED_PART)) return true;
    this.#owner.refused();
    return false;
  }

  /** Driver event suppression (§2.8.10). @param passed places that have become used */
  #isNotificationWanted(passed: number): boolean {
    const { driver, size, eventIndex } = this.#geometry;
    if (!this.#owner.dma.read(driver, this.#scratch, 0, EVENT_BYTES)) {
      this.#owner.refused();
      return false;
    }
    const flags = this.#scratchView.getUint16(EVENT_FLAGS, true) & 3;
    if (flags !== Events.DESCRIPTOR || !eventIndex) return flags !== Events.DISABLE;
    const place = this.#scratchView.getUint16(0, true);
    const event = (place & ~WRAP) - (((place & WRAP) !== 0) === this.#usedWrap ? 0 : size);
    return hasPassed(event, this.#used, this.#used - passed);
  }

  #broken(rule: string, message: string): false {
    this.#owner.broken(rule, message);
    return false;
  }
}

/** Of a descriptor that the driver made available in this round (§2.8.1). */
function isAvailable(flags: number, wrap: boolean): boolean {
  const available = (flags & DescriptorFlag.AVAIL) !== 0;
  return available === wrap && ((flags & DescriptorFlag.USED) !== 0) !== available;
}
