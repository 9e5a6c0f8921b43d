import type { AddressSpaceCapability } from "../capability/address-space.js";
import type { Pin, PinAccess } from "../memory/pin.js";
import type { IoAddress } from "../util/brand.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import type { DmaEnvironment } from "./dma-environment.js";
import type { WatchdogToken } from "./watchdog.js";

export interface PinnedRequest {
  readonly space: AddressSpaceCapability;
  readonly offset: number;
  readonly length: number;
  /** As the device sees it: `write` puts data into the requester's memory. */
  readonly access: PinAccess;
  /** What the transfer is for, in messages. */
  readonly site: string;
}

/**
 * Case 2: solicited I/O without a copy. The requester's region and the driver's pin authority together yield pinned
 * frames, mapped for the device at contiguous I/O addresses; the driver ends the transfer when the device is done.
 */
export class PinnedTransfer {
  readonly #environment: DmaEnvironment;
  #watch: WatchdogToken | null = null;
  #done = false;

  /** @internal */
  constructor(
    environment: DmaEnvironment,
    readonly pin: Pin,
    readonly io: IoAddress,
    readonly length: number,
    readonly site: string,
  ) {
    this.#environment = environment;
  }

  /** The device has it from now on, and must be done in time; a second call does nothing. */
  start(): void {
    this.#watch ??= this.#environment.watchdog.begin();
  }

  /**
   * Takes the device's access away and releases the pins; a second call does nothing.
   * @param moved whether the data was transferred (for the statistics)
   */
  end(moved: boolean): void {
    if (this.#done) return;
    this.#done = true;
    const { dma, pins, watchdog, statistics } = this.#environment;
    if (this.#watch !== null) watchdog.end(this.#watch);
    dma.unmap(this.io, this.site);
    pins.unpin(this.pin);
    if (moved) statistics.countZeroCopy(this.length);
  }
}

/**
 * Brings in, checks and pins everything before the device learns anything; waits for the bound if need be.
 * @throws whatever `PinControlCapability.pin` and `IoMmuContext.map` throw; nothing is held then
 */
export function beginPinned(environment: DmaEnvironment, request: PinnedRequest): MaybePromise<PinnedTransfer> {
  const pin = environment.pins.pin(request);
  if (pin instanceof Promise) return pin.then((granted) => mapped(environment, request, granted));
  return mapped(environment, request, pin);
}

function mapped(environment: DmaEnvironment, request: PinnedRequest, pin: Pin): PinnedTransfer {
  const { length, access, site } = request;
  try {
    const io = environment.dma.map(pin, 0, length, access, site);
    return new PinnedTransfer(environment, pin, io, length, site);
  } catch (error) {
    environment.pins.unpin(pin);
    throw error;
  }
}
