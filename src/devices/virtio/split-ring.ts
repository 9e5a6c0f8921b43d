import type { StateReader } from "../../util/state-reader.js";
import type { DescriptorChain } from "./descriptor-chain.js";
import {
  DescriptorFlag,
  DescriptorReader,
  hasPassed,
  type Ring,
  type RingGeometry,
  type RingOwner,
  type RingState,
} from "./ring.js";

/** Heads that are read from the available ring at once. */
const PREFETCH = 64;
/** In both rings: flags, index, then the entries. */
const INDEX = 2;
const ENTRIES = 4;
const USED_ENTRY_BYTES = 8;
/** In the available and used rings' flags. */
const NO_NOTIFICATION = 1;

export interface SplitRingState extends RingState {
  available: number;
  /** Heads that have been read, from `next` on. */
  heads: number[];
  /** avail_event, as it was written. */
  event: number;
}

/** A split virtqueue (VIRTIO 1.2, §2.7): descriptor table, available ring and used ring. */
export class SplitRing implements Ring {
  readonly #owner: RingOwner;
  readonly #geometry: RingGeometry;
  readonly #reader: DescriptorReader;
  /** Position in the available ring, and how far the driver was when that was read last. */
  #next = 0;
  #available = 0;
  readonly #heads = new Uint16Array(PREFETCH);
  readonly #headBytes = new Uint8Array(this.#heads.buffer);
  #headsFrom = 0;
  #headsCount = 0;
  /** Position in the used ring, and the entries that will be written there. */
  #used = 0;
  readonly #staged: Uint32Array;
  readonly #stagedBytes: Uint8Array;
  #stagedCount = 0;
  #markedNext = 0;
  #markedCount = 0;
  readonly #scratch = new Uint8Array(2);
  #notified = true;
  /** What stands in avail_event. */
  #event = 0;

  constructor(owner: RingOwner, geometry: RingGeometry) {
    this.#owner = owner;
    this.#geometry = geometry;
    this.#reader = new DescriptorReader(owner, geometry);
    this.#staged = new Uint32Array(2 * geometry.size);
    this.#stagedBytes = new Uint8Array(this.#staged.buffer);
  }

