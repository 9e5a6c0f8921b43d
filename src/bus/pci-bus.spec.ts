import { beforeEach, describe, expect, test } from "vitest";
import { type Bank, frameOffset, PhysicalMemory } from "../memory/physical-memory.js";
import { DmaAccess, type Pin } from "../memory/pin.js";
import { PinBudget, PinPool } from "../memory/pin-budget.js";
import { PAGE_SIZE } from "../util/brand.js";
import { Clock } from "./clock.js";
import type { AccessSize, DeviceHost, PciDevice } from "./device.js";
import { InterruptController, type InterruptEvents } from "./interrupts.js";
import { type DmaFault, IoMmu } from "./io-mmu.js";
import { type DeviceViolation, PciBus, type PciSlot } from "./pci-bus.js";
import { findCapability } from "./pci-capabilities.js";
import { PciCommand, PciConfigSpace, PciRegister } from "./pci-config.js";

/** A device with a register that can be told from nothing, in an I/O and a memory BAR. */
class Probe implements PciDevice {
  readonly model = "probe";
  readonly config = new PciConfigSpace({ vendorId: 0x1af4, deviceId: 1, classCode: 0xff_00_00, interruptPin: 1 });
  readonly log: string[] = [];
  readonly power: number;

  constructor(readonly host: DeviceHost) {
    this.config.addBar(0, "io", 32);
    this.config.addBar(1, "memory32", 4096);
    this.power = this.config.addPowerManagement();
    this.config.onWrite = (offset, size) => this.log.push(`config ${offset} ${size}`);
  }

  read(bar: number, offset: number, size: AccessSize): number {
    this.log.push(`read ${bar} ${offset} ${size}`);
    return 0x42;
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    this.log.push(`write ${bar} ${offset} ${size} ${value}`);
  }

  reset(): void {
    this.log.push("reset");
    this.host.interrupt.set(false);
  }

  snapshot(): object {
    return {};
  }

  restore(): void {}
}

let memory: PhysicalMemory;
let bank: Bank;
let interrupts: InterruptController;
let iommu: IoMmu;
let bus: PciBus;
let slot: PciSlot<Probe>;
let faults: DmaFault[];

beforeEach(() => {
  memory = new PhysicalMemory();
  bank = memory.addBank(16 * PAGE_SIZE);
  interrupts = new InterruptController();
  iommu = new IoMmu(memory);
  bus = new PciBus(new Clock(), interrupts, iommu);
  slot = bus.plug("probe", (host) => new Probe(host));
  faults = [];
  iommu.events.on("fault", (fault) => faults.push(fault));
});

function command(bits: number): void {
  slot.configWrite(PciRegister.command, 2, bits);
  slot.device.log.length = 0;
}

function pin(): Pin {
  const authority = new PinBudget(memory, { bound: 8, posted: 0, reserved: 0, paging: 0 }).authority("driver");
  return authority.tryPin([bank.allocate()], 0, PAGE_SIZE, DmaAccess.both, PinPool.solicited);
}

describe("decoding", () => {
  test("each space by its own bit in the command register", () => {
    expect([slot.read(0, 4, 1), slot.read(1, 4, 2), slot.read(1, 4, 4)]).toEqual([0xff, 0xffff, 0xffff_ffff]);
    slot.write(0, 4, 4, 1);
    expect(slot.device.log).toEqual([]);
    command(PciCommand.ioSpace);
    expect([slot.read(0, 4, 4), slot.read(1, 4, 4)]).toEqual([0x42, 0xffff_ffff]);
    command(PciCommand.memorySpace);
    expect([slot.read(0, 4, 4), slot.read(1, 4, 4)]).toEqual([0xffff_ffff, 0x42]);
    slot.write(1, 8, 2, 7);
    slot.write(0, 8, 2, 7);
    expect(slot.device.log).toEqual(["read 1 4 4", "write 1 8 2 7"]);
    expect([slot.reads, slot.writes]).toEqual([7, 3]);
  });

  test("nothing outside a BAR, or of one that is not there", () => {
    command(PciCommand.ioSpace | PciCommand.memorySpace);
    expect(slot.read(0, 31, 1)).toBe(0x42);
    for (const [bar, offset, size] of [
      [0, 32, 1],
      [0, 30, 4],
      [0, -1, 1],
      [2, 0, 1],
      [-1, 0, 1],
      [1, 4095, 2],
    ] as const) {
      expect(slot.read(bar, offset, size)).toBe(size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff);
      slot.write(bar, offset, size, 0);
    }
    expect(slot.device.log).toEqual(["read 0 31 1"]);
  });

  test("nothing while the device sleeps; configuration space still answers", () => {
    command(PciCommand.ioSpace | PciCommand.memorySpace | PciCommand.busMaster);
    slot.configWrite(slot.device.power + 4, 2, 3);
    expect([slot.read(0, 0, 1), slot.dma.busMaster]).toEqual([0xff, false]);
    expect(slot.configRead(0, 4)).toBe(0x0001_1af4);
    slot.configWrite(slot.device.power + 4, 2, 0);
    expect([slot.read(0, 0, 1), slot.dma.busMaster]).toEqual([0x42, true]);
  });

  test("the device's own hook sees configuration writes after the bus has acted on them", () => {
    slot.configWrite(PciRegister.command, 2, 4);
    expect(slot.device.log).toEqual(["config 4 2"]);
  });

  test("capabilities are found by walking", () => {
    expect(findCapability(slot, 0x01)).toBe(slot.device.power);
    expect(findCapability(slot, 0x11)).toBe(0);
    slot.device.config.poke(slot.device.power + 1, slot.device.power, 1);
    expect(findCapability(slot, 0x11)).toBe(0);
  });
});

