import { DmaAccess, type Pin, type PinAccess } from "../memory/pin.js";
import { type PinAuthority, PinPool } from "../memory/pin-budget.js";
import { type FrameNumber, PAGE_MASK } from "../util/brand.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import { type AddressSpaceCapability, demandAll, resolveRange } from "./address-space.js";
import { Capability, KernelObject, openCapability } from "./capability.js";
import { ArgumentError, LengthError } from "./errors.js";
import type { Page } from "./page.js";

/** What is to be pinned: bytes of a space that the requester gave a capability to. */
export interface PinRequest {
  readonly space: AddressSpaceCapability;
  readonly offset: number;
  readonly length: number;
  /** `write` (device → memory) needs pages that the requester may write; `read` takes read-only ones too. */
  readonly access: PinAccess;
  /** Default: solicited. */
  readonly pool?: PinPool;
}

/** The kernel object behind a driver's pin authority. */
export class PinControl extends KernelObject {
  constructor(readonly authority: PinAuthority) {
    super();
  }

  release(): void {
    this.authority.end();
  }
}

/**
 * The driver's high privilege: together with a requester's capability to memory it turns a range of a space into frames
 * that stay where they are, and tells which. Neither of the two capabilities suffices alone.
 */
export class PinControlCapability extends Capability<PinControl> {
  /**
   * Pins all pages of a range, or none: every page is brought in, checked and pinned before this returns or resolves.
   * A request that has to wait for the bound is checked again when its turn comes.
   * @throws VoidError, RightsError, AddressFault, ArgumentError, PinBoundError, ObjectIoError, PinAuthorityEndedError
   */
  pin(request: PinRequest): MaybePromise<Pin> {
    const { authority } = openCapability(this, "pin");
    const pool = request.pool ?? PinPool.solicited;
    const pages = resolve(request);
    for (let i = 0; i < pages.length; i++) {
      if (!pages[i].resident) return demandAll(pages, "pin").then(() => this.pin(request));
    }
    const frames = framesOf(pages);
    const pin = authority.pin(frames, request.offset & PAGE_MASK, request.length, request.access, pool, () => {
      openCapability(this, "pin");
      const now = resolve(request);
      if (now.some((page, i) => page !== pages[i]))
        throw new ArgumentError("pin", "the range was changed while it waited");
    });
    return pin instanceof Promise ? this.#granted(pin, pages) : pin;
  }

  /** Pins now or not at all. @throws PinBusyError, and ArgumentError for an absent page, besides what {@link pin} throws */
  tryPin(request: PinRequest): Pin {
    const { authority } = openCapability(this, "pin");
    const pages = resolve(request);
    if (!pages.every((page) => page.resident)) throw new ArgumentError("pin", "a page of the range is not in memory");
    const frames = framesOf(pages);
    const offset = request.offset & PAGE_MASK;
    return authority.tryPin(frames, offset, request.length, request.access, request.pool ?? PinPool.solicited);
  }

  /** Releases a pin: once, by the authority that made it, after its device mappings are gone. @throws PinReleaseError */
  unpin(pin: Pin): void {
    openCapability(this, "unpin").authority.unpin(pin);
  }

  /** While a request waits for the bound its pages must not be evicted: their frames are already named. */
  async #granted(pin: Promise<Pin>, pages: readonly Page[]): Promise<Pin> {
    for (const page of pages) page.interest++;
    try {
      return await pin;
    } finally {
      for (const page of pages) page.interest--;
    }
  }
}

function framesOf(pages: readonly Page[]): FrameNumber[] {
  const frames = new Array<FrameNumber>(pages.length);
  for (let i = 0; i < pages.length; i++) frames[i] = pages[i].frame;
  return frames;
}

function resolve(request: PinRequest): Page[] {
  const { access, length, pool } = request;
  if (access !== DmaAccess.read && access !== DmaAccess.write && access !== DmaAccess.both) {
    throw new ArgumentError("pin", `${access} is not a direction`);
  }
  if (pool !== undefined && !Object.values(PinPool).includes(pool))
    throw new ArgumentError("pin", `${pool} is not a pool`);
  if (length === 0) throw new LengthError("pin", "an empty range cannot be pinned");
  return resolveRange(request.space, request.offset, length, (access & DmaAccess.write) !== 0, "pin");
}
