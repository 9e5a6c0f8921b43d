import type { DmaPort } from "../../bus/io-mmu.js";
import type { StateReader } from "../../util/state-reader.js";
import type { DescriptorChain } from "./descriptor-chain.js";

/** Descriptor flags, of both formats (§2.7.5, §2.8). */
export const DescriptorFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4, AVAIL: 1 << 7, USED: 1 << 15 } as const;

export const DESCRIPTOR_BYTES = 16;
const WORD = 0x1_0000_0000;
/** Drivers must not make longer buffers (§2.7.5.2). */
const LONGEST_CHAIN = 2 ** 32;
/** So many entries of an indirect table are read at once. */
const TABLE_PREFETCH = 32;

/** Where the driver placed a queue, and how it is used. */
export interface RingGeometry {
  readonly size: number;
  readonly descriptors: number;
  /** The driver area: available ring, or driver event suppression. */
  readonly driver: number;
  /** The device area: used ring, or device event suppression. */
  readonly device: number;
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

/** Who a ring reports to; afterwards the device needs a reset. */
export interface RingOwner {
  readonly dma: DmaPort;
  /** The driver broke a rule from which the device cannot recover. */
  broken(rule: string, message: string): void;
  /** An access to memory was refused. */
  refused(): void;
}

/** Plain-state twin of a ring's position. Nothing is in the device's hands while a snapshot is taken. */
export interface RingState {
  next: number;
  used: number;
  /** Whether the driver was told to notify. */
  notified: boolean;
}

/** The device's side of a virtqueue in either format. Buffers may be used in any order. */
export interface Ring {
  /** Takes the next available buffer. @returns false when there is none, or the device needs a reset */
  take(chain: DescriptorChain): boolean;
  /** Remembers this place for {@link rewind}. */
  mark(): void;
  /** Gives back all that was taken since {@link mark}, as if it had never been looked at. */
  rewind(): void;
  /** Has a buffer become used at the next {@link publish}. @param written bytes in its writable part */
  use(chain: DescriptorChain, written: number): void;
  /** Shows the driver what was used, all at once. @returns whether the driver wants to be notified */
  publish(): boolean;
  /** Asks the driver to notify of the next buffer it makes available, or tells it that there is no need to. */
  wantNotification(wanted: boolean): void;
  snapshot(): RingState;
  restore(state: StateReader): void;
}

/** Descriptors as they come from memory, and what both formats check about them. */
export class DescriptorReader {
  readonly words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #owner: RingOwner;
  readonly #geometry: RingGeometry;

  constructor(owner: RingOwner, geometry: RingGeometry) {
    this.#owner = owner;
    this.#geometry = geometry;
    this.#bytes = new Uint8Array((1 + TABLE_PREFETCH) * DESCRIPTOR_BYTES);
    this.words = new Uint32Array(this.#bytes.buffer);
  }

  /** Reads the ring's descriptor `index` to the front of {@link words}. */
  read(index: number): boolean {
    const { descriptors } = this.#geometry;
    if (this.#owner.dma.read(descriptors + index * DESCRIPTOR_BYTES, this.#bytes, 0, DESCRIPTOR_BYTES)) return true;
    this.#owner.refused();
    return false;
  }

  /** Appends the descriptor at `words[at]`. */
  append(chain: DescriptorChain, at: number, flags: number): boolean {
    const { words } = this;
    const address = words[at] + words[at + 1] * WORD;
    if (!chain.add(address, words[at + 2], (flags & DescriptorFlag.WRITE) !== 0)) {
      return this.#broken("virtio-descriptor-order", "a buffer has an element to read behind one to write (§2.7.4.2)");
    }
    if (chain.readableBytes + chain.writableBytes > LONGEST_CHAIN) {
      return this.#broken("virtio-chain-length", "a buffer is longer than 2^32 bytes (§2.7.5.2)");
    }
    return true;
  }

  /**
   * Appends the elements of an indirect table (§2.7.5.3, §2.8.7), the descriptor of which is at the front of
   * {@link words}.
   * @param linked whether entries name their successors (split); else they stand one behind the other (packed)
   * @param links elements that the buffer has already
   */
  appendTable(chain: DescriptorChain, linked: boolean, links: number): boolean {
    const { words } = this;
    const { size, indirect } = this.#geometry;
    const address = words[0] + words[1] * WORD;
    const bytes = words[2];
    if (!indirect) {
      return this.#broken("virtio-indirect", "an indirect descriptor was used without VIRTIO_F_INDIRECT_DESC");
    }
    if (bytes === 0 || bytes % DESCRIPTOR_BYTES !== 0) {
      return this.#broken("virtio-indirect-length", `an indirect table has ${bytes} bytes: descriptors take 16 each`);
    }
    const entries = bytes / DESCRIPTOR_BYTES;
    const prefetched = Math.min(entries, TABLE_PREFETCH);
    if (!this.#fetch(address, DESCRIPTOR_BYTES, prefetched)) return false;
    for (let index = 0, count = links; ; count++) {
      if (count >= size) {
        const what = linked ? "longer than the queue, or a loop" : "longer than the queue";
        return this.#broken("virtio-descriptor-loop", `the chain in an indirect table is ${what}`);
      }
      let at = (1 + index) * 4;
      if (index >= prefetched) {
        if (!this.#fetch(address + index * DESCRIPTOR_BYTES, 0, 1)) return false;
        at = 0;
      }
      const flags = linked ? words[at + 3] & 0xffff : words[at + 3] >>> 16;
      if (linked && (flags & DescriptorFlag.INDIRECT) !== 0) {
        return this.#broken("virtio-indirect-nested", "an indirect table refers to another one (§2.7.5.3.1)");
      }
      if (!this.append(chain, at, flags)) return false;
      if (linked) {
        if ((flags & DescriptorFlag.NEXT) === 0) return true;
        index = words[at + 3] >>> 16;
        if (index >= entries) {
          return this.#broken("virtio-descriptor-index", `entry ${index} of an indirect table of ${entries} is next`);
        }
      } else if (++index === entries) {
        return true;
      }
    }
  }

  #fetch(address: number, offset: number, count: number): boolean {
    if (this.#owner.dma.read(address, this.#bytes, offset, count * DESCRIPTOR_BYTES)) return true;
    this.#owner.refused();
    return false;
  }

  #broken(rule: string, message: string): false {
    this.#owner.broken(rule, message);
    return false;
  }
}

/**
 * Whether an index that one side waits for lies among those that the other side has passed, from `before` to `after`
 * (§2.7.7.2, §2.7.10; all of them modulo 2^16).
 */
export function hasPassed(event: number, after: number, before: number): boolean {
  return ((after - event - 1) & 0xffff) < ((after - before) & 0xffff);
}
