import type { StateReader } from "../../util/state-reader.js";
import type { DescriptorChain } from "./descriptor-chain.js";
import { Feature, type FeatureSet } from "./features.js";
import { NO_VECTOR, readVector } from "./interrupts.js";
import { PackedRing } from "./packed-ring.js";
import type { Ring, RingOwner, RingState } from "./ring.js";
import { SplitRing } from "./split-ring.js";

const WORD = 0x1_0000_0000;
/** Alignment of descriptor, driver and device areas (§2.6). */
const SPLIT_ALIGNMENT = [16, 2, 4];
const PACKED_ALIGNMENT = [16, 4, 4];
const AREA_NAMES = ["descriptor area", "driver area", "device area"];

/** What a queue tells its device. */
export interface VirtqueueOwner extends RingOwner {
  readonly features: FeatureSet;
  /** DRIVER_OK is set, and the device needs no reset. */
  readonly live: boolean;
  violation(rule: string, message: string): void;
  /** Buffers have been used, and the driver wants to hear of it. */
  queueUsed(queue: Virtqueue): void;
}

export interface VirtqueueState {
  size: number;
  vector: number;
  /** Descriptor, driver and device area: low and high words. */
  areas: number[];
  enabled: boolean;
  ring: RingState | null;
}

/** A virtqueue: what the driver configured (§4.1.4.3), and its ring while it is enabled. */
export class Virtqueue {
  size: number;
  vector: number = NO_VECTOR;
  /** Descriptor, driver and device area: low and high words. */
  readonly areas = new Uint32Array(6);
  readonly #owner: VirtqueueOwner;
  #ring: Ring | null = null;

  constructor(
    owner: VirtqueueOwner,
    readonly index: number,
    readonly largest: number,
  ) {
    this.#owner = owner;
    this.size = largest;
  }

  get enabled(): boolean {
    return this.#ring !== null;
  }

  /** Whether buffers may be taken now. */
  get live(): boolean {
    return this.#ring !== null && this.#owner.live;
  }

  /** queue_size was written. */
  resize(size: number): void {
    const packed = this.#owner.features.has(Feature.RING_PACKED);
    if (size < 1 || size > this.largest || (!packed && (size & (size - 1)) !== 0)) {
      const kind = packed ? `1 to ${this.largest}` : `a power of 2 of at most ${this.largest}`;
      this.#owner.violation("virtio-queue-size", `queue ${this.index} was given ${size} entries: it takes ${kind}`);
      return;
    }
    this.size = size;
  }

  /** queue_enable was set. */
  enable(): void {
    const { features } = this.#owner;
    const packed = features.has(Feature.RING_PACKED);
    const alignment = packed ? PACKED_ALIGNMENT : SPLIT_ALIGNMENT;
    for (let area = 0; area < alignment.length; area++) {
      if (this.areas[2 * area] % alignment[area] === 0) continue;
      this.#owner.violation(
        "virtio-queue-alignment",
        `the ${AREA_NAMES[area]} of queue ${this.index} is not aligned to ${alignment[area]} bytes (§2.6)`,
      );
      return;
    }
    this.#ring = this.#makeRing(packed);
  }

  /** Forgets everything but what the device offers. */
  reset(): void {
    this.#ring = null;
    this.size = this.largest;
    this.vector = NO_VECTOR;
    this.areas.fill(0);
  }

  /** Takes the next available buffer. @returns false when there is none, or no work is to be done */
  take(chain: DescriptorChain): boolean {
    return this.#ring !== null && this.#owner.live && this.#ring.take(chain);
  }

  /** Remembers this place for {@link rewind}. */
  mark(): void {
    this.#ring?.mark();
  }

  /** Gives back what was taken since {@link mark}, as if it had never been looked at. */
  rewind(): void {
    this.#ring?.rewind();
  }

  /** Has a buffer become used at the next {@link publish}. @param written bytes in its writable part */
  use(chain: DescriptorChain, written: number): void {
    this.#ring?.use(chain, written);
  }

  /** Shows the driver what was used, and notifies it if it wants that. */
  publish(): void {
    if (this.#ring?.publish() === true) this.#owner.queueUsed(this);
  }

  /** Whether the driver should notify of the next buffer that it makes available. */
  wantNotification(wanted: boolean): void {
    if (this.live) this.#ring?.wantNotification(wanted);
  }

  snapshot(): VirtqueueState {
    return {
      size: this.size,
      vector: this.vector,
      areas: [...this.areas],
      enabled: this.enabled,
      ring: this.#ring?.snapshot() ?? null,
    };
  }

  restore(state: StateReader, vectors: number): void {
    const packed = this.#owner.features.has(Feature.RING_PACKED);
    const size = state.integer("size", 1, this.largest);
    if (!packed && (size & (size - 1)) !== 0) throw state.misfit("size", "a power of 2");
    this.vector = readVector(state, "vector", vectors);
    this.size = size;
    this.areas.set(state.numbers("areas", 6, 6, 0xffff_ffff));
    this.#ring = null;
    if (!state.flag("enabled")) return;
    this.#ring = this.#makeRing(packed);
    this.#ring.restore(state.child("ring"));
  }

  #makeRing(packed: boolean): Ring {
    const { features } = this.#owner;
    const geometry = {
      size: this.size,
      descriptors: this.#area(0),
      driver: this.#area(1),
      device: this.#area(2),
      indirect: features.has(Feature.INDIRECT_DESC),
      eventIndex: features.has(Feature.EVENT_IDX),
    };
    return packed ? new PackedRing(this.#owner, geometry) : new SplitRing(this.#owner, geometry);
  }

  #area(index: number): number {
    return this.areas[2 * index] + this.areas[2 * index + 1] * WORD;
  }
}
