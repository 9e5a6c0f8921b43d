import type { AddressSpaceCapability } from "../capability/address-space.js";
import { VoidError } from "../capability/errors.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import type { NetworkClient } from "../drivers/network-service.js";
import type { PacketRingCapability, RingCounters } from "../transfer/packet-ring.js";
import { PAGE_SIZE } from "../util/brand.js";
import type { MaybePromise } from "../util/maybe-promise.js";

/** Takes every frame that is not a jumbo frame; two of them fill a page. */
const USUAL_SLOT = 2048;
const LARGEST_SLOT = 65_536;

export interface ReceiverOptions {
  /** A pcap filter expression; empty: everything. */
  readonly filter: string;
  /** Buffers for frames that wait. */
  readonly post: number;
  /** Buffers take the longest frame of the device, not just what most networks have; where the device fills them, they are pinned. */
  readonly long?: boolean;
}

/** What is done with the frames. */
export interface FrameTaker {
  /**
   * One frame.
   * @param frame lent until the call's promise has resolved
   * @param space the receiver's, where it lies until then
   * @param originalLength what it had before it was cut to a buffer
   */
  take(frame: Uint8Array, space: AddressSpaceCapability, offset: number, originalLength: number): MaybePromise<void>;
  /** No more frames wait for now. */
  drained?(): void;
}

/** The receiving end of a client: memory of its own, and a session with the adapter that fills it. */
export class Receiver {
  readonly #bank: SpaceBankCapability;
  readonly #network: NetworkClient;
  readonly #options: ReceiverOptions;
  #ring: PacketRingCapability | null = null;
  /** Where the slots are. */
  #space: AddressSpaceCapability | null = null;
  #slot = new Uint8Array(0);
  #counters: RingCounters = { delivered: 0, bytes: 0, full: 0, gone: 0, cut: 0 };

  /** @param bank that the buffers are bought from */
  constructor(bank: SpaceBankCapability, network: NetworkClient, options: ReceiverOptions) {
    this.#bank = bank;
    this.#network = network;
    this.#options = options;
  }

  get counters(): RingCounters {
    return this.#ring === null ? this.#counters : this.#ring.counters;
  }

  /** Frames that were delivered and not taken yet; 0 without a session. */
  get waiting(): number {
    return this.#ring === null ? 0 : this.#ring.waiting;
  }

  /** @throws FilterSyntaxError, ArgumentError: what the driver says about the session */
  async open(): Promise<void> {
    const { filter, post: slots, long = false } = this.#options;
    const longest = long ? (await this.#network.info()).longestFrame : 0;
    const slotBytes =
      longest <= USUAL_SLOT ? USUAL_SLOT : Math.min(LARGEST_SLOT, Math.ceil(longest / PAGE_SIZE) * PAGE_SIZE);
    const space = this.#bank.region({ pages: Math.ceil((slots * slotBytes) / PAGE_SIZE) });
    this.#space = space;
    this.#slot = new Uint8Array(slotBytes);
    this.#ring = await this.#network.open({ space, offset: 0, slots, slotBytes, filter });
  }

  /** Takes frames until the session is closed, or the driver's end closes it. */
  async run(taker: FrameTaker): Promise<void> {
    const ring = this.#ring;
    const space = this.#space;
    if (ring === null || space === null) return;
    try {
      for (;;) {
        await ring.wait();
        for (let length = ring.peek(); length >= 0; length = ring.peek()) {
          const frame = this.#slot.subarray(0, length);
          const { offset, originalLength } = ring;
          await space.read(offset, frame);
          await taker.take(frame, space, offset, originalLength);
          ring.shift();
        }
        taker.drained?.();
      }
    } catch (error) {
      if (!(error instanceof VoidError)) throw error;
    }
  }

  async close(): Promise<void> {
    const ring = this.#ring;
    if (ring === null) return;
    this.#counters = ring.counters;
    this.#ring = null;
    await this.#network.close(ring);
  }
}
