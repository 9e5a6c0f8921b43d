import type { Clock } from "../bus/clock.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import { ETHERNET_HEADER_BYTES } from "../devices/wire.js";
import { LinkDownError, type NetworkClient } from "../drivers/network-service.js";
import type { CaptureReader } from "../formats/capture-packet.js";
import { SendBatch } from "./outbox.js";

export interface CaptureSenderOptions {
  readonly replay: CaptureReader;
  /** The machine's. */
  readonly clock: Clock;
  /** Nanoseconds of machine time to wait for a link; Infinity: for ever. */
  readonly patience: number;
}

const POLL_NANOSECONDS = 10e6;

/** Sends the frames of a capture, as fast as the adapter takes them, from its own pages without another copy. */
export class CaptureSender {
  readonly counters = {
    frames: 0,
    bytes: 0,
    /** Left out: no Ethernet header, or longer than the adapter takes. */
    tooShort: 0,
    tooLong: 0,
    /** The link went down while they were on their way: perhaps they have left, perhaps not. */
    linkDown: 0,
  };
  readonly #bank: SpaceBankCapability;
  readonly #network: NetworkClient;
  readonly #options: CaptureSenderOptions;
  #stopped = false;

  constructor(bank: SpaceBankCapability, network: NetworkClient, options: CaptureSenderOptions) {
    this.#bank = bank;
    this.#network = network;
    this.#options = options;
  }

  /**
   * Resolves when the device has read the last frame.
   * @throws LinkDownError when there is no link for too long; CaptureError when the capture is broken: the frames before
   * the damage were sent
   */
  async run(): Promise<void> {
    const { replay } = this.#options;
    const longest = await this.#linkUp();
    const space = this.#bank.region({ pages: SendBatch.pages });
    let batch = new SendBatch(space);
    for (let frame = this.#next(replay, longest); frame !== null; frame = this.#next(replay, longest)) {
      if (this.#stopped) return;
      if (frame instanceof Error) {
        await this.#send(batch);
        throw frame;
      }
      if (await batch.add(frame)) continue;
      await this.#send(batch);
      batch = new SendBatch(space);
      await batch.add(frame);
    }
    await this.#send(batch);
  }

  /** What is on its way is still sent. */
  stop(): void {
    this.#stopped = true;
  }

  /** @returns the next frame that the adapter takes, null at the end, or why there is none */
  #next(replay: CaptureReader, longest: number): Uint8Array | Error | null {
    try {
      for (let packet = replay.next(); packet !== null; packet = replay.next()) {
        const { bytes, offset, capturedLength } = packet;
        if (capturedLength < ETHERNET_HEADER_BYTES) this.counters.tooShort++;
        else if (capturedLength > longest) this.counters.tooLong++;
        else return bytes.subarray(offset, offset + capturedLength);
      }
      return null;
    } catch (error) {
      if (error instanceof Error) return error;
      throw error;
    }
  }

  async #send(batch: SendBatch): Promise<void> {
    try {
      await batch.send(this.#network);
      this.counters.frames += batch.frames;
      this.counters.bytes += batch.bytes;
    } catch (error) {
      if (!(error instanceof LinkDownError)) throw error;
      this.counters.linkDown += batch.frames;
      await this.#linkUp();
    }
  }

  /** Waits for a link. @returns the longest frame that the adapter takes */
  async #linkUp(): Promise<number> {
    const { clock, patience } = this.#options;
    const since = clock.now();
    for (;;) {
      const { linkUp, longestFrame } = await this.#network.info();
      if (linkUp || this.#stopped) return longestFrame;
      if (clock.now() - since >= patience) throw new LinkDownError();
      await new Promise<void>((resolve) => clock.timer(resolve).arm(POLL_NANOSECONDS));
    }
  }
}
