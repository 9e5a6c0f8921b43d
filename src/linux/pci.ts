import type { AccessSize } from "../bus/device.js";
import { ones } from "../bus/device.js";
import type { IoMmuContext } from "../bus/io-mmu.js";
import type { PciBus, PciSlot } from "../bus/pci-bus.js";
import { PciRegister } from "../bus/pci-config.js";
import { EventSource } from "../util/events.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Execution } from "./execution.js";
import type { Guest } from "./guest.js";
import type { Heap } from "./heap.js";
import type { Interrupts } from "./interrupts.js";
import { IO_MAPPINGS } from "./layout.js";

/** Where BARs are put: memory below the interrupt window, ports above those of a PC's own devices. */
const MEMORY_WINDOW = { start: 0xd000_0000, end: 0xf000_0000 };
const PORT_WINDOW = { start: 0xc000, end: 0x10000 };
/** Registers that are mapped are this far from their physical addresses. */
const IO_SPACE_BYTES = 2 ** 40;
export const FIRST_IRQ = 16;
const LEAST_BAR_SPACING = 4096;

export interface PciFunction {
  readonly slot: PciSlot;
  readonly devfn: number;
  readonly irq: number;
  /** Its `struct pci_dev`, once the bus was scanned. */
  device: GuestAddress | null;
}

interface Region {
  readonly slot: PciSlot;
  readonly bar: number;
  readonly start: number;
  readonly end: number;
  readonly isPort: boolean;
}

export interface PciEvents {
  /** Registers were accessed where none are mapped, or none exist. */
  stray: { readonly address: number; readonly size: number; readonly write: boolean; readonly symbol: string };
}

/** The machine's PCI bus as the kernel sees it: configuration space, BARs at addresses, interrupts by number. */
export class PciBridge {
  readonly events = new EventSource<PciEvents>();
  readonly functions: PciFunction[] = [];
  reads = 0;
  writes = 0;
  readonly #regions: Region[] = [];
  /** The region of the last access: the next one is mostly there too. */
  #last: Region | null = null;
  /** Of the last DMA call. */
  #lastDevice = 0 as GuestAddress;
  #lastContext: IoMmuContext | null = null;
  /** Mapped by the driver: physical address and times. */
  readonly #mapped = new Map<number, { bytes: number; times: number }>();
  #nextMemory = MEMORY_WINDOW.start;
  #nextPort = PORT_WINDOW.start;
  #bus: GuestAddress | null = null;

  constructor(
    private readonly guest: Guest,
    private readonly execution: Execution,
    private readonly heap: Heap,
    private readonly interrupts: Interrupts,
    /** Whether the machine lets this domain have a slot. */
    readonly bus: PciBus,
  ) {
    guest.memory.handle(BigInt.asUintN(64, BigInt(IO_MAPPINGS)), IO_SPACE_BYTES, {
      read: (address, bytes) => this.#load(address, bytes),
      write: (address, bytes, value) => this.#store(address, bytes, value),
      readWord: (physical, bytes) => this.#read(physical, bytes),
      writeWord: (physical, bytes, value) => this.#write(physical, bytes, value),
    });
  }

  /** Puts a slot of the machine's bus onto the domain's: as firmware would, BARs get addresses. */
  add(slot: PciSlot): PciFunction {
    const number = Number.parseInt(slot.address.slice(8, 10), 16);
    const irq = FIRST_IRQ + number;
    const fn: PciFunction = { slot, devfn: number << 3, irq, device: null };
    this.functions.push(fn);
    this.interrupts.add(irq, slot.line);
    const { bars } = slot.device.config;
    bars.forEach((bar, index) => {
      if (bar === undefined) return;
      const isPort = bar.kind === "io";
      const spacing = isPort ? bar.size : Math.max(bar.size, LEAST_BAR_SPACING);
      const next = isPort ? this.#nextPort : this.#nextMemory;
      const start = Math.ceil(next / spacing) * spacing;
      if (isPort) this.#nextPort = start + spacing;
      else this.#nextMemory = start + spacing;
      const at = PciRegister.bar0 + 4 * index;
      slot.configWrite(at, 4, start);
      if (bar.kind === "memory64") slot.configWrite(at + 4, 4, 0);
      this.#regions.push({ slot, bar: index, start, end: start + bar.size, isPort });
    });
    slot.configWrite(PciRegister.interruptLine, 1, irq);
    return fn;
  }

