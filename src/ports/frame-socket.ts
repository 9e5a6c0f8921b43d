import type { Timer } from "../bus/clock.js";
import { EventSource } from "../util/events.js";
import { PacedWire, type PacedWireOptions } from "./frame-socket-paced.js";
import { FrameReader, LONGEST_PACKET_BYTES } from "./frame-socket-reader.js";

/** A connected stream socket: TCP, unix, a pipe. */
export interface FrameStream {
  /** Sends bytes, which are the stream's own from then on. */
  write(bytes: Uint8Array): void;
  /** Bytes that were written and that the peer has not taken yet. */
  readonly unsent: number;
  /** Lets what the peer sends wait in the network. */
  hold(on: boolean): void;
  /** Breaks the connection off; what was written may be lost. */
  close(): void;
}

export interface StreamWireEvents {
  /** The peer broke the protocol and was disconnected. */
  violation: { message: string };
  /** Nobody is at the other end any more, and all that came from there was delivered: so many frames. */
  detached: { frames: number };
}

/** A peer that does not read loses frames beyond this. */
const MOST_UNSENT_BYTES = 1 << 20;
/** What waits for the adapter; beyond it the peer waits. */
const MOST_BUFFERED_BYTES = 1 << 18;
const LENGTH_BYTES = 4;
/** A link partner that was just plugged in negotiates first: an adapter takes nothing meanwhile. */
const NEGOTIATION_NANOSECONDS = 10_000_000;
/** Frames that are sent at the same time go out as one piece. */
const PIECE_BYTES = 1 << 16;

/**
 * A wire that leads to another machine, in the framing of QEMU's `-netdev stream`. Whoever owns the sockets attaches one
 * peer at a time; without one there is no carrier.
 */
export class StreamWire extends PacedWire {
  readonly events = new EventSource<StreamWireEvents>();
  /** Peers that were attached so far. */
  peers = 0;
  /** Peers that were disconnected since they announced a frame that cannot be. */
  violations = 0;
  /** Frames that broke off in the middle, or came too late, because their peer has left. */
  brokenOff = 0;
  #tooShort = 0;
  #tooLong = 0;
  #stream: FrameStream | null = null;
  #reader = new FrameReader();
  #held = false;
  #leaving = false;
  #framesBefore = 0;
  readonly #piece = new Uint8Array(PIECE_BYTES);
  #filled = 0;
  readonly #flush: Timer;

  constructor(options: PacedWireOptions) {
    super(options);
    this.#flush = options.clock.timer(() => this.flush());
    this.setCarrier(false);
  }

  /** Frames from peers that were left out: below the 14 bytes of an Ethernet header. */
  get tooShort(): number {
    return this.#tooShort + this.#reader.tooShort;
  }

  /** Left out: longer than any adapter takes. */
  get tooLong(): number {
    return this.#tooLong + this.#reader.tooLong;
  }

  get attached(): boolean {
    return this.#stream !== null;
  }

  /** Bytes that were sent and that the peer has not taken yet. */
  get unsent(): number {
    return this.#filled + (this.#stream?.unsent ?? 0);
  }

  /** Plugs the cable into a peer. Who was there before is gone. */
  attach(stream: FrameStream): void {
    if (this.#stream !== null) this.detach();
    if (this.#leaving) this.#left();
    this.#stream = stream;
    this.peers++;
    this.#framesBefore = this.received.frames;
    this.setCarrier(true);
    this.rest(NEGOTIATION_NANOSECONDS);
    this.wake();
  }

  /** Bytes from the peer, which are the wire's own from then on. */
  receive(bytes: Uint8Array): void {
    if (this.#stream === null) return;
    this.#reader.push(bytes);
    if (!this.#held && this.#reader.buffered > MOST_BUFFERED_BYTES) {
      this.#held = true;
      this.#stream.hold(true);
    }
    this.arrived();
  }

  /** The peer has gone. What it sent before still arrives, then the carrier goes. */
  detach(): void {
    if (this.#stream === null) return;
    this.#stream = null;
    this.#filled = 0;
    this.#flush.cancel();
    this.#leaving = true;
    this.arrived();
  }

  override send(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#stream === null) {
      this.unplugged++;
      return;
    }
    if (this.unsent + length > MOST_UNSENT_BYTES) {
      this.congested++;
      return;
    }
    this.sent.frames++;
    this.sent.bytes += length;
    if (this.#filled + LENGTH_BYTES + length > PIECE_BYTES) this.flush();
    const piece = this.#piece;
    const at = this.#filled;
    piece[at] = length >>> 24;
    piece[at + 1] = length >>> 16;
    piece[at + 2] = length >>> 8;
    piece[at + 3] = length;
    piece.set(bytes.subarray(offset, offset + length), at + LENGTH_BYTES);
    this.#filled = at + LENGTH_BYTES + length;
    if (!this.#flush.armed) this.#flush.arm(0);
  }

  /** Hands what was sent to the stream, without waiting for more. */
  flush(): void {
    if (this.#filled === 0 || this.#stream === null) return;
    const piece = this.#piece.slice(0, this.#filled);
    this.#filled = 0;
    this.#stream.write(piece);
  }

  /** Breaks off for good. */
  close(): void {
    this.flush();
    this.stop();
    this.#stream?.close();
    this.#stream = null;
    this.#flush.cancel();
    this.setCarrier(false);
  }

  protected override next(): boolean {
    const found = this.#reader.next((bytes, offset, length) => this.pass(bytes, offset, length));
    if (this.#held && this.#reader.buffered <= MOST_BUFFERED_BYTES / 2) {
      this.#held = false;
      this.#stream?.hold(false);
    }
    if (found) return true;
    const { badLength } = this.#reader;
    if (badLength !== null && this.#stream !== null) this.#violation(this.#stream, badLength);
    if (this.#leaving) this.#left();
    return false;
  }

  #violation(stream: FrameStream, length: number): void {
    this.violations++;
    this.#stream = null;
    this.#leaving = true;
    this.#filled = 0;
    this.#flush.cancel();
    stream.close();
    const message = `the peer announced a frame of ${length} bytes, and ${LONGEST_PACKET_BYTES} is the most: it was disconnected (does it speak the framing of QEMU's -netdev stream?)`;
    this.events.emit("violation", { message });
  }

  #left(): void {
    if (this.#reader.partial) this.brokenOff++;
    this.#tooShort += this.#reader.tooShort;
    this.#tooLong += this.#reader.tooLong;
    this.#reader = new FrameReader();
    this.#held = false;
    this.#leaving = false;
    this.setCarrier(false);
    this.events.emit("detached", { frames: this.received.frames - this.#framesBefore });
  }
}
