import { describe, expect, test, vi } from "vitest";
import { PciCommand, PciConfigSpace, PciRegister, PciStatus } from "./pci-config.js";

const IDENTITY = {
  vendorId: 0x8086,
  deviceId: 0x100e,
  classCode: 0x02_00_01,
  revision: 2,
  subsystemVendorId: 0x1af4,
  subsystemId: 0x1100,
  interruptPin: 1,
  minGnt: 0xff,
  maxLat: 7,
} as const;

function space(): PciConfigSpace {
  return new PciConfigSpace(IDENTITY);
}

describe("header", () => {
  test("shows the identity, at any width", () => {
    const config = space();
    expect(config.read(0, 4)).toBe(0x100e_8086);
    expect(config.read(PciRegister.deviceId, 2)).toBe(0x100e);
    expect(config.read(PciRegister.deviceId, 1)).toBe(0x0e);
    expect(config.read(PciRegister.revisionId, 4)).toBe(0x0200_0102);
    expect(config.read(PciRegister.subsystemVendorId, 4)).toBe(0x1100_1af4);
    expect(config.read(PciRegister.interruptLine, 4)).toBe(0x07ff_0100);
  });

  test("is read-only where the standard says so", () => {
    const config = space();
    const writable = new Map<number, number>([
      [0x04, 0x47],
      [0x05, 0x05],
      [0x0c, 0xff],
      [0x0d, 0xff],
      [0x3c, 0xff],
    ]);
    for (let offset = 0; offset < 0x40; offset++) {
      const before = config.read(offset, 1);
      config.write(offset, 1, 0xff);
      const mask = writable.get(offset) ?? 0;
      expect([offset, config.read(offset, 1)]).toEqual([offset, (before & ~mask) | mask]);
      config.write(offset, 1, 0);
      expect([offset, config.read(offset, 1)]).toEqual([offset, before & ~mask]);
    }
  });

  test("a function without INTx has no interrupt disable bit", () => {
    const config = new PciConfigSpace({ ...IDENTITY, interruptPin: 0 });
    config.write(PciRegister.command, 2, 0xffff);
    expect(config.command & PciCommand.interruptDisable).toBe(0);
    expect(config.command & PciCommand.busMaster).not.toBe(0);
  });

  test("a write of four bytes is four writes of one", () => {
    const config = space();
    config.write(PciRegister.cacheLineSize, 4, 0xffff_4010);
    expect(config.read(PciRegister.cacheLineSize, 4)).toBe(0x4010);
  });

  test("what lies outside reads as ones and takes no write", () => {
    const config = space();
    expect(config.read(254, 4)).toBe(0xffff_0000);
    config.write(255, 4, 0xffff_ffff);
    config.write(0x1000, 4, 0);
    expect(config.read(0x1000, 4)).toBe(0xffff_ffff);
    expect(config.read(255, 1)).toBe(0);
  });
});

describe("status", () => {
  test("error bits are cleared by writing ones to them, and by nothing else", () => {
    const config = space();
    config.setStatus(PciStatus.receivedMasterAbort, true);
    config.setStatus(0x8000, true);
    config.setStatus(PciStatus.interrupt, true);
    config.write(PciRegister.status, 2, 0);
    expect(config.read(PciRegister.status, 2)).toBe(0xa008);
    config.write(PciRegister.status, 2, 0x2008);
    expect(config.read(PciRegister.status, 2)).toBe(0x8008);
    config.write(PciRegister.command, 4, 0xffff_0000);
    expect(config.read(PciRegister.status, 2)).toBe(PciStatus.interrupt);
  });

  test("writing never sets an error bit", () => {
    const config = space();
    config.write(PciRegister.status, 2, 0xffff);
    expect(config.read(PciRegister.status, 2)).toBe(0);
  });
});

describe("base address registers", () => {
  test.each([
    ["io", 64, false, 0xffff_ffc1],
    ["memory32", 0x2_0000, false, 0xfffe_0000],
    ["memory32", 16, true, 0xffff_fff8],
    ["memory64", 0x4000, true, 0xffff_c00c],
  ] as const)("%s of %d bytes: sizing by writing ones", (kind, size, prefetchable, answer) => {
    const config = space();
    config.addBar(2, kind, size, prefetchable);
    const at = PciRegister.bar0 + 8;
    const type = answer & (kind === "io" ? 3 : 15);
    expect(config.read(at, 4)).toBe(type);
    config.write(at, 4, 0xffff_ffff);
    expect(config.read(at, 4)).toBe(answer);
    config.write(at, 4, 0xfeb0_0000);
    expect(config.read(at, 4)).toBe((0xfeb0_0000 | type) >>> 0);
    expect(config.barAddress(2)).toBe(0xfeb0_0000);
  });

  test("a 64-bit one has an upper half of its own", () => {
    const config = space();
    config.addBar(0, "memory64", 0x4000);
    config.write(PciRegister.bar0 + 4, 4, 0xffff_ffff);
    expect(config.read(PciRegister.bar0 + 4, 4)).toBe(0xffff_ffff);
    config.write(PciRegister.bar0, 4, 0x8000_4000);
    config.write(PciRegister.bar0 + 4, 4, 0x12);
    expect(config.barAddress(0)).toBe(0x12_8000_4000);
  });

  test("those that are not there read as zero", () => {
    const config = space();
    config.write(PciRegister.bar0, 4, 0xffff_ffff);
    expect([config.read(PciRegister.bar0, 4), config.barAddress(0)]).toEqual([0, 0]);
  });

  test.each([
    [0, "memory32", 24],
    [0, "memory32", 8],
    [0, "io", 2],
    [0, "io", 0],
    [0, "memory64", 2 ** 33],
    [0, "memory32", Number.NaN],
  ] as const)("BAR %d as %s of %d bytes is refused", (index, kind, size) => {
    expect(() => space().addBar(index, kind, size)).toThrow(expect.objectContaining({ code: "bar-size" }));
  });

  test.each([
    [6, "memory32"],
    [-1, "io"],
    [5, "memory64"],
  ] as const)("there is no BAR %d for %s", (index, kind) => {
    expect(() => space().addBar(index, kind, 64)).toThrow(expect.objectContaining({ code: "bar-index" }));
  });
});

