import type { AddressSpaceCapability } from "../capability/address-space.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import { LinkDownError, type NetworkClient } from "../drivers/network-service.js";
import { PAGE_SIZE } from "../util/brand.js";

/** Frames of one request at the most, and the memory for them. */
const BATCH_FRAMES = 64;
const BATCH_PAGES = 32;
const BATCH_BYTES = BATCH_PAGES * PAGE_SIZE;
/** Frames that may wait: 64 KiB windows of some connections. */
const MOST_WAITING = 1024;

/** Sends frames from pages of its own, several in one request, and never makes anybody wait. */
export class Outbox {
  readonly counters = { frames: 0, bytes: 0, full: 0, linkDown: 0 };
  readonly #space: AddressSpaceCapability;
  readonly #network: NetworkClient;
  readonly #onError: (error: unknown) => void;
  #waiting: Uint8Array[] = [];
  #busy = false;
  #working: Promise<void> = Promise.resolve();

  /** @param onError hears why nothing can be sent any more; no link is no such reason */
  constructor(bank: SpaceBankCapability, network: NetworkClient, onError: (error: unknown) => void) {
    this.#space = bank.region({ pages: BATCH_PAGES });
    this.#network = network;
    this.#onError = onError;
  }

  /** Sends a copy of `frame[0, length)`, some time soon; with too many waiting already it is dropped and counted. */
  push(frame: Uint8Array, length: number): void {
    if (this.#waiting.length >= MOST_WAITING) {
      this.counters.full++;
      return;
    }
    this.#waiting.push(frame.slice(0, length));
    if (this.#busy) return;
    this.#busy = true;
    this.#working = this.#work().catch(this.#onError);
  }

  /** Resolves when nothing waits any more. */
  idle(): Promise<void> {
    return this.#working;
  }

  async #work(): Promise<void> {
    // What else is pushed in this turn goes along.
    await null;
    while (this.#waiting.length > 0) await this.#sendBatch();
    this.#busy = false;
  }

  async #sendBatch(): Promise<void> {
    const batch = new SendBatch(this.#space);
    let count = 0;
    while (count < this.#waiting.length && (await batch.add(this.#waiting[count]))) count++;
    this.#waiting.splice(0, count);
    try {
      await batch.send(this.#network);
      this.counters.frames += batch.frames;
      this.counters.bytes += batch.bytes;
    } catch (error) {
      if (!(error instanceof LinkDownError)) throw error;
      this.counters.linkDown += batch.frames;
    }
  }
}

/** Frames for one request, one behind the other in memory of {@link BATCH_PAGES} pages. */
export class SendBatch {
  static readonly pages = BATCH_PAGES;
  frames = 0;
  bytes = 0;
  readonly #pairs = new Uint32Array(2 * BATCH_FRAMES);

  constructor(private readonly space: AddressSpaceCapability) {}

  /** @returns false if the frame does not go into this batch any more */
  async add(frame: Uint8Array): Promise<boolean> {
    if (this.frames === BATCH_FRAMES || this.bytes + frame.length > BATCH_BYTES) return false;
    await this.space.write(this.bytes, frame);
    this.#pairs[2 * this.frames] = this.bytes;
    this.#pairs[2 * this.frames + 1] = frame.length;
    this.frames++;
    this.bytes += frame.length;
    return true;
  }

  /** Resolves when the device has read all frames. */
  async send(network: NetworkClient): Promise<void> {
    if (this.frames > 0) await network.sendPairs(this.space, this.#pairs.subarray(0, 2 * this.frames));
  }
}
