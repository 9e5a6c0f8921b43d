import type { DeviceHost } from "../../bus/device.js";
import { type PciConfigSpace, PciStatus } from "../../bus/pci-config.js";
import type { MsiX } from "../../bus/pci-msix.js";
import type { StateReader } from "../../util/state-reader.js";

/** Stands for no vector: such events are not signalled (§4.1.5.1.2). */
export const NO_VECTOR = 0xffff;

/** ISR status (§4.1.4.5). */
const Isr = { QUEUE: 1, CONFIGURATION: 2 } as const;

export interface VirtioInterruptState {
  isr: number;
  configurationVector: number;
}

/** How the device notifies the driver (§4.1.5.3, §4.1.5.4): messages, or the pin and ISR status while MSI-X is off. */
export class VirtioInterrupts {
  /** config_msix_vector. */
  configurationVector: number = NO_VECTOR;
  #isr = 0;

  constructor(
    readonly host: DeviceHost,
    readonly config: PciConfigSpace,
    readonly msix: MsiX,
  ) {}

  /** Buffers of a queue have been used. */
  queueUsed(vector: number): void {
    if (this.msix.enabled) {
      if (vector !== NO_VECTOR) this.msix.notify(vector);
      return;
    }
    this.#isr |= Isr.QUEUE;
    this.updatePin();
  }

  configurationChanged(): void {
    this.#isr |= Isr.CONFIGURATION;
    if (!this.msix.enabled) this.updatePin();
    else if (this.configurationVector !== NO_VECTOR) this.msix.notify(this.configurationVector);
  }

  /** Reading the ISR status clears it and deasserts the pin. */
  readIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.updatePin();
    return isr;
  }

  /** @returns what the vector field will show: NO_VECTOR if there is no such entry */
  accepted(vector: number): number {
    if (vector === NO_VECTOR || vector < this.msix.vectors) return vector;
    this.host.violation(
      "virtio-vector",
      `vector ${vector} was set, but the MSI-X table has ${this.msix.vectors} entries`,
    );
    return NO_VECTOR;
  }

  /** Follows ISR status and MSI-X enable. */
  updatePin(): void {
    const asserted = this.#isr !== 0 && !this.msix.enabled;
    this.config.setStatus(PciStatus.interrupt, asserted);
    this.host.interrupt.set(asserted);
  }

  reset(): void {
    this.configurationVector = NO_VECTOR;
    this.#isr = 0;
    this.updatePin();
  }

  snapshot(): VirtioInterruptState {
    return { isr: this.#isr, configurationVector: this.configurationVector };
  }

  restore(state: StateReader): void {
    const isr = state.integer("isr", 0, Isr.QUEUE | Isr.CONFIGURATION);
    this.configurationVector = readVector(state, "configurationVector", this.msix.vectors);
    this.#isr = isr;
  }
}

/** A vector of a snapshot: one of the table, or NO_VECTOR. */
export function readVector(state: StateReader, name: string, vectors: number): number {
  const vector = state.integer(name, 0, NO_VECTOR);
  if (vector >= vectors && vector !== NO_VECTOR) throw state.misfit(name, `a vector below ${vectors}, or ${NO_VECTOR}`);
  return vector;
}