  take(chain: DescriptorChain): boolean {
    if (this.#next === this.#available && !this.#refresh()) return false;
    let ahead = (this.#next - this.#headsFrom) & 0xffff;
    if (ahead >= this.#headsCount) {
      if (!this.#fetchHeads()) return false;
      ahead = 0;
    }
    if (!this.#walk(chain, this.#heads[ahead])) return false;
    this.#next = (this.#next + 1) & 0xffff;
    return true;
  }

  mark(): void {
    this.#markedNext = this.#next;
    this.#markedCount = this.#stagedCount;
  }

  rewind(): void {
    this.#next = this.#markedNext;
    this.#stagedCount = this.#markedCount;
    this.#headsCount = 0;
  }

  use(chain: DescriptorChain, written: number): void {
    const at = 2 * this.#stagedCount++;
    this.#staged[at] = chain.id;
    this.#staged[at + 1] = written;
  }

  publish(): boolean {
    const count = this.#stagedCount;
    if (count === 0) return false;
    this.#stagedCount = 0;
    const { device, size } = this.#geometry;
    const { dma } = this.#owner;
    const before = this.#used;
    const at = before & (size - 1);
    const first = Math.min(count, size - at) * USED_ENTRY_BYTES;
    const second = count * USED_ENTRY_BYTES - first;
    this.#used = (before + count) & 0xffff;
    const stored =
      dma.write(device + ENTRIES + at * USED_ENTRY_BYTES, this.#stagedBytes, 0, first) &&
      (second === 0 || dma.write(device + ENTRIES, this.#stagedBytes, first, second)) &&
      this.#write16(device + INDEX, this.#used);
    if (!stored) {
      this.#owner.refused();
      return false;
    }
    return this.#isNotificationWanted(before);
  }

  wantNotification(wanted: boolean): void {
    const { device, size, eventIndex } = this.#geometry;
    if (eventIndex) {
      // An avail_event that stays behind is not reached for 2^16 buffers (§2.7.10).
      if (!wanted || this.#event === this.#available) return;
      this.#event = this.#available;
      if (!this.#write16(device + ENTRIES + size * USED_ENTRY_BYTES, this.#event)) this.#owner.refused();
    } else if (wanted !== this.#notified) {
      this.#notified = wanted;
      if (!this.#write16(device, wanted ? 0 : NO_NOTIFICATION)) this.#owner.refused();
    }
  }

  snapshot(): SplitRingState {
    const read = (this.#next - this.#headsFrom) & 0xffff;
    return {
      next: this.#next,
      used: this.#used,
      available: this.#available,
      heads: read < this.#headsCount ? [...this.#heads.subarray(read, this.#headsCount)] : [],
      event: this.#event,
      notified: this.#notified,
    };
  }

  restore(state: StateReader): void {
    const next = state.integer("next", 0, 0xffff);
    const available = state.integer("available", 0, 0xffff);
    if (((available - next) & 0xffff) > this.#geometry.size) throw state.misfit("available", "within the queue");
    const heads = state.numbers("heads", 0, Math.min(PREFETCH, (available - next) & 0xffff), 0xffff);
    this.#used = state.integer("used", 0, 0xffff);
    this.#event = state.integer("event", 0, 0xffff);
    this.#notified = state.flag("notified");
    this.#next = next;
    this.#available = available;
    this.#heads.set(heads);
    this.#headsFrom = next;
    this.#headsCount = heads.length;
    this.#stagedCount = 0;
  }

  /** Looks how far the driver is. @returns whether there is something new */
  #refresh(): boolean {
    const { driver, size } = this.#geometry;
    if (!this.#read16(driver + INDEX)) return false;
    const index = this.#scratch[0] | (this.#scratch[1] << 8);
    const held = (this.#next - this.#used) & 0xffff;
    const fresh = (index - this.#next) & 0xffff;
    if (fresh + held > size) {
      this.#owner.broken(
        "virtio-available-index",
        `the available index went from ${this.#next} to ${index}, which is more than the queue's ${size} buffers`,
      );
      return false;
    }
    this.#available = index;
    return fresh !== 0;
  }

  #fetchHeads(): boolean {
    const { driver, size } = this.#geometry;
    const at = this.#next & (size - 1);
    const count = Math.min(PREFETCH, (this.#available - this.#next) & 0xffff, size - at);
    this.#headsFrom = this.#next;
    this.#headsCount = count;
    if (this.#owner.dma.read(driver + ENTRIES + 2 * at, this.#headBytes, 0, 2 * count)) return true;
    this.#headsCount = 0;
    this.#owner.refused();
    return false;
  }

  /** Follows a chain through the descriptor table (§2.7.5). */
  #walk(chain: DescriptorChain, head: number): boolean {
    const { size } = this.#geometry;
    const { words } = this.#reader;
    chain.clear();
    chain.id = head;
    chain.slots = 1;
    let index = head;
    for (let links = 0; ; links++) {
      if (index >= size) {
        return this.#broken("virtio-descriptor-index", `descriptor ${index} was named, but the queue has ${size}`);
      }
      if (links >= size) return this.#broken("virtio-descriptor-loop", "a chain of descriptors runs in a loop");
      if (!this.#reader.read(index)) return false;
      const flags = words[3] & 0xffff;
      if ((flags & DescriptorFlag.INDIRECT) !== 0) {
        if ((flags & DescriptorFlag.NEXT) === 0) return this.#reader.appendTable(chain, true, links);
        return this.#broken("virtio-indirect-next", "an indirect descriptor has a successor (§2.7.5.3.1)");
      }
      if (!this.#reader.append(chain, 0, flags)) return false;
      if ((flags & DescriptorFlag.NEXT) === 0) return true;
      index = words[3] >>> 16;
    }
  }

  /** Used buffer notification suppression (§2.7.7). */
  #isNotificationWanted(before: number): boolean {
    const { driver, size, eventIndex } = this.#geometry;
    if (!this.#read16(eventIndex ? driver + ENTRIES + 2 * size : driver)) return false;
    const value = this.#scratch[0] | (this.#scratch[1] << 8);
    return eventIndex ? hasPassed(value, this.#used, before) : (value & NO_NOTIFICATION) === 0;
  }

  #read16(address: number): boolean {
    if (this.#owner.dma.read(address, this.#scratch, 0, 2)) return true;
    this.#owner.refused();
    return false;
  }

  #write16(address: number, value: number): boolean {
    this.#scratch[0] = value & 0xff;
    this.#scratch[1] = value >>> 8;
    return this.#owner.dma.write(address, this.#scratch, 0, 2);
  }

  #broken(rule: string, message: string): false {
    this.#owner.broken(rule, message);
    return false;
  }
}
