import { findCapability } from "../bus/pci-capabilities.js";
import { PciCapability } from "../bus/pci-config.js";
import { KorralError } from "../util/errors.js";
import type { DriverDomain } from "./driver-domain.js";

const ENTRY_BYTES = 16;
const ENABLE = 0x8000;

/**
 * Has an MSI-X vector of the domain's device run a handler: message allocated, table entry written and unmasked, MSI-X
 * enabled (PCI 3.0, §6.8.2). Routing a vector again replaces the message.
 */
export function routeMsiX(domain: DriverDomain, vector: number, handler: () => void): void {
  const { device } = domain;
  const capability = findCapability(device, PciCapability.msix);
  if (capability === 0) throw new KorralError("no-msix", `the device of ${domain.driver} has no MSI-X capability`, 1);
  const { irq, address, data } = domain.message(`vector ${vector}`);
  domain.attach(irq, () => {
    handler();
    return true;
  });
  const table = device.configRead(capability + 4, 4);
  const bar = table & 7;
  const entry = (table & ~7) + ENTRY_BYTES * vector;
  device.write(bar, entry, 4, address);
  device.write(bar, entry + 4, 4, 0);
  device.write(bar, entry + 8, 4, data);
  device.write(bar, entry + 12, 4, 0);
  device.configWrite(capability + 2, 2, ENABLE);
}
