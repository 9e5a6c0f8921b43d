import { expect, test } from "vitest";
import { deviceFor } from "./trial-device.js";

test("the first device of a module's table, which stands last", () => {
  const aliases = ["pci:v00008086d00002E6Esv*sd*bc*sc*i*", "pci:v00008086d00001000sv*sd*bc*sc*i*"];
  expect(deviceFor(aliases, "drivers/net/ethernet/x.ko")).toEqual({
    vendorId: 0x8086,
    deviceId: 0x1000,
    subsystemVendorId: 0x8086,
    subsystemId: 0x1000,
    classCode: 0x020000,
  });
});

test("a device of its own is better than any of a class", () => {
  const aliases = [
    "pci:v*d*sv*sd*bc01sc06i01*",
    "pci:v0000197Bd00002362sv0000197Bsd00000001bc01sc06i01",
    "pci:v*d*sv*sd*bc01sc06i01",
  ];
  expect(deviceFor(aliases, "drivers/ata/ahci.ko")).toEqual({
    vendorId: 0x197b,
    deviceId: 0x2362,
    subsystemVendorId: 0x197b,
    subsystemId: 1,
    classCode: 0x010601,
  });
});

test("any vendor's, if only the class matters", () => {
  expect(deviceFor(["pci:v*d*sv*sd*bc0Csc03i30"], "drivers/usb/host/xhci-pci.ko")?.classCode).toBe(0x0c0330);
});

test("none for modules that are for something else", () => {
  expect(
    deviceFor(["usb:v0BDAp8150d*dc*dsc*dp*ic*isc*ip*in*", "virtio:d00000001v*"], "drivers/net/usb/x.ko"),
  ).toBeNull();
});