  /** Scans the bus with the kernel's own code, and lets it announce what it found; drivers bind from then on. */
  scan(readStub: GuestAddress, writeStub: GuestAddress, syncStub: GuestAddress): void {
    const { guest, heap, execution } = this;
    const ops = heap.allocate(guest.sizeOf("pci_ops"));
    guest.field("pci_ops.read").set(ops, readStub);
    guest.field("pci_ops.write").set(ops, writeStub);
    const sysdata = heap.allocate(guest.sizeOf("pci_sysdata"));
    guest.field("pci_sysdata.node").set(sysdata, -1);
    const resources = heap.allocate(16);
    guest.setPointer(resources, resources);
    guest.setPointer((resources + 8) as GuestAddress, resources);
    execution.call("pci_add_resource", resources, guest.symbol("ioport_resource"));
    execution.call("pci_add_resource", resources, guest.symbol("iomem_resource"));
    this.#bus = execution.call("pci_scan_root_bus", 0, 0, ops, sysdata, resources);
    if (this.#bus === 0) return;
    this.#findDevices(syncStub);
    execution.call("pci_bus_claim_resources", this.#bus);
    // The default cache line size comes into force there, too.
    if (guest.find("pci_apply_final_quirks") !== null) execution.call("pci_apply_final_quirks");
    execution.call("pci_bus_add_devices", this.#bus);
  }

  get rootBus(): GuestAddress | null {
    return this.#bus;
  }

  #findDevices(syncStub: GuestAddress): void {
    const { guest } = this;
    if (this.#bus === null) return;
    const ops = this.#dmaOps(syncStub);
    const head = (this.#bus + guest.offset("pci_bus.devices")) as GuestAddress;
    const link = guest.offset("pci_dev.bus_list");
    const devfn = guest.field("pci_dev.devfn");
    for (let at = guest.pointer(head); at !== head; at = guest.pointer(at)) {
      const device = (at - link) as GuestAddress;
      const fn = this.functions.find((one) => one.devfn === devfn.get(device));
      if (fn === undefined) continue;
      fn.device = device;
      guest.field("pci_dev.irq").set(device, fn.irq);
      if (ops !== null) guest.field("pci_dev.dev.dma_ops").set(device, ops);
    }
  }

  /** Operations that say that buffers have to be synchronised: kernels leave that out where they find it needless. */
  #dmaOps(syncStub: GuestAddress): GuestAddress | null {
    const { guest } = this;
    if (!guest.hasField("pci_dev.dev.dma_ops")) return null;
    const ops = this.heap.allocate(guest.sizeOf("dma_map_ops"));
    guest.field("dma_map_ops.sync_single_for_cpu").set(ops, syncStub);
    guest.field("dma_map_ops.sync_single_for_device").set(ops, syncStub);
    return ops;
  }

  /** The I/O MMU context of the function that a `struct device` belongs to; null if it is none of the bus. */
  contextOf(device: GuestAddress): IoMmuContext | null {
    if (device === this.#lastDevice) return this.#lastContext;
    const context = this.functionOf(device)?.slot.dma ?? null;
    this.#lastDevice = device;
    this.#lastContext = context;
    return context;
  }

  /** Devices have come or gone: addresses may stand for others now. */
  forgetDevices(): void {
    this.#lastDevice = 0 as GuestAddress;
    this.#lastContext = null;
  }

  /** The function whose `struct device` this is, or a descendant of it. */
  functionOf(device: GuestAddress): PciFunction | null {
    const { guest } = this;
    const offset = guest.offset("pci_dev.dev");
    const parent = guest.field("device.parent");
    for (let at = device, depth = 0; at !== 0 && depth < 16; at = parent.pointer(at), depth++) {
      const found = this.functions.find((fn) => fn.device !== null && fn.device + offset === at);
      if (found !== undefined) return found;
    }
    return null;
  }

  functionAt(pciDevice: GuestAddress): PciFunction | null {
    return this.functions.find(({ device }) => device === pciDevice) ?? null;
  }

  configRead(devfn: number, where: number, size: number): number {
    const fn = this.functions.find((one) => one.devfn === devfn);
    if (fn === undefined || (size !== 1 && size !== 2 && size !== 4)) return ones(4);
    return fn.slot.configRead(where, size);
  }

  configWrite(devfn: number, where: number, size: number, value: number): void {
    const fn = this.functions.find((one) => one.devfn === devfn);
    if (fn === undefined || (size !== 1 && size !== 2 && size !== 4)) return;
    fn.slot.configWrite(where, size, value);
    const bar = Math.floor((where - PciRegister.bar0) / 4);
    if (bar >= 0 && bar < 6) this.#moved(fn.slot);
  }

  /** A driver maps registers. @returns where, or 0 if nothing is there */
  map(physical: number, bytes: number): number {
    if (!(physical >= 0 && physical + bytes <= IO_SPACE_BYTES)) return 0;
    const known = this.#mapped.get(physical);
    if (known === undefined) this.#mapped.set(physical, { bytes, times: 1 });
    else {
      known.times++;
      known.bytes = Math.max(known.bytes, bytes);
    }
    return IO_MAPPINGS + physical;
  }

  unmap(address: GuestAddress): boolean {
    const physical = address - IO_MAPPINGS;
    const known = this.#mapped.get(physical);
    if (known === undefined) return false;
    if (--known.times === 0) this.#mapped.delete(physical);
    return true;
  }

  get mapped(): number {
    return this.#mapped.size;
  }

  portRead(port: number, size: number): number {
    const region = this.#regions.find((one) => one.isPort && port >= one.start && port + size <= one.end);
    if (region === undefined) {
      this.#stray(port, size, false);
      return ones(size as AccessSize);
    }
    this.reads++;
    return region.slot.read(region.bar, port - region.start, size as AccessSize);
  }

  portWrite(port: number, size: number, value: number): void {
    const region = this.#regions.find((one) => one.isPort && port >= one.start && port + size <= one.end);
    if (region === undefined) {
      this.#stray(port, size, true);
      return;
    }
    this.writes++;
    region.slot.write(region.bar, port - region.start, size as AccessSize, value);
  }

  #load(address: bigint, bytes: number): bigint {
    const physical = Number(BigInt.asIntN(64, address)) - IO_MAPPINGS;
    if (bytes === 8) {
      const low = this.#read(physical, 4);
      return BigInt(low) | (BigInt(this.#read(physical + 4, 4)) << 32n);
    }
    return BigInt(this.#read(physical, bytes));
  }

  #store(address: bigint, bytes: number, value: bigint): void {
    const physical = Number(BigInt.asIntN(64, address)) - IO_MAPPINGS;
    const low = Number(value & 0xffff_ffffn);
    this.#write(physical, Math.min(bytes, 4), bytes < 4 ? low & (2 ** (8 * bytes) - 1) : low);
    if (bytes === 8) this.#write(physical + 4, 4, Number((value >> 32n) & 0xffff_ffffn));
  }

  #read(physical: number, bytes: number): number {
    const region = this.#regionAt(physical, bytes);
    if (region === null) {
      this.#stray(physical, bytes, false);
      return ones(bytes as AccessSize);
    }
    this.reads++;
    return region.slot.read(region.bar, physical - region.start, bytes as AccessSize);
  }

  #write(physical: number, bytes: number, value: number): void {
    const region = this.#regionAt(physical, bytes);
    if (region === null) {
      this.#stray(physical, bytes, true);
      return;
    }
    this.writes++;
    region.slot.write(region.bar, physical - region.start, bytes as AccessSize, value);
  }

  #regionAt(physical: number, bytes: number): Region | null {
    const last = this.#last;
    if (last !== null && physical >= last.start && physical + bytes <= last.end) return last;
    const found = this.#regions.find((one) => !one.isPort && physical >= one.start && physical + bytes <= one.end);
    if (found === undefined || !this.#isMapped(physical, bytes)) return null;
    this.#last = found;
    return found;
  }

  #isMapped(physical: number, bytes: number): boolean {
    for (const [start, mapping] of this.#mapped) {
      const first = start - (start % LEAST_BAR_SPACING);
      const end = Math.ceil((start + mapping.bytes) / LEAST_BAR_SPACING) * LEAST_BAR_SPACING;
      if (physical >= first && physical + bytes <= end) return true;
    }
    return false;
  }

  /** The kernel moved BARs: it may size them, or assign them anew. */
  #moved(slot: PciSlot): void {
    this.#last = null;
    this.#regions.forEach((region, i) => {
      if (region.slot !== slot) return;
      const start = slot.device.config.barAddress(region.bar);
      this.#regions[i] = { ...region, start, end: start + region.end - region.start };
    });
  }

  #stray(address: number, size: number, write: boolean): void {
    const symbol = this.guest.sandbox.backtrace()[0]?.symbol ?? "";
    this.events.emit("stray", { address, size, write, symbol });
  }
}
