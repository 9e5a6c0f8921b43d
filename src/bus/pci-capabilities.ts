import type { AccessSize } from "./device.js";
import { PciRegister, PciStatus } from "./pci-config.js";

/** Walks a function's list of capabilities (§6.7). @returns offset of the first with this id, or 0 */
export function findCapability(device: { configRead(offset: number, size: AccessSize): number }, id: number): number {
  if ((device.configRead(PciRegister.status, 2) & PciStatus.capabilities) === 0) return 0;
  let at = device.configRead(PciRegister.capabilitiesPointer, 1) & ~3;
  // 48 capabilities fill the space: a longer list is a loop.
  for (let hops = 0; at !== 0 && hops < 48; hops++) {
    if (device.configRead(at, 1) === id) return at;
    at = device.configRead(at + 1, 1) & ~3;
  }
  return 0;
}
