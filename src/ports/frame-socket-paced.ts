import type { Clock, Timer } from "../bus/clock.js";
import { WireEnd } from "./wire-end.js";

export interface PacedWireOptions {
  /** The machine's: what arrives is handed to the adapter by a timer of it, as if it came over a wire. */
  clock: Clock;
  /** Ends the machine's sleep: something has arrived from outside. */
  wake: () => void;
  /** Frames that arrive back to back at the most; adapters have a buffer for as many. Default 16. */
  burst?: number;
  /** What arrives waits for {@link PacedWire.start}: an adapter without a driver would drop it. Default: it does not. */
  waits?: boolean;
}

const BURST = 16;
/** At 1 Gbit/s, and what surrounds a frame on the wire: preamble, frame check sequence, gap. */
const NANOSECONDS_A_BYTE = 8;
const WIRE_OVERHEAD_BYTES = 24;
/** Small frames come at half a million a second: an adapter's ring outlasts its interrupt throttling at that rate. */
const LEAST_NANOSECONDS = 2000;

/**
 * The near end of a socket. A socket's bytes come in lumps of hundreds of frames, which no adapter has buffers for: they
 * are let through at the pace of a gigabit wire.
 */
export abstract class PacedWire extends WireEnd {
  /** Frames handed to the adapter. */
  readonly received = { frames: 0, bytes: 0 };
  /** Frames on their way to the peer. */
  readonly sent = { frames: 0, bytes: 0 };
  /** Sent while nobody was at the other end. */
  unplugged = 0;
  /** Sent, but dropped since the peer does not read fast enough. */
  congested = 0;
  protected readonly wake: () => void;
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #timer: Timer;
  #freeAt = 0;
  #closed = false;
  #waits: boolean;

  protected constructor(options: PacedWireOptions) {
    super();
    this.#clock = options.clock;
    this.#burst = options.burst ?? BURST;
    this.#timer = options.clock.timer(() => this.#pump());
    this.wake = options.wake;
    this.#waits = options.waits === true;
  }

  /** Lets through what has come and what will come. */
  start(): void {
    this.#waits = false;
    this.arrived();
  }

  /** Nothing arrives for so many nanoseconds. */
  protected rest(nanoseconds: number): void {
    this.#freeAt = Math.max(this.#freeAt, this.#clock.now() + nanoseconds);
  }

  /** Hands the next frame that waits to {@link pass}. @returns false if none waits */
  protected abstract next(): boolean;

  /** Something may wait for the adapter. */
  protected arrived(): void {
    if (!this.#timer.armed && !this.#closed && !this.#waits) this.#timer.arm(this.#freeAt - this.#clock.now());
    this.wake();
  }

  /** Puts a frame that came from the socket on the wire. */
  protected pass(bytes: Uint8Array, offset: number, length: number): void {
    this.received.frames++;
    this.received.bytes += length;
    this.#freeAt += Math.max(LEAST_NANOSECONDS, (length + WIRE_OVERHEAD_BYTES) * NANOSECONDS_A_BYTE);
    this.deliver(bytes, offset, length);
  }

  /** Nothing arrives any more. */
  protected stop(): void {
    this.#closed = true;
    this.#timer.cancel();
  }

  #pump(): void {
    this.#freeAt = Math.max(this.#freeAt, this.#clock.now());
    for (let i = 0; i < this.#burst; i++) {
      if (!this.next()) return;
    }
    if (!this.#closed) this.#timer.arm(this.#freeAt - this.#clock.now());
  }
}
