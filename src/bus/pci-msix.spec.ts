import { beforeEach, describe, expect, test } from "vitest";
import { PhysicalMemory } from "../memory/physical-memory.js";
import { Clock } from "./clock.js";
import type { DeviceHost } from "./device.js";
import { InterruptController } from "./interrupts.js";
import { IoMmu } from "./io-mmu.js";
import { PciConfigSpace, PciRegister } from "./pci-config.js";
import { MsiX } from "./pci-msix.js";

const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;

let config: PciConfigSpace;
let msix: MsiX;
let messages: [address: number, data: number][];
let capability: number;

function plug(vectors: number): void {
  config = new PciConfigSpace({ vendorId: 1, deviceId: 2, classCode: 0x01_08_02 });
  messages = [];
  const host: DeviceHost = {
    clock: new Clock(),
    dma: new IoMmu(new PhysicalMemory()).attach("nvme"),
    interrupt: new InterruptController().wire("INTA").pin(),
    message: (address, data) => messages.push([address, data]),
    violation: () => {},
  };
  msix = new MsiX(host, config, vectors, { bar: 0, table: 0x2000, pending: 0x3000 });
  capability = config.read(PciRegister.capabilitiesPointer, 1);
  config.onWrite = () => msix.configWritten();
}

function control(value: number): void {
  config.write(capability + 2, 2, value);
}

function program(vector: number, address: number, data: number, masked = false): void {
  msix.writeTable(16 * vector, 4, address % 2 ** 32);
  msix.writeTable(16 * vector + 4, 4, Math.floor(address / 2 ** 32));
  msix.writeTable(16 * vector + 8, 4, data);
  msix.writeTable(16 * vector + 12, 4, masked ? 1 : 0);
}

function pending(vector: number): boolean {
  return ((msix.readPending(4 * (vector >>> 5), 4) >>> (vector & 31)) & 1) === 1;
}

beforeEach(() => plug(40));

describe("capability", () => {
  test("tells size and places; only enable and function mask can be written", () => {
    expect(config.read(capability, 1)).toBe(0x11);
    expect(config.read(capability + 2, 2)).toBe(39);
    expect(config.read(capability + 4, 4)).toBe(0x2000);
    expect(config.read(capability + 8, 4)).toBe(0x3000);
    control(0xffff);
    expect(config.read(capability + 2, 2)).toBe(0xc027);
    expect(msix.enabled).toBe(true);
  });

  test.each([
    [1, 8],
    [32, 8],
    [33, 8],
    [64, 8],
    [65, 16],
    [2048, 256],
  ])("%d vectors have %d bytes of pending bits", (vectors, bytes) => {
    plug(vectors);
    expect([msix.pendingBytes, msix.tableBytes]).toEqual([bytes, 16 * vectors]);
    expect(msix.readPending(bytes - 4, 4)).toBe(0);
  });
});