describe("bus mastering", () => {
  test("follows the command register", () => {
    const address = slot.dma.map(pin(), 0, PAGE_SIZE, DmaAccess.both, "probe");
    const { dma } = slot.device.host;
    expect(dma.write(address, Uint8Array.of(1), 0, 1)).toBe(false);
    command(PciCommand.busMaster);
    expect(dma.write(address, Uint8Array.of(1), 0, 1)).toBe(true);
    command(0);
    expect(dma.write(address, Uint8Array.of(1), 0, 1)).toBe(false);
    expect(faults.map((fault) => [fault.device, fault.reason])).toEqual([
      ["probe 0000:00:03.0", "bus-master-off"],
      ["probe 0000:00:03.0", "bus-master-off"],
    ]);
  });

  test("messages are memory writes: into the window they interrupt, elsewhere they go through the I/O MMU", () => {
    const line = interrupts.message("rx");
    let delivered = 0;
    line.attach(() => {
      delivered++;
      return true;
    });
    const { host } = slot.device;
    host.message(0xfee0_0000, line.vector);
    expect(interrupts.dispatch()).toBe(0);
    command(PciCommand.busMaster);
    host.message(0xfee0_0000, line.vector);
    interrupts.dispatch();
    expect(delivered).toBe(1);
    const made = pin();
    const address = slot.dma.map(made, 0, PAGE_SIZE, DmaAccess.write, "probe");
    host.message(address + 8, 0x0403_0201);
    const start = frameOffset(made.frames[0]);
    expect([...bank.bytes.subarray(start + 7, start + 13)]).toEqual([0, 1, 2, 3, 4, 0]);
    host.message(0x1000, 1);
    expect(faults.map((fault) => fault.reason)).toEqual(["unmapped"]);
  });

  test("a vector that nobody has is stray", () => {
    const stray: InterruptEvents["stray"][] = [];
    interrupts.events.on("stray", (event) => stray.push(event));
    command(PciCommand.busMaster);
    slot.device.host.message(0xfee0_0000, 0x77);
    expect(stray).toEqual([{ address: 0xfee0_0000, data: 0x77 }]);
  });
});

describe("the interrupt wire", () => {
  test("is cut by the interrupt disable bit; a level that is still there comes through when it goes", () => {
    const { interrupt } = slot.device.host;
    command(PciCommand.interruptDisable);
    interrupt.set(true);
    expect([interrupt.level, slot.line.asserted]).toEqual([true, false]);
    command(0);
    expect(slot.line.asserted).toBe(true);
    command(PciCommand.interruptDisable);
    expect(slot.line.asserted).toBe(false);
    interrupt.set(false);
    command(0);
    expect(slot.line.asserted).toBe(false);
  });
});

describe("end", () => {
  test("quiesce: no bus mastering, no decoding, no interrupt, and registers as after power-on", () => {
    command(7);
    slot.device.host.interrupt.set(true);
    slot.quiesce();
    expect(slot.device.log).toContain("reset");
    expect([slot.dma.busMaster, slot.line.asserted, slot.configRead(PciRegister.command, 2)]).toEqual([
      false,
      false,
      0,
    ]);
    expect(slot.read(1, 0, 4)).toBe(0xffff_ffff);
  });

  test("unplug also takes its memory away, and frees slot and pins", () => {
    command(7);
    const made = pin();
    slot.dma.map(made, 0, PAGE_SIZE, DmaAccess.both, "probe");
    bus.unplug(slot);
    expect(bus.slots).toEqual([]);
    expect([made.mappings, slot.dma.live]).toEqual([0, 0]);
    made.authority.unpin(made);
    expect(bus.plug("other", (host) => new Probe(host)).address).toBe("0000:00:03.0");
  });

  test("a bus has room for 29 devices", () => {
    const slots = Array.from({ length: 28 }, () => bus.plug("probe", (host) => new Probe(host)));
    expect(slots[27].address).toBe("0000:00:1f.0");
    expect(() => bus.plug("probe", (host) => new Probe(host))).toThrow(
      expect.objectContaining({ code: "no-pci-slot" }),
    );
    bus.unplug(slots[10]);
    expect(bus.plug("probe", (host) => new Probe(host)).address).toBe(slots[10].address);
  });

  test("violations are told with the device's name", () => {
    const told: DeviceViolation[] = [];
    bus.events.on("violation", (violation) => told.push(violation));
    slot.device.host.violation("tail-out-of-range", "the tail is beyond the ring");
    expect(told).toEqual([
      { device: "probe 0000:00:03.0", rule: "tail-out-of-range", message: "the tail is beyond the ring" },
    ]);
  });
});
