import { type AccessSize, type DeviceFactory, ones, type RegisterDevice } from "./device.js";
import type { InterruptLine } from "./interrupts.js";
import type { IoMmuContext } from "./io-mmu.js";
import type { PciBus } from "./pci-bus.js";

/** A device that sits on the machine's board: no configuration space, no bus mastering, one wire. */
export class PlatformSlot<Device extends RegisterDevice = RegisterDevice> {
  readonly device: Device;
  readonly dma: IoMmuContext;
  readonly line: InterruptLine;

  constructor(bus: PciBus, model: string, factory: DeviceFactory<Device>) {
    this.dma = bus.iommu.attach(model);
    this.line = bus.interrupts.wire(model);
    this.device = factory({
      clock: bus.clock,
      dma: this.dma,
      interrupt: this.line.pin(),
      message: () => {},
      violation: (rule, message) => bus.events.emit("violation", { device: model, rule, message }),
    });
  }

  read(bar: number, offset: number, size: AccessSize): number {
    return this.device.read(bar, offset, size);
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    this.device.write(bar, offset, size, value);
  }

  /** Nothing is there to be configured. */
  configRead(_offset: number, size: AccessSize): number {
    return ones(size);
  }

  configWrite(_offset: number, _size: AccessSize, _value: number): void {}

  quiesce(): void {
    this.device.reset();
  }
}
