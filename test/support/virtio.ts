import type { PciDevice } from "../../src/bus/device.js";
import { MESSAGE_WINDOW } from "../../src/bus/interrupts.js";
import type { PciSlot } from "../../src/bus/pci-bus.js";
import { findCapability } from "../../src/bus/pci-capabilities.js";
import { CommonField } from "../../src/devices/virtio/common-configuration.js";
import { DeviceStatus } from "../../src/devices/virtio/device-core.js";
import { VirtioBar } from "../../src/devices/virtio/pci-device.js";
import type { DmaBuffer, Rig } from "./rig.js";

const MSIX = 0x11;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL = 1 << 7;
const USED = 1 << 15;

/** Bytes that a buffer consists of, in the device's memory. */
export interface Element {
  address: number;
  length: number;
  writable: boolean;
}

export interface UsedBuffer {
  /** What {@link TestQueue.add} returned. */
  token: number;
  written: number;
}

const WORD = 2 ** 32;

function putDescriptor(view: DataView, at: number, address: number, length: number, low: number, high: number): void {
  view.setUint32(at, address % WORD, true);
  view.setUint32(at + 4, Math.floor(address / WORD), true);
  view.setUint32(at + 8, length, true);
  view.setUint16(at + 12, low, true);
  view.setUint16(at + 14, high, true);
}

/** The driver's side of a virtqueue. */
export interface TestQueue {
  readonly size: number;
  /** Descriptor, driver and device area. */
  readonly areas: readonly [DmaBuffer, DmaBuffer, DmaBuffer];
  /** Makes a buffer available; `indirect`: through a table. @returns its token */
  add(elements: readonly Element[], indirect?: boolean): number;
  /** The next buffer that the device has used. */
  take(): UsedBuffer | null;
  /** Asks for no more notifications of used buffers. */
  silence(): void;
  /** Asks for one when the next buffer becomes used: by event index, or by flags. */
  listen(): void;
  /** Whether the device wants to hear of what was added since it was asked last. */
  mustNotify(): boolean;
}

/** A table of descriptors for the next indirect buffer, one of 64. */
class Tables {
  #next = 0;

  constructor(
    readonly memory: DmaBuffer,
    readonly packed: boolean,
  ) {}

  write(elements: readonly Element[]): { address: number; length: number } {
    const base = (this.#next++ % 64) * 512;
    elements.forEach(({ address, length, writable }, i) => {
      const flags = (writable ? WRITE : 0) | (!this.packed && i + 1 < elements.length ? NEXT : 0);
      const [low, high] = this.packed ? [0, flags] : [flags, i + 1];
      putDescriptor(this.memory.view, base + 16 * i, address, length, low, high);
    });
    return { address: this.memory.io + base, length: 16 * elements.length };
  }
}

/** Split virtqueue, from the driver's side (§2.7.13, §2.7.14). */
export class SplitTestQueue implements TestQueue {
  readonly #free: number[];
  readonly #links = new Map<number, number[]>();
  #available = 0;
  #kicked = 0;
  #lastUsed = 0;

  constructor(
    readonly size: number,
    readonly areas: readonly [DmaBuffer, DmaBuffer, DmaBuffer],
    readonly tables: Tables,
    readonly eventIndex: boolean,
  ) {
    this.#free = Array.from({ length: size }, (_, i) => i);
  }

