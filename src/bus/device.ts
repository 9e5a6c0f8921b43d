import type { Clock } from "./clock.js";
import type { InterruptPin } from "./interrupts.js";
import type { DmaPort } from "./io-mmu.js";
import type { PciConfigSpace } from "./pci-config.js";

export type AccessSize = 1 | 2 | 4;

/** What is read where no device answers. */
export function ones(size: AccessSize): number {
  return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
}

/** What a device model is given: its side of the bus. It knows neither its address nor its slot. */
export interface DeviceHost {
  readonly clock: Clock;
  /** Machine memory, through this device's I/O MMU context. */
  readonly dma: DmaPort;
  /** INTx (or the one wire of a device that is not on PCI). */
  readonly interrupt: InterruptPin;
  /** A message-signalled interrupt: a 4-byte memory write by the device. */
  message(address: number, data: number): void;
  /** Something the driver did that the data sheet forbids; the model goes on as the part would. */
  violation(rule: string, message: string): void;
}

/**
 * A device model with registers. Accesses of 1, 2 or 4 bytes, values unsigned; wider ones are split by the bus, low half
 * first. A model never throws for what a driver does.
 */
export interface RegisterDevice {
  /** Name of the model, as users type it. */
  readonly model: string;
  read(bar: number, offset: number, size: AccessSize): number;
  write(bar: number, offset: number, size: AccessSize, value: number): void;
  /** Back to power-on state; stops all activity at once. */
  reset(): void;
  /** The whole state as plain data (structured-cloneable). */
  snapshot(): object;
  /** Takes a snapshot of the same model; an InputError names what does not fit. */
  restore(state: object): void;
}

/** A device model on the PCI bus. */
export interface PciDevice extends RegisterDevice {
  readonly config: PciConfigSpace;
}

/** Makes a device on its host; how models are plugged. */
export type DeviceFactory<Device extends RegisterDevice> = (host: DeviceHost) => Device;
