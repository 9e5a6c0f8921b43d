import type { AddressSpaceCapability } from "../capability/address-space.js";
import { VoidError } from "../capability/errors.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import type { NetworkClient } from "../drivers/network-service.js";
import type { PacketRingCapability, RingCounters } from "../transfer/packet-ring.js";
import { PAGE_SIZE } from "../util/brand.js";
import type { MaybePromise } from "../util/maybe-promise.js";

/** Takes every frame that is not a jumbo frame; two of them fill a page. */
export const SLOT_BYTES = 2048;

export interface ReceiverOptions {
  /** A pcap filter expression; empty: everything. */
  readonly filter: string;
  /** Buffers for frames that wait. */
  readonly post: number;
}

/** What is done with the frames. */
export interface FrameTaker {
  /**
   * One frame.
   * @param frame lent until the call's promise has resolved
   * @param offset where it lies in the receiver's space until then
   */
  take(frame: Uint8Array, offset: number): MaybePromise<void>;
  /** No more frames wait for now. */
  drained?(): void;
}

/** The receiving end of a client: memory of its own, and a session with the adapter that fills it. */
export class Receiver {
  readonly space: AddressSpaceCapability;
  readonly #network: NetworkClient;
  readonly #options: ReceiverOptions;
  readonly #frame = new Uint8Array(SLOT_BYTES);
  #ring: PacketRingCapability | null = null;
  #counters: RingCounters = { delivered: 0, bytes: 0, full: 0, gone: 0, cut: 0 };

  /** @param bank that the buffers are bought from */
  constructor(bank: SpaceBankCapability, network: NetworkClient, options: ReceiverOptions) {
    this.#network = network;
    this.#options = options;
    this.space = bank.region({ pages: Math.ceil((options.post * SLOT_BYTES) / PAGE_SIZE) });
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
    const { filter, post: slots } = this.#options;
    this.#ring = await this.#network.open({ space: this.space, offset: 0, slots, slotBytes: SLOT_BYTES, filter });
  }

  /** Takes frames until the session is closed, or the driver's end closes it. */
  async run(taker: FrameTaker): Promise<void> {
    const ring = this.#ring;
    if (ring === null) return;
    try {
      for (;;) {
        await ring.wait();
        for (let length = ring.peek(); length >= 0; length = ring.peek()) {
          const frame = this.#frame.subarray(0, length);
          const { offset } = ring;
          await this.space.read(offset, frame);
          await taker.take(frame, offset);
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