describe("capabilities", () => {
  test("form a chain in the order of their addition", () => {
    const config = space();
    expect(config.read(PciRegister.status, 2) & PciStatus.capabilities).toBe(0);
    const power = config.addPowerManagement(0xdc);
    const other = config.addCapability(0x09, 5);
    const last = config.addCapabilityAt(0x05, 0x50, 14);
    expect([power, other, last]).toEqual([0xdc, 0xe4, 0x50]);
    expect(config.read(PciRegister.status, 2) & PciStatus.capabilities).not.toBe(0);
    const chain: number[][] = [];
    for (let at = config.read(PciRegister.capabilitiesPointer, 1); at !== 0; at = config.read(at + 1, 1)) {
      chain.push([at, config.read(at, 1)]);
    }
    expect(chain).toEqual([
      [0xdc, 0x01],
      [0xe4, 0x09],
      [0x50, 0x05],
    ]);
    config.write(0xdc, 2, 0);
    expect(config.read(0xdc, 2)).toBe(0xe401);
    expect(config.addCapability(0x11, 12)).toBe(0xec);
    expect(() => config.addCapability(0x11, 12)).toThrow(expect.objectContaining({ code: "capability-space" }));
  });

  test("power management: the state is writable, the rest is not", () => {
    const config = space();
    expect(config.powerState).toBe(0);
    const at = config.addPowerManagement();
    config.write(at + 4, 2, 0xffff);
    expect(config.powerState).toBe(3);
    expect(config.read(at + 4, 2)).toBe(0x000b);
    config.write(at + 4, 2, 0);
    expect(config.powerState).toBe(0);
    expect(config.read(at + 2, 2)).toBe(3);
  });
});

describe("reset and snapshots", () => {
  test("a reset brings back what was preset, and only that", () => {
    const config = space();
    config.addBar(0, "memory32", 0x1000);
    const at = config.addCapability(0x05, 10);
    config.preset(at + 2, 0x80, 2);
    config.makeWritable(at + 2, 1, 2);
    const initial = config.snapshot();
    config.write(PciRegister.command, 2, 7);
    config.write(PciRegister.bar0, 4, 0xfeb0_0000);
    config.write(at + 2, 2, 1);
    config.poke(at + 4, 0x1234, 2);
    config.setStatus(PciStatus.interrupt, true);
    expect(config.snapshot()).not.toEqual(initial);
    const written = vi.fn<(offset: number, size: number) => void>();
    config.onWrite = written;
    config.reset();
    expect(config.snapshot()).toEqual(initial);
    expect(written.mock.calls).toEqual([[0, 256]]);
  });

  test("a snapshot is plain, and goes back as it was", () => {
    const config = space();
    config.write(PciRegister.command, 2, PciCommand.busMaster);
    const state = structuredClone(config.snapshot());
    const other = space();
    other.restore(state);
    expect(other.command).toBe(PciCommand.busMaster);
    expect(other.snapshot()).toEqual(state);
  });

  test.each([
    null,
    {},
    { bytes: [] },
    { bytes: new Array(257).fill(0) },
    { bytes: new Array(256).fill(256) },
    { bytes: new Array(256).fill("0") },
  ])("what does not fit is refused and changes nothing (%#)", (state) => {
    const config = space();
    const before = config.snapshot();
    expect(() => config.restore(state)).toThrow(expect.objectContaining({ code: "snapshot-misfit" }));
    expect(config.snapshot()).toEqual(before);
  });

  test("writes are told with the bytes that they cover", () => {
    const config = space();
    const written = vi.fn<(offset: number, size: number) => void>();
    config.onWrite = written;
    config.write(PciRegister.command, 2, 0);
    config.poke(0x40, 1, 1);
    expect(written.mock.calls).toEqual([[4, 2]]);
  });
});
