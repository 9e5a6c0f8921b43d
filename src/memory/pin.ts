import type { FrameNumber } from "../util/brand.js";
import type { PinAuthority, PinPool } from "./pin-budget.js";

/** What a device may do with memory, as bits. */
export const DmaAccess = { read: 1, write: 2, both: 3 } as const;
/** `read`: the device reads (memory → device); `write`: the device writes (device → memory). */
export type PinAccess = (typeof DmaAccess)[keyof typeof DmaAccess];

/**
 * Frames held in place for I/O. Made and released by its {@link PinAuthority} only; a frame stays pinned while any pin
 * of it lives, and the I/O MMU maps nothing but live pins.
 */
export class Pin {
  live = true;
  /** I/O MMU entries that rest on this pin; it cannot be released while there are any. */
  mappings = 0;
  /** Set for pins of idle buffers: called, once, when a frame's object is to be destroyed; leads to the unpin. */
  onWithdraw: ((pin: Pin) => void) | null = null;

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
}
