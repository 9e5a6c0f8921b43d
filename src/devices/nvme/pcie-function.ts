import type { PciConfigSpace } from "../../bus/pci-config.js";
import { PciCapability } from "../../bus/pci-config.js";

const CAPABILITY_BYTES = 0x3c;
/** Capability version 2, root complex integrated endpoint: on the root bus, without a link (PCI Express 3.0, §7.8.2). */
const CAPABILITIES = (9 << 4) | 2;
/** Device capabilities (§7.8.3): payloads of 128 bytes, role-based error reporting, function level reset. */
const DEVICE_CAPABILITIES = (1 << 15) | (1 << 28);
/** Device control (§7.8.4): relaxed ordering and no snoop enabled, read requests of 512 bytes. */
const DEVICE_CONTROL = (1 << 4) | (1 << 11) | (2 << 12);
const INITIATE_FUNCTION_LEVEL_RESET = 1 << 15;

/** The PCI Express capability of the controller. */
export class PcieFunction {
  readonly #control: number;

  constructor(readonly config: PciConfigSpace) {
    const at = config.addCapability(PciCapability.pciExpress, CAPABILITY_BYTES);
    this.#control = at + 8;
    config.preset(at + 2, CAPABILITIES, 2);
    config.preset(at + 4, DEVICE_CAPABILITIES, 4);
    config.preset(this.#control, DEVICE_CONTROL, 2);
    config.makeWritable(this.#control, 0xffff, 2);
  }

  /** Whether software has just asked for a function level reset; the answer is given once. */
  takeResetRequest(): boolean {
    const control = this.config.read(this.#control, 2);
    if ((control & INITIATE_FUNCTION_LEVEL_RESET) === 0) return false;
    this.config.poke(this.#control, control & ~INITIATE_FUNCTION_LEVEL_RESET, 2);
    return true;
  }
}
