import { describe, expect, test } from "vitest";
import { Rig } from "../../test/support/rig.js";
import { findCapability } from "../bus/pci-capabilities.js";
import { PciCapability, PciRegister } from "../bus/pci-config.js";
import { type BlankFill, BlankFunction, type BlankLayout } from "./blank-function.js";

const identity = { vendorId: 0x8086, deviceId: 0x100e, classCode: 0x020000, subsystemVendorId: 0x1af4, subsystemId: 1 };

function plugged(fill: BlankFill, layout?: BlankLayout) {
  const rig = new Rig();
  const options = layout === undefined ? { identity, fill } : { identity, fill, layout };
  const slot = rig.pci.plug("blank", (host) => new BlankFunction(host, options));
  rig.enable(slot);
  return { rig, slot };
}

test("it says that it is what it was told to be", () => {
  const { slot } = plugged("ones");
  expect(slot.configRead(PciRegister.vendorId, 4)).toBe(0x100e8086);
  expect(slot.configRead(PciRegister.classCode + 1, 2)).toBe(0x0200);
  expect(slot.configRead(PciRegister.subsystemVendorId, 4)).toBe(0x0001_1af4);
  for (const id of Object.values(PciCapability)) expect(findCapability(slot, id)).toBeGreaterThan(0);
});

describe.each([
  ["zeroes", 0, 0, 0],
  ["ones", 0xff, 0xffff, 0xffff_ffff],
] as const)("%s", (fill, byte, half, word) => {
  test("whatever is written, registers read the same", () => {
    const { slot } = plugged(fill);
    for (const bar of [0, 1, 2, 4, 5]) {
      slot.write(bar, 0x10, 4, 0x1234_5678);
      expect([slot.read(bar, 0x10, 1), slot.read(bar, 0x10, 2), slot.read(bar, 0x10, 4)]).toEqual([byte, half, word]);
    }
  });
});

test.each([
  ["memory", ["memory32", "io", "memory64", undefined, "io", "memory32"]],
  ["ports", ["io", "memory32", "memory64", undefined, "io", "memory32"]],
  ["memory64", ["memory64", undefined, "memory64", undefined, "memory64"]],
] as const)("the layout %s", (layout, kinds) => {
  const { bars } = plugged("zeroes", layout).slot.device.config;
  expect(Array.from(bars, (bar) => bar?.kind)).toEqual(kinds);
});

test("its vectors can be programmed, and go into a snapshot", () => {
  const { slot } = plugged("ones");
  const table = slot.configRead(findCapability(slot, PciCapability.msix) + 4, 4);
  const [bar, at] = [table & 7, table & ~7];
  slot.write(bar, at, 4, 0xfee0_0000);
  expect(slot.read(bar, at, 4)).toBe(0xfee0_0000);
  const kept = slot.device.snapshot();
  slot.device.reset();
  expect(slot.device.read(bar, at, 4)).toBe(0);
  slot.device.restore(structuredClone(kept));
  expect(slot.device.read(bar, at, 4)).toBe(0xfee0_0000);
});