describe("signalling", () => {
  test("a vector sends its message", () => {
    control(ENABLE);
    program(3, 0xfee0_1000, 0x41);
    program(39, 0x12_fee0_0000, 0xffff_ffff);
    msix.notify(3);
    msix.notify(39);
    expect(messages).toEqual([
      [0xfee0_1000, 0x41],
      [0x12_fee0_0000, 0xffff_ffff],
    ]);
    expect(pending(3)).toBe(false);
  });

  test("nothing is sent, or remembered, while it is not enabled, or for a vector that is not there", () => {
    program(0, 0xfee0_0000, 1);
    msix.notify(0);
    control(ENABLE);
    msix.notify(40);
    expect([messages, pending(0)]).toEqual([[], false]);
  });

  test("vectors start masked; a masked one is pending until it is unmasked, and then sent once", () => {
    control(ENABLE);
    program(35, 0xfee0_0000, 0x55, true);
    msix.notify(35);
    msix.notify(35);
    expect([messages.length, pending(35), pending(34), pending(3)]).toEqual([0, true, false, false]);
    msix.writeTable(16 * 35 + 8, 4, 0x56);
    expect(messages).toEqual([]);
    msix.writeTable(16 * 35 + 12, 4, 0);
    expect([messages, pending(35)]).toEqual([[[0xfee0_0000, 0x56]], false]);
    msix.writeTable(16 * 35 + 12, 4, 0);
    expect(messages.length).toBe(1);
  });

  test("the function mask holds all; when it goes, those not masked on their own are sent", () => {
    program(0, 0xfee0_0000, 0);
    program(31, 0xfee0_0000, 31);
    program(32, 0xfee0_0000, 32, true);
    control(ENABLE | FUNCTION_MASK);
    for (const vector of [32, 31, 0]) msix.notify(vector);
    msix.writeTable(16 * 31 + 12, 4, 0);
    expect([messages, pending(0), pending(31), pending(32)]).toEqual([[], true, true, true]);
    control(ENABLE);
    expect(messages.map(([, data]) => data)).toEqual([0, 31]);
    expect([pending(0), pending(31), pending(32)]).toEqual([false, false, true]);
  });

  test("disabled while pending: sent when enabled again", () => {
    control(ENABLE);
    program(0, 0xfee0_0000, 7, true);
    msix.notify(0);
    control(0);
    msix.writeTable(12, 4, 0);
    expect(messages).toEqual([]);
    control(ENABLE);
    expect(messages).toEqual([[0xfee0_0000, 7]]);
  });
});

describe("registers", () => {
  test("the table is read and written at any width", () => {
    msix.writeTable(16, 4, 0x1122_3344);
    expect([msix.readTable(16, 1), msix.readTable(17, 1), msix.readTable(18, 2)]).toEqual([0x44, 0x33, 0x1122]);
    msix.writeTable(17, 1, 0xaa);
    msix.writeTable(18, 2, 0x8899);
    expect(msix.readTable(16, 4)).toBe(0x8899_aa44);
    msix.writeTable(19, 1, 0xff);
    expect(msix.readTable(16, 4)).toBe(0xff99_aa44);
  });

  test("a byte write to the control word unmasks too", () => {
    control(ENABLE);
    program(1, 0xfee0_0000, 9, true);
    msix.notify(1);
    msix.writeTable(16 + 12, 1, 0);
    expect(messages.length).toBe(1);
  });

  test("beyond the table there is nothing", () => {
    msix.writeTable(16 * 40, 4, 0xffff_ffff);
    expect(msix.readTable(16 * 40, 4)).toBe(0);
    expect(msix.readPending(64, 4)).toBe(0);
  });
});

describe("reset and snapshots", () => {
  test("a reset masks all and forgets what was pending", () => {
    control(ENABLE);
    program(0, 0xfee0_0000, 7, true);
    msix.notify(0);
    msix.reset();
    expect([pending(0), msix.readTable(0, 4), msix.readTable(12, 4)]).toEqual([false, 0, 1]);
  });

  test("a snapshot goes back as it was", () => {
    control(ENABLE);
    program(33, 0xfee0_0000, 7, true);
    msix.notify(33);
    const state = structuredClone(msix.snapshot());
    plug(40);
    msix.restore(state);
    expect(pending(33)).toBe(true);
    control(ENABLE);
    msix.writeTable(16 * 33 + 12, 4, 0);
    expect(messages).toEqual([[0xfee0_0000, 7]]);
  });

  test("what does not fit is refused and changes nothing", () => {
    const before = msix.snapshot();
    for (const state of [
      undefined,
      {},
      { ...before, table: before.table.slice(1) },
      { ...before, pending: [1] },
      { ...before, pending: [-1, 0] },
    ]) {
      expect(() => msix.restore(state)).toThrow(expect.objectContaining({ code: "snapshot-misfit" }));
    }
    expect(msix.snapshot()).toEqual(before);
  });
});
