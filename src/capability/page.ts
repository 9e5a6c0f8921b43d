import type { Bank } from "../memory/physical-memory.js";
import { FrameState, frameOffset, type PhysicalMemory } from "../memory/physical-memory.js";
import type { PinBudget } from "../memory/pin-budget.js";
import { type FrameNumber, PAGE_SIZE } from "../util/brand.js";
import { copyBytes } from "../util/bytes.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import { Capability, KernelObject, openCapability, Restriction, type Restrictions, restricted } from "./capability.js";
import { LengthError, ObjectIoError, RightsError, VoidError } from "./errors.js";

/** What pages need of the kernel. */
export interface PageKernel {
  readonly memory: PhysicalMemory;
  readonly budget: PinBudget;
  /** Calls back, once, in the very step of the last unpin of a dying frame. */
  whenUnpinned(frame: FrameNumber, callback: () => void): void;
}

/** Where the content of a store page comes from: the disk special case. */
export interface PageSource {
  /** Starts bringing the page in; it ends with {@link Page.arrived} or {@link Page.failed}. */
  fetch(page: Page): void;
  /** The page is destroyed: its disk block is of no interest any more. */
  forget(page: Page): void;
}

/** No frame: the page is absent. */
const NO_FRAME = -1 as FrameNumber;

/**
 * A page: 4 KiB. An ordinary page has its frame from birth to destruction; a page of the store is *absent* until it is
 * loaded, and while it is *fetching* its frame belongs to the kernel and the disk only.
 */
export class Page extends KernelObject {
  frame: FrameNumber = NO_FRAME;
  fetching = false;
  /** Used since the replacement policy last looked. */
  referenced = false;
  /** Invocations that need the page to stay where it is until they are admitted. */
  interest = 0;

  constructor(
    readonly kernel: PageKernel,
    readonly source: PageSource | null,
  ) {
    super();
  }

  get resident(): boolean {
    return this.frame !== NO_FRAME && !this.fetching;
  }

  get memoryBank(): Bank {
    return this.kernel.memory.bankOf(this.frame);
  }

  /**
   * Waits until the page is there; invokers of an absent page queue on it.
   * @returns nothing at once if it is resident
   */
  demand(operation: string): MaybePromise<void> {
    this.referenced = true;
    if (this.resident) return;
    return this.#stall(operation);
  }

  /** @internal The fetch has ended well. */
  arrived(): void {
    // Destroyed on the way in: its frame is free already, or will be with the last unpin.
    if (this.destroyed) return;
    this.fetching = false;
    this.memoryBank.setState(this.frame, FrameState.resident);
    // What the device has written is what the disk holds.
    this.memoryBank.setDirty(this.frame, false);
    this.stalled.wake();
  }

  /** @internal The fetch has failed: the page is absent again, whoever waited gets the error. */
  failed(error: Error): void {
    if (this.destroyed) return;
    this.fetching = false;
    this.#dropFrame();
    this.stalled.fail(error);
  }

  /** @internal The store takes a clean page's frame back. */
  evict(): void {
    this.#dropFrame();
  }

  release(): MaybePromise<void> {
    this.source?.forget(this);
    this.stalled.fail(new VoidError("wait"));
    if (this.frame === NO_FRAME) return;
    const { frame } = this;
    const bank = this.memoryBank;
    if (bank.pinCount(frame) === 0) {
      this.#dropFrame();
      return;
    }
    bank.setState(frame, FrameState.dying);
    const unpinned = new Promise<void>((resolve) => {
      this.kernel.whenUnpinned(frame, () => {
        this.#dropFrame();
        resolve();
      });
    });
    this.kernel.budget.withdraw(frame);
    return unpinned;
  }

  async #stall(operation: string): Promise<void> {
    while (!this.resident) {
      if (this.destroyed) throw new VoidError(operation);
      const turn = this.stalled.wait();
      try {
        if (!this.fetching) this.source?.fetch(this);
      } catch (error) {
        this.failed(error instanceof Error ? error : new ObjectIoError(operation, String(error)));
      }
      await turn;
    }
  }

  #dropFrame(): void {
    if (this.frame === NO_FRAME) return;
    this.memoryBank.release(this.frame);
    this.frame = NO_FRAME;
    this.fetching = false;
  }
}

/** A capability to one page. */
export class PageCapability extends Capability<Page> {
  restrict(restrictions: Restrictions): PageCapability {
    return restricted(this, (all) => new PageCapability(openCapability(this, "restrict"), all), restrictions);
  }

  /** Copies bytes out of the page. @throws VoidError, ArgumentError, ObjectIoError */
  read(offset: number, into: Uint8Array): MaybePromise<void> {
    const page = openCapability(this, "page read");
    checkRange("page read", offset, into.length);
    const turn = page.demand("page read");
    if (turn !== undefined) return turn.then(() => this.read(offset, into));
    copyBytes(into, 0, page.memoryBank.bytes, frameOffset(page.frame) + offset, into.length);
  }

  /** Copies bytes into the page. @throws VoidError, RightsError, ArgumentError, ObjectIoError */
  write(offset: number, from: Uint8Array): MaybePromise<void> {
    const page = openCapability(this, "page write");
    checkRange("page write", offset, from.length);
    if ((this.restrictions & (Restriction.readOnly | Restriction.weak)) !== 0) {
      throw new RightsError("page write", "the capability is read-only");
    }
    const turn = page.demand("page write");
    if (turn !== undefined) return turn.then(() => this.write(offset, from));
    page.memoryBank.setDirty(page.frame, true);
    copyBytes(page.memoryBank.bytes, frameOffset(page.frame) + offset, from, 0, from.length);
  }
}

function checkRange(operation: string, offset: number, length: number): void {
  if (!Number.isInteger(offset) || offset < 0 || offset + length > PAGE_SIZE) {
    throw new LengthError(operation, `bytes ${offset}…${offset + length} do not lie in a page of ${PAGE_SIZE}`);
  }
}
