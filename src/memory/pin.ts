import type { FrameNumber } from "../util/brand.js";
import type { PinAuthority, PinPool } from "./pin-budget.js";

/** What a device may do with memory, as bits. */
export const DmaAccess = { read: 1, write: 2, both: 3 } as const;
/** `read`: the device reads (memory → device); `write`: the device writes (device → memory). */
export type PinAccess = (typeof DmaAccess)[keyof typeof DmaAccess];

/** A pin is read-only to all but itself. */
type Renewable = { -readonly [K in keyof Pin]: Pin[K] };

/**
 * Frames held in place for I/O. Made and released by its {@link PinAuthority} only; a frame stays pinned while any pin
 * of it lives, and the I/O MMU maps nothing but live pins.
 */
export class Pin {
  live = true;
  /** I/O MMU entries that rest on this pin; it cannot be released while there are any. */
  mappings = 0;
  /** @internal Index in its authority's list. */
  place = 0;
  #onWithdraw: ((pin: Pin) => void) | null = null;
  #withdrawn = false;

  constructor(
    readonly authority: PinAuthority,
    readonly pool: PinPool,
    /** One a page, in order of the transfer. */
    readonly frames: readonly FrameNumber[],
    /** The same without repetitions. */
    readonly distinct: readonly FrameNumber[],
    /** Of the first byte, in the first frame. */
    readonly offset: number,
    readonly length: number,
    readonly access: PinAccess,
  ) {}

  /** @internal A released pin that nobody else knows of becomes a new one. */
  renew(
    pool: PinPool,
    frames: readonly FrameNumber[],
    distinct: readonly FrameNumber[],
    offset: number,
    length: number,
    access: PinAccess,
  ): void {
    const renewed = this as Renewable;
    renewed.live = true;
    renewed.pool = pool;
    renewed.frames = frames;
    renewed.distinct = distinct;
    renewed.offset = offset;
    renewed.length = length;
    renewed.access = access;
    this.#onWithdraw = null;
    this.#withdrawn = false;
  }

  /**
   * Set for pins of idle buffers: called, once, when a frame's object is to be destroyed (at once if it is being
   * destroyed already); leads to the unpin.
   */
  set onWithdraw(ask: ((pin: Pin) => void) | null) {
    this.#onWithdraw = ask;
    if (this.#withdrawn) this.withdraw();
  }

  /** @internal The object of one of the frames is being destroyed. */
  withdraw(): void {
    this.#withdrawn = true;
    const ask = this.#onWithdraw;
    this.#onWithdraw = null;
    if (this.live) ask?.(this);
  }
}
