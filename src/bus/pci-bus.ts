import { KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";
import type { Clock } from "./clock.js";
import { type AccessSize, type DeviceFactory, type DeviceHost, ones, type PciDevice } from "./device.js";
import type { InterruptController, InterruptLine, InterruptPin } from "./interrupts.js";
import type { IoMmu, IoMmuContext } from "./io-mmu.js";
import { PciCommand } from "./pci-config.js";

export interface DeviceViolation {
  device: string;
  /** Stable id of what was violated, such as `tail-out-of-range`. */
  rule: string;
  message: string;
}

export interface PciBusEvents {
  violation: DeviceViolation;
}

/** Slots as on a PC, where the first three are the chipset's; a bus has 32. */
const FIRST_DEVICE = 3;
const LAST_DEVICE = 31;

/**
 * A device in its slot: the driver's way to its registers, with decoding and power state respected, the I/O MMU context
 * that follows the bus master bit, and the interrupt wire that follows the interrupt disable bit.
 */
export class PciSlot<Device extends PciDevice = PciDevice> {
  readonly device: Device;
  readonly dma: IoMmuContext;
  readonly line: InterruptLine;
  readonly #wire: InterruptPin;
  /** Accesses to registers, for statistics. */
  reads = 0;
  writes = 0;

  /** @internal Made by {@link PciBus.plug}. */
  constructor(
    bus: PciBus,
    /** `0000:00:03.0` */
    readonly address: string,
    model: string,
    factory: DeviceFactory<Device>,
  ) {
    const name = `${model} ${address}`;
    this.dma = bus.iommu.attach(name);
    this.line = bus.interrupts.wire(`${name} INTA`);
    this.#wire = this.line.pin();
    const host: DeviceHost = {
      clock: bus.clock,
      dma: this.dma,
      interrupt: this.#wire,
      message: (target, data) => {
        if (!this.dma.busMaster) return;
        if (bus.interrupts.isMessageAddress(target)) bus.interrupts.deliverMessage(target, data);
        else this.dma.write(target, new Uint8Array(new Uint32Array([data]).buffer), 0, 4);
      },
      violation: (rule, message) => bus.events.emit("violation", { device: name, rule, message }),
    };
    this.device = factory(host);
    const { config } = this.device;
    const own = config.onWrite;
    config.onWrite = (offset, size) => {
      this.#commandChanged();
      own?.(offset, size);
    };
    this.#commandChanged();
  }

  /** @returns unsigned; all ones when decoding is off or the device sleeps, as on a real bus */
  read(bar: number, offset: number, size: AccessSize): number {
    this.reads++;
    return this.#decodes(bar, offset, size) ? this.device.read(bar, offset, size) : ones(size);
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    this.writes++;
    if (this.#decodes(bar, offset, size)) this.device.write(bar, offset, size, value);
  }

  configRead(offset: number, size: AccessSize): number {
    return this.device.config.read(offset, size);
  }

  configWrite(offset: number, size: AccessSize, value: number): void {
    this.device.config.write(offset, size, value);
  }

  /** Stops the device for good: no interrupt, no bus mastering, registers as after power-on. */
  quiesce(): void {
    this.device.config.write(0x04, 2, 0);
    this.device.reset();
    this.device.config.reset();
  }

  #decodes(bar: number, offset: number, size: AccessSize): boolean {
    const { config } = this.device;
    const region = config.bars[bar];
    if (region === undefined || offset < 0 || offset + size > region.size || config.powerState !== 0) return false;
    return (config.command & (region.kind === "io" ? PciCommand.ioSpace : PciCommand.memorySpace)) !== 0;
  }

  #commandChanged(): void {
    const { config } = this.device;
    this.dma.busMaster = (config.command & PciCommand.busMaster) !== 0 && config.powerState === 0;
    this.#wire.connect((config.command & PciCommand.interruptDisable) === 0);
  }
}

/** The machine's one PCI bus (segment 0, bus 0). */
export class PciBus {
  readonly events = new EventSource<PciBusEvents>();
  readonly slots: PciSlot[] = [];

  constructor(
    readonly clock: Clock,
    readonly interrupts: InterruptController,
    readonly iommu: IoMmu,
  ) {}

  /** Puts a device into the first free slot. @throws KorralError when all are taken */
  plug<Device extends PciDevice>(model: string, factory: DeviceFactory<Device>): PciSlot<Device> {
    const address = this.#freeAddress(model);
    const slot = new PciSlot<Device>(this, address, model, factory);
    this.slots.push(slot);
    return slot;
  }

  unplug(slot: PciSlot): void {
    slot.quiesce();
    this.iommu.detach(slot.dma);
    const at = this.slots.indexOf(slot);
    if (at >= 0) this.slots.splice(at, 1);
  }

  #freeAddress(model: string): string {
    for (let device = FIRST_DEVICE; device <= LAST_DEVICE; device++) {
      const address = `0000:00:${device.toString(16).padStart(2, "0")}.0`;
      if (!this.slots.some((slot) => slot.address === address)) return address;
    }
    throw new KorralError("no-pci-slot", `the PCI bus has no free slot for ${model}: unplug a device first`, 2);
  }
}
