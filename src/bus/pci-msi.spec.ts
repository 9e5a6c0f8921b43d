import { describe, expect, test } from "vitest";
import { Rig } from "../../test/support/rig.js";
import type { DeviceHost, PciDevice } from "./device.js";
import { MESSAGE_WINDOW } from "./interrupts.js";
import { findCapability } from "./pci-capabilities.js";
import { PciCapability, PciConfigSpace } from "./pci-config.js";
import { Msi } from "./pci-msi.js";

const AT = 0xf0;

/** A device that can do nothing but signal. */
class Signaller implements PciDevice {
  readonly model = "signaller";
  readonly config = new PciConfigSpace({ vendorId: 1, deviceId: 2, classCode: 0xff0000 });
  readonly msi: Msi;

  constructor(host: DeviceHost) {
    this.msi = new Msi(host, this.config, AT);
  }

  read(): number {
    return 0;
  }
  write(): void {}
  reset(): void {}
  snapshot(): object {
    return {};
  }
  restore(): void {}
}

function plugged() {
  const rig = new Rig();
  const slot = rig.pci.plug("signaller", (host) => new Signaller(host));
  rig.enable(slot);
  return { rig, slot, msi: slot.device.msi };
}

describe("MSI (PCI 3.0, §6.8.1)", () => {
  test("is found in the list, with a 64-bit address and one message", () => {
    const { slot } = plugged();
    expect(findCapability(slot, PciCapability.msi)).toBe(AT);
    expect(slot.configRead(AT + 2, 2)).toBe(0x0080);
  });

  test("sends its message only while enabled", () => {
    const { rig, slot, msi } = plugged();
    const line = rig.interrupts.message("test");
    let delivered = 0;
    line.attach(() => {
      delivered++;
      return true;
    });
    slot.configWrite(AT + 4, 4, MESSAGE_WINDOW);
    slot.configWrite(AT + 12, 2, line.vector);
    msi.notify();
    rig.settle();
    expect([msi.enabled, delivered]).toEqual([false, 0]);
    slot.configWrite(AT + 2, 2, 0x0001);
    msi.notify();
    rig.settle();
    expect([msi.enabled, delivered]).toEqual([true, 1]);
  });

  test("address and data hold what software writes, but for the two low bits", () => {
    const { slot } = plugged();
    slot.configWrite(AT + 4, 4, 0xffff_ffff);
    slot.configWrite(AT + 8, 4, 0x1234_5678);
    slot.configWrite(AT + 12, 2, 0xabcd);
    expect([AT + 4, AT + 8].map((at) => slot.configRead(at, 4))).toEqual([0xffff_fffc, 0x1234_5678]);
    expect(slot.configRead(AT + 12, 2)).toBe(0xabcd);
  });

  test("a message to memory goes through the I/O MMU", () => {
    const { rig, slot, msi } = plugged();
    slot.configWrite(AT + 4, 4, 0x1000_0000);
    slot.configWrite(AT + 12, 2, 7);
    slot.configWrite(AT + 2, 2, 1);
    msi.notify();
    expect(rig.faults.map(({ reason, address }) => [reason, address])).toEqual([["unmapped", 0x1000_0000]]);
  });
});
