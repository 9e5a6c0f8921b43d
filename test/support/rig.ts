import { Clock } from "../../src/bus/clock.js";
import { InterruptController } from "../../src/bus/interrupts.js";
import { type DmaFault, IoMmu } from "../../src/bus/io-mmu.js";
import type { DeviceViolation } from "../../src/bus/pci-bus.js";
import { PciBus, type PciSlot } from "../../src/bus/pci-bus.js";
import { PciCommand, PciRegister } from "../../src/bus/pci-config.js";
import { frameOffset, PhysicalMemory } from "../../src/memory/physical-memory.js";
import { DmaAccess, type PinAccess } from "../../src/memory/pin.js";
import { PinBudget, PinPool } from "../../src/memory/pin-budget.js";
import type { FrameNumber, IoAddress } from "../../src/util/brand.js";

/** Machine memory that a device can reach: `bytes` is the driver's view of it (physically contiguous). */
export interface DmaBuffer {
  readonly io: IoAddress;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** A bare machine for device tests: memory, bus, clock and interrupts, no kernel and no driver. */
export class Rig {
  readonly memory = new PhysicalMemory();
  readonly bank = this.memory.addBank(64 * 1024 * 1024);
  readonly budget = new PinBudget(this.memory, { bound: 16384, reserved: 8192 });
  readonly authority = this.budget.authority("test rig");
  readonly clock = new Clock();
  readonly interrupts = new InterruptController();
  readonly iommu = new IoMmu(this.memory);
  readonly pci = new PciBus(this.clock, this.interrupts, this.iommu);
  readonly faults: DmaFault[] = [];
  readonly violations: DeviceViolation[] = [];

  constructor() {
    this.iommu.events.on("fault", (fault) => this.faults.push(fault));
    this.pci.events.on("violation", (violation) => this.violations.push(violation));
  }

  /** Memory and I/O decoding and bus mastering on, as a driver's probe does. */
  enable(slot: PciSlot): void {
    slot.configWrite(PciRegister.command, 2, PciCommand.ioSpace | PciCommand.memorySpace | PciCommand.busMaster);
  }

  /** Allocates, pins and maps `length` bytes for a device; page-aligned, zeroed, physically contiguous. */
  dmaBuffer(slot: PciSlot, length: number, access: PinAccess = DmaAccess.both, addressBits?: number): DmaBuffer {
    const frames: FrameNumber[] = [];
    for (let i = 0; i < Math.ceil(length / 4096); i++) frames.push(this.bank.allocate());
    for (let i = 1; i < frames.length; i++) {
      if (frames[i] !== frames[0] + i) throw new Error("the rig's memory is fragmented: allocate big buffers first");
    }
    const pin = this.authority.tryPin(frames, 0, length, access, PinPool.reserved);
    const io = slot.dma.map(pin, 0, length, access, "test rig", addressBits);
    const start = frameOffset(frames[0]);
    const bytes = this.bank.bytes.subarray(start, start + length);
    return { io, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, length) };
  }

  /** Runs interrupts and due timers until nothing is left to do at this time. */
  settle(): void {
    while (this.interrupts.dispatch() + this.clock.runDue() > 0);
  }

  /** Lets virtual time pass, timer by timer, until `nanoseconds` from now. */
  pass(nanoseconds: number): void {
    const end = this.clock.now() + nanoseconds;
    this.settle();
    while (this.clock.nextDeadline() <= end) {
      this.clock.skipToNextTimer();
      this.settle();
    }
    this.clock.advance(Math.max(0, end - this.clock.now()));
  }
}
