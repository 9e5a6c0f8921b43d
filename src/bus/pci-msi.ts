import type { DeviceHost } from "./device.js";
import { PciCapability, type PciConfigSpace } from "./pci-config.js";

const CONTROL_ENABLE = 1 << 0;
const CONTROL_64_BIT = 1 << 7;
const CAPABILITY_BYTES = 14;

/**
 * Message-signalled interrupts (PCI 3.0, §6.8.1): one message, 64-bit address, no masking. All of its state lies in
 * configuration space, so the snapshot of that is also this one's.
 */
export class Msi {
  readonly #capability: number;

  /** @param offset where the data sheet puts the capability */
  constructor(
    readonly host: DeviceHost,
    readonly config: PciConfigSpace,
    offset: number,
  ) {
    this.#capability = config.addCapabilityAt(PciCapability.msi, offset, CAPABILITY_BYTES);
    config.preset(this.#capability + 2, CONTROL_64_BIT, 2);
    config.makeWritable(this.#capability + 2, CONTROL_ENABLE, 2);
    config.makeWritable(this.#capability + 4, 0xffff_fffc, 4);
    config.makeWritable(this.#capability + 8, 0xffff_ffff, 4);
    config.makeWritable(this.#capability + 12, 0xffff, 2);
  }

  /** While enabled a device must not use its INTx wire. */
  get enabled(): boolean {
    return (this.config.read(this.#capability + 2, 2) & CONTROL_ENABLE) !== 0;
  }

  /** Sends the message, if enabled. */
  notify(): void {
    if (!this.enabled) return;
    const low = this.config.read(this.#capability + 4, 4);
    const high = this.config.read(this.#capability + 8, 4);
    this.host.message(high * 2 ** 32 + low, this.config.read(this.#capability + 12, 2));
  }
}