  add(elements: readonly Element[], indirect = false): number {
    const [descriptors, driver] = this.areas;
    const table = indirect ? this.tables.write(elements) : null;
    const parts = table === null ? elements : [{ ...table, writable: false }];
    const indices = this.#free.splice(0, parts.length);
    if (indices.length < parts.length) throw new Error("the queue is full");
    parts.forEach(({ address, length, writable }, i) => {
      const last = i + 1 === parts.length;
      const flags = (writable ? WRITE : 0) | (last ? 0 : NEXT) | (table === null ? 0 : INDIRECT);
      putDescriptor(descriptors.view, 16 * indices[i], address, length, flags, last ? 0 : indices[i + 1]);
    });
    this.#links.set(indices[0], indices);
    driver.view.setUint16(4 + 2 * (this.#available % this.size), indices[0], true);
    this.#available = (this.#available + 1) & 0xffff;
    driver.view.setUint16(2, this.#available, true);
    return indices[0];
  }

  take(): UsedBuffer | null {
    const { view } = this.areas[2];
    if (view.getUint16(2, true) === this.#lastUsed) return null;
    const at = 4 + 8 * (this.#lastUsed % this.size);
    const token = view.getUint32(at, true);
    const indices = this.#links.get(token);
    if (indices === undefined) throw new Error(`buffer ${token} was not available`);
    this.#links.delete(token);
    this.#free.push(...indices);
    this.#lastUsed = (this.#lastUsed + 1) & 0xffff;
    return { token, written: view.getUint32(at + 4, true) };
  }

  silence(): void {
    const { view } = this.areas[1];
    if (this.eventIndex) view.setUint16(4 + 2 * this.size, (this.#lastUsed - 1) & 0xffff, true);
    else view.setUint16(0, 1, true);
  }

  listen(): void {
    const { view } = this.areas[1];
    if (this.eventIndex) view.setUint16(4 + 2 * this.size, this.#lastUsed, true);
    else view.setUint16(0, 0, true);
  }

  mustNotify(): boolean {
    const { view } = this.areas[2];
    const before = this.#kicked;
    this.#kicked = this.#available;
    if (!this.eventIndex) return (view.getUint16(0, true) & 1) === 0;
    const event = view.getUint16(4 + 8 * this.size, true);
    return ((this.#available - event - 1) & 0xffff) < ((this.#available - before) & 0xffff);
  }
}

/** Packed virtqueue, from the driver's side (§2.8.21, §2.8.22). */
export class PackedTestQueue implements TestQueue {
  readonly #slots = new Map<number, number>();
  readonly #freeIds: number[];
  #next = 0;
  #wrap = true;
  #used = 0;
  #usedWrap = true;
  #room: number;

  constructor(
    readonly size: number,
    readonly areas: readonly [DmaBuffer, DmaBuffer, DmaBuffer],
    readonly tables: Tables,
    readonly eventIndex: boolean,
  ) {
    this.#room = size;
    // Not the places' own numbers, so that nobody takes the one for the other.
    this.#freeIds = Array.from({ length: size }, (_, i) => (i * 7 + 3) & 0xffff);
  }

  add(elements: readonly Element[], indirect = false): number {
    const { view } = this.areas[0];
    const table = indirect ? this.tables.write(elements) : null;
    const parts = table === null ? elements : [{ ...table, writable: false }];
    const id = this.#freeIds.shift();
    if (id === undefined || this.#room < parts.length) throw new Error("the queue is full");
    const first = this.#next;
    let firstFlags = 0;
    parts.forEach(({ address, length, writable }, i) => {
      const flags =
        (writable ? WRITE : 0) |
        (i + 1 === parts.length ? 0 : NEXT) |
        (table === null ? 0 : INDIRECT) |
        (this.#wrap ? AVAIL : USED);
      if (i === 0) firstFlags = flags;
      putDescriptor(
        view,
        16 * this.#next,
        address,
        length,
        id,
        i === 0 ? view.getUint16(16 * first + 14, true) : flags,
      );
      this.#next = (this.#next + 1) % this.size;
      if (this.#next === 0) this.#wrap = !this.#wrap;
    });
    view.setUint16(16 * first + 14, firstFlags, true);
    this.#slots.set(id, parts.length);
    this.#room -= parts.length;
    return id;
  }

  take(): UsedBuffer | null {
    const { view } = this.areas[0];
    const at = 16 * this.#used;
    const flags = view.getUint16(at + 14, true);
    const used = (flags & USED) !== 0;
    if (used !== ((flags & AVAIL) !== 0) || used !== this.#usedWrap) return null;
    const token = view.getUint16(at + 12, true);
    const slots = this.#slots.get(token);
    if (slots === undefined) throw new Error(`buffer ${token} was not available`);
    this.#slots.delete(token);
    this.#freeIds.push(token);
    this.#room += slots;
    this.#used += slots;
    if (this.#used >= this.size) {
      this.#used -= this.size;
      this.#usedWrap = !this.#usedWrap;
    }
    return { token, written: (flags & WRITE) === 0 ? 0 : view.getUint32(at + 8, true) };
  }

  silence(): void {
    this.areas[1].view.setUint16(2, 1, true);
  }

  listen(): void {
    const { view } = this.areas[1];
    if (this.eventIndex) view.setUint16(0, this.#used | (this.#usedWrap ? USED : 0), true);
    view.setUint16(2, this.eventIndex ? 2 : 0, true);
  }

  mustNotify(): boolean {
    return (this.areas[2].view.getUint16(2, true) & 3) !== 1;
  }
}

export interface VirtioDriverOptions {
  /** Feature bits that are accepted if they are offered; VERSION_1 and ACCESS_PLATFORM always are. */
  features?: readonly number[];
  /** Interrupts by messages (a vector for each queue), or by the pin. Default: messages. */
  messages?: boolean;
}

/** Drives a virtio device on PCI as §3.1.1 says, register by register. */
export class VirtioDriver<Device extends PciDevice> {
  readonly queues: TestQueue[] = [];
  /** Interrupts by their vector; those of the pin under −1. */
  readonly interrupts = new Map<number, number>();
  accepted = new Set<number>();
  readonly #tables: { split: Tables; packed: Tables };
  readonly #base: number;

  constructor(
    readonly rig: Rig,
    readonly slot: PciSlot<Device>,
    readonly options: VirtioDriverOptions = {},
  ) {
    rig.enable(slot);
    const memory = rig.dmaBuffer(slot, 64 * 512);
    this.#tables = { split: new Tables(memory, false), packed: new Tables(memory, true) };
    this.#base = VirtioBar.common;
    slot.line.attach(() => {
      if (slot.read(VirtioBar.index, VirtioBar.isr, 1) === 0) return false;
      this.#count(-1);
      return true;
    });
  }

  get(field: number, size: 1 | 2 | 4): number {
    return this.slot.read(VirtioBar.index, this.#base + field, size);
  }

  set(field: number, size: 1 | 2 | 4, value: number): void {
    this.slot.write(VirtioBar.index, this.#base + field, size, value);
  }

  get status(): number {
    return this.get(CommonField.device_status, 1);
  }

  set status(value: number) {
    this.set(CommonField.device_status, 1, value);
  }

  offers(bit: number): boolean {
    this.set(CommonField.device_feature_select, 4, bit >>> 5);
    return ((this.get(CommonField.device_feature, 4) >>> (bit & 31)) & 1) !== 0;
  }

  /** Reset to FEATURES_OK. @returns whether that stuck */
  negotiate(bits: readonly number[]): boolean {
    this.status = 0;
    this.status = DeviceStatus.ACKNOWLEDGE;
    this.status |= DeviceStatus.DRIVER;
    this.accepted = new Set(bits.filter((bit) => this.offers(bit)));
    for (const word of [0, 1]) {
      let mask = 0;
      for (const bit of this.accepted) if (bit >>> 5 === word) mask |= 1 << (bit & 31);
      this.set(CommonField.driver_feature_select, 4, word);
      this.set(CommonField.driver_feature, 4, mask >>> 0);
    }
    this.status |= DeviceStatus.FEATURES_OK;
    return (this.status & DeviceStatus.FEATURES_OK) !== 0;
  }

  /** Reset to DRIVER_OK, with all queues. */
  start(): void {
    if (!this.negotiate([32, 33, ...(this.options.features ?? [])])) throw new Error("the device refuses the features");
    if (this.options.messages !== false) this.#enableMessages();
    this.queues.length = 0;
    const count = this.get(CommonField.num_queues, 2);
    for (let index = 0; index < count; index++) this.queues.push(this.setUpQueue(index));
    this.status |= DeviceStatus.DRIVER_OK;
  }

  setUpQueue(index: number, size?: number): TestQueue {
    this.set(CommonField.queue_select, 2, index);
    if (size !== undefined) this.set(CommonField.queue_size, 2, size);
    const entries = this.get(CommonField.queue_size, 2);
    const { rig, slot } = this;
    const areas = [0, 1, 2].map(() => rig.dmaBuffer(slot, 16 * entries + 16)) as [DmaBuffer, DmaBuffer, DmaBuffer];
    areas.forEach(({ io }, area) => {
      this.set(CommonField.queue_desc + 8 * area, 4, io % WORD);
      this.set(CommonField.queue_desc + 8 * area + 4, 4, Math.floor(io / WORD));
    });
    if (this.options.messages !== false) this.set(CommonField.queue_msix_vector, 2, 1 + index);
    this.set(CommonField.queue_enable, 2, 1);
    const eventIndex = this.accepted.has(29);
    return this.accepted.has(34)
      ? new PackedTestQueue(entries, areas, this.#tables.packed, eventIndex)
      : new SplitTestQueue(entries, areas, this.#tables.split, eventIndex);
  }

  /** Rings the queue's doorbell, whether the device wants it or not. */
  notify(index: number): void {
    this.set(CommonField.queue_select, 2, index);
    const offset = this.get(CommonField.queue_notify_off, 2);
    this.slot.write(VirtioBar.index, VirtioBar.notify + 4 * offset, 2, index);
  }

  /** Rings it if the device wants it. */
  kick(index: number): void {
    if (this.queues[index].mustNotify()) this.notify(index);
  }

  /** Interrupts of a vector since this was asked last; −1: of the pin. */
  takeInterrupts(vector: number): number {
    this.rig.settle();
    const count = this.interrupts.get(vector) ?? 0;
    this.interrupts.delete(vector);
    return count;
  }

  #count(vector: number): void {
    this.interrupts.set(vector, (this.interrupts.get(vector) ?? 0) + 1);
  }

  /** MSI-X on: vector 0 for the configuration, 1 + n for queue n. */
  #enableMessages(): void {
    const { slot, rig } = this;
    const capability = findCapability(slot, MSIX);
    const entries = (slot.configRead(capability + 2, 2) & 0x7ff) + 1;
    for (let vector = 0; vector < entries; vector++) {
      const line = rig.interrupts.message(`test vector ${vector}`);
      line.attach(() => {
        this.#count(vector);
        return true;
      });
      const at = VirtioBar.msixTable + 16 * vector;
      slot.write(VirtioBar.index, at, 4, MESSAGE_WINDOW);
      slot.write(VirtioBar.index, at + 8, 4, line.vector);
      slot.write(VirtioBar.index, at + 12, 4, 0);
    }
    slot.configWrite(capability + 2, 2, 0x8000);
    this.set(CommonField.config_msix_vector, 2, 0);
  }
}
