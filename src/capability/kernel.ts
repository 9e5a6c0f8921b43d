import { type Bank, FrameState, OutOfMemoryError, type PhysicalMemory } from "../memory/physical-memory.js";
import type { PinBudget } from "../memory/pin-budget.js";
import type { FrameNumber } from "../util/brand.js";
import type { PageKernel } from "./page.js";
import { SpaceBank, SpaceBankCapability } from "./space-bank.js";

/** Frames that only fetching may take, so that paging in can always make room for itself. */
const DEFAULT_FRAME_RESERVE = 16;

/** What all kernel objects of a machine share: its memory, its pin budget, and the prime space bank. */
export class Kernel implements PageKernel {
  readonly primeBank: SpaceBankCapability;
  /** Asked for clean frames when memory runs out. @returns whether it freed one */
  reclaim: () => boolean = () => false;
  readonly #dying = new Map<FrameNumber, () => void>();

  constructor(
    readonly memory: PhysicalMemory,
    readonly budget: PinBudget,
    /** The bank of machine memory that pages come from. */
    readonly ram: Bank,
    readonly frameReserve = DEFAULT_FRAME_RESERVE,
  ) {
    this.primeBank = new SpaceBankCapability(new SpaceBank(this, null, Number.MAX_SAFE_INTEGER));
    budget.onLastUnpin = (frame) => {
      const callback = this.#dying.get(frame);
      this.#dying.delete(frame);
      callback?.();
    };
  }

  /** Frames that can be sold now. */
  get freeFrames(): number {
    return Math.max(0, this.ram.freeFrames - this.frameReserve);
  }

  /** Sees to it that so many frames can be sold. @throws OutOfMemoryError */
  makeRoom(frames: number): void {
    while (this.freeFrames < frames) if (!this.reclaim()) throw new OutOfMemoryError(frames, this.freeFrames);
  }

  /** @throws OutOfMemoryError */
  allocateFrame(): FrameNumber {
    this.makeRoom(1);
    return this.ram.allocate(FrameState.resident);
  }

  /** For an object on its way in: may use the reserve. @throws OutOfMemoryError */
  allocateFetchFrame(): FrameNumber {
    if (this.freeFrames === 0) this.reclaim();
    return this.ram.allocate(FrameState.fetching);
  }

  whenUnpinned(frame: FrameNumber, callback: () => void): void {
    this.#dying.set(frame, callback);
  }
}
