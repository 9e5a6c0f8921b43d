import type { PciSlot } from "../bus/pci-bus.js";
import { PciRegister } from "../bus/pci-config.js";
import { pciAlias } from "./kernel-package-alias.js";

/** What the device in a slot asks for drivers with. */
export function aliasOf(slot: PciSlot): string {
  const read = (offset: number): number => slot.configRead(offset, 2);
  return pciAlias({
    vendor: read(PciRegister.vendorId),
    device: read(PciRegister.deviceId),
    subsystemVendor: read(PciRegister.subsystemVendorId),
    subsystemDevice: read(PciRegister.subsystemId),
    class: slot.configRead(PciRegister.revisionId, 4) >>> 8,
  });
}
