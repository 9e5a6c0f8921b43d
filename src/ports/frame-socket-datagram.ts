import { ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES } from "../devices/wire.js";
import { PacedWire, type PacedWireOptions } from "./frame-socket-paced.js";

/** A datagram socket that knows its peer. */
export interface DatagramPort {
  /** Sends one datagram, whose bytes are the port's own from then on. */
  send(bytes: Uint8Array): void;
  /** Bytes that wait in the port. */
  readonly unsent: number;
}

/** Datagrams cannot be made to wait: beyond these they are dropped. */
const MOST_UNSENT_BYTES = 1 << 20;
const MOST_WAITING = 1024;

/** A wire that leads to another machine, a frame a datagram, as QEMU's `-netdev dgram`. There always is carrier. */
export class DatagramWire extends PacedWire {
  /** Datagrams that were left out: below the 14 bytes of an Ethernet header. */
  tooShort = 0;
  /** Left out: longer than any adapter takes. */
  tooLong = 0;
  /** Dropped: they came faster than the wire is. */
  overrun = 0;
  #port: DatagramPort | null;
  #waiting: Uint8Array[] = [];
  #first = 0;

  constructor(port: DatagramPort, options: PacedWireOptions) {
    super(options);
    this.#port = port;
  }

  /** Bytes that were sent and have not left yet. */
  get unsent(): number {
    return this.#port?.unsent ?? 0;
  }

  /** A datagram from the peer, whose bytes are the wire's own from then on. */
  receive(bytes: Uint8Array): void {
    if (bytes.length < ETHERNET_HEADER_BYTES) this.tooShort++;
    else if (bytes.length > LONGEST_FRAME_BYTES) this.tooLong++;
    else if (this.#waiting.length - this.#first >= MOST_WAITING) this.overrun++;
    else {
      this.#waiting.push(bytes);
      this.arrived();
    }
  }

  override send(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#port === null || !this.carrier) {
      this.unplugged++;
      return;
    }
    if (this.#port.unsent + length > MOST_UNSENT_BYTES) {
      this.congested++;
      return;
    }
    this.sent.frames++;
    this.sent.bytes += length;
    this.#port.send(bytes.slice(offset, offset + length));
  }

  /** Nothing comes or goes any more. */
  close(): void {
    this.stop();
    this.#port = null;
    this.#waiting = [];
    this.#first = 0;
    this.setCarrier(false);
  }

  protected override next(): boolean {
    const bytes = this.#waiting[this.#first];
    if (bytes === undefined) return false;
    if (++this.#first >= MOST_WAITING || this.#first === this.#waiting.length) {
      this.#waiting.splice(0, this.#first);
      this.#first = 0;
    }
    this.pass(bytes, 0, bytes.length);
    return true;
  }
}
