import type { Clock } from "../bus/clock.js";
import type { AddressSpaceCapability } from "../capability/address-space.js";
import type { EndpointCapability } from "../capability/endpoint.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import { NetworkClient } from "../drivers/network-service.js";
import type { CaptureReader, CaptureWriter } from "../formats/capture-packet.js";
import type { RingCounters } from "../transfer/packet-ring.js";
import type { Random } from "../util/random.js";
import { CaptureSender } from "./capture-sender.js";
import type { InterfaceAddress } from "./internet/address.js";
import { InternetHost } from "./internet/host.js";
import { Outbox } from "./outbox.js";
import { Receiver, type ReceiverOptions } from "./receiver.js";

/** Where a client lives: a machine, or a part of one. */
export interface ClientSurroundings {
  readonly bank: SpaceBankCapability;
  readonly clock: Clock;
  readonly random: Random;
}

export interface ClientOptions {
  /** What it receives, or null for nothing. */
  readonly receive: ReceiverOptions | null;
  /** Gets what it receives. Closing it is left to the caller. */
  readonly record?: CaptureWriter | null;
  /** Captures of Ethernet only: what it sends. */
  readonly replay?: CaptureReader | null;
  /** Nanoseconds of machine time that the replay waits for a link. Default: for ever. */
  readonly patience?: number;
  /** It is a host with this address, and answers at it. */
  readonly address?: InterfaceAddress | null;
  /** It sends every frame back from where it lies. */
  readonly sendBack?: boolean;
}

const NOTHING_RECEIVED: RingCounters = { delivered: 0, bytes: 0, full: 0, gone: 0, cut: 0 };

/**
 * A user of a network adapter: a function with memory of its own and the adapter's endpoint, nothing else. It receives
 * and records, sends a capture, answers as a host, or all of these.
 */
export class Client {
  sentBack = 0;
  readonly #surroundings: ClientSurroundings;
  readonly #options: ClientOptions;
  readonly #bank: SpaceBankCapability;
  readonly #network: NetworkClient;
  readonly #receiver: Receiver | null;
  readonly #sender: CaptureSender | null;
  readonly #outbox: Outbox | null;
  #host: InternetHost | null = null;
  #failed: (error: unknown) => void = () => {};

  constructor(surroundings: ClientSurroundings, endpoint: EndpointCapability, options: ClientOptions) {
    const { receive, replay, address, patience = Number.POSITIVE_INFINITY } = options;
    this.#surroundings = surroundings;
    this.#options = options;
    this.#bank = surroundings.bank.bank();
    this.#network = new NetworkClient(endpoint);
    this.#receiver = receive === null ? null : new Receiver(this.#bank, this.#network, receive);
    this.#sender =
      replay == null
        ? null
        : new CaptureSender(this.#bank, this.#network, { replay, clock: surroundings.clock, patience });
    this.#outbox = address == null ? null : new Outbox(this.#bank, this.#network, (error) => this.#failed(error));
  }

  get received(): RingCounters {
    return this.#receiver?.counters ?? NOTHING_RECEIVED;
  }

  /** Frames that it has not taken yet. */
  get waiting(): number {
    return this.#receiver?.waiting ?? 0;
  }

  /** What became of the capture that it sends, or null. */
  get sent(): CaptureSender["counters"] | null {
    return this.#sender?.counters ?? null;
  }

  /** The host that it is, or null. */
  get host(): InternetHost | null {
    return this.#host;
  }

  /** What became of the host's answers, or null. */
  get answered(): Outbox["counters"] | null {
    return this.#outbox?.counters ?? null;
  }

  /** Opens its session, from when on frames are kept for it. */
  async open(): Promise<void> {
    const { address } = this.#options;
    const outbox = this.#outbox;
    if (address != null && outbox !== null) {
      const { clock, random } = this.#surroundings;
      const { macAddress } = await this.#network.info();
      const send = (frame: Uint8Array, length: number): void => outbox.push(frame, length);
      this.#host = new InternetHost({ ...address, macAddress, clock, random, send });
    }
    await this.#receiver?.open();
  }

  /** Takes frames until it is closed. */
  async receive(): Promise<void> {
    const receiver = this.#receiver;
    if (receiver === null) return;
    const failure = new Promise<never>((_, reject) => {
      this.#failed = reject;
    });
    const taking = receiver.run({
      take: (frame, space, offset, originalLength) => this.#take(frame, space, offset, originalLength),
      drained: () => this.#host?.flush(),
    });
    await Promise.race([taking, failure]);
  }

  /** Sends its capture, if it has one. @throws LinkDownError, CaptureError */
  async send(): Promise<void> {
    await this.#sender?.run();
  }

  /** Ends the session; {@link receive} and {@link send} resolve. */
  async close(): Promise<void> {
    this.#sender?.stop();
    this.#host?.close();
    await this.#outbox?.idle();
    await this.#receiver?.close();
  }

  /** Gives all its memory back. */
  async leave(): Promise<void> {
    await this.#surroundings.bank.destroy(this.#bank);
  }

  async #take(frame: Uint8Array, space: AddressSpaceCapability, offset: number, originalLength: number): Promise<void> {
    const { record, sendBack } = this.#options;
    if (record != null) {
      const now = this.#surroundings.clock.now();
      record.write(frame, 0, frame.length, Math.floor(now / 1e9), Math.floor(now % 1e9), originalLength);
    }
    this.#host?.receive(frame, 0, frame.length);
    if (sendBack !== true) return;
    // The slot stays ours until the device has read it.
    await this.#network.send(space, [{ offset, length: frame.length }]);
    this.sentBack++;
  }
}
