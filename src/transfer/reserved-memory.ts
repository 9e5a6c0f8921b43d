import type { SpaceBankCapability } from "../capability/space-bank.js";
import { type Bank, frameOffset } from "../memory/physical-memory.js";
import { DmaAccess, type Pin, type PinAccess } from "../memory/pin.js";
import { PinPool } from "../memory/pin-budget.js";
import { type IoAddress, PAGE_SIZE } from "../util/brand.js";
import type { DmaEnvironment } from "./dma-environment.js";

export interface ReservedMemoryOptions {
  /** What the device may do; default both. */
  access?: PinAccess;
}

/**
 * Driver-reserved memory: rings and buffers that a driver buys from its own bank when it starts, pinned and mapped for
 * its device for as long as it lives. Contiguous for the driver and for the device.
 */
export class ReservedMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly words: Uint32Array;
  readonly io: IoAddress;
  /** The bank of machine memory that the bytes lie in, and where. */
  readonly memoryBank: Bank;
  readonly offset: number;
  readonly #environment: DmaEnvironment;
  readonly #bank: SpaceBankCapability;
  readonly #pin: Pin;

  constructor(environment: DmaEnvironment, length: number, site: string, options: ReservedMemoryOptions = {}) {
    const access = options.access ?? DmaAccess.both;
    const pages = Math.ceil(length / PAGE_SIZE);
    this.#environment = environment;
    this.#bank = environment.bank.bank();
    this.#pin = environment.pins.tryPin({
      space: this.#bank.region({ pages, contiguous: true }),
      offset: 0,
      length: pages * PAGE_SIZE,
      access,
      pool: PinPool.reserved,
    });
    this.io = environment.dma.map(this.#pin, 0, length, access, `${environment.driver} ${site}`, 64, true);
    const bank = this.#pin.authority.budget.memory.bankOf(this.#pin.frames[0]);
    this.memoryBank = bank;
    this.offset = frameOffset(this.#pin.frames[0]);
    this.bytes = bank.bytes.subarray(this.offset, this.offset + length);
    this.view = new DataView(bank.bytes.buffer, this.offset, length);
    this.words = new Uint32Array(bank.bytes.buffer, this.offset, length >>> 2);
  }

  /** Gives the memory back; the device must be done with it. */
  release(): void {
    this.#environment.dma.unmap(this.io, `${this.#environment.driver} release`);
    this.#environment.pins.unpin(this.#pin);
    void this.#environment.bank.destroy(this.#bank);
  }
}
