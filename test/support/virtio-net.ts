import type { PciSlot } from "../../src/bus/pci-bus.js";
import { NetFeature } from "../../src/devices/virtio-net/features.js";
import { VirtioNet, type VirtioNetOptions } from "../../src/devices/virtio-net.js";
import { TestWire } from "./e1000.js";
import { type DmaBuffer, Rig } from "./rig.js";
import { type Element, type TestQueue, VirtioDriver, type VirtioDriverOptions } from "./virtio.js";

export const RX = 0;
export const TX = 1;
export const CONTROL = 2;
const HEADER_BYTES = 12;
const CONFIGURATION = 0x2000;
/** Buffers of the transmit side: so many, of so many bytes. */
const PLACES = 256;
const PLACE_BYTES = 2048;

export const ALL_NET_FEATURES: readonly number[] = Object.values(NetFeature);
export const INDIRECT = 28;
export const EVENT_INDEX = 29;
export const PACKED = 34;

export interface PacketHeaderFields {
  flags?: number;
  gsoType?: number;
  gsoSize?: number;
  checksumStart?: number;
  checksumOffset?: number;
}

export interface ReceivedPacket {
  bytes: Uint8Array;
  flags: number;
  /** num_buffers of its header. */
  buffers: number;
}

/** A network device with its driver. */
export class VirtioNetRig extends Rig {
  readonly wire = new TestWire();
  readonly slot: PciSlot<VirtioNet>;
  readonly driver: VirtioDriver<VirtioNet>;
  readonly transmitMemory: DmaBuffer;
  readonly receiveMemory: DmaBuffer;
  /** For packets that are longer than a place. */
  readonly bigMemory: DmaBuffer;
  readonly controlMemory: DmaBuffer;
  readonly posted = new Map<number, Element[]>();
  #place = 0;

  constructor(options: Partial<VirtioNetOptions> = {}, driverOptions: VirtioDriverOptions = {}) {
    super();
    this.slot = this.pci.plug("virtio-net-pci", (host) => new VirtioNet(host, { wire: this.wire, ...options }));
    this.transmitMemory = this.dmaBuffer(this.slot, PLACES * PLACE_BYTES);
    this.receiveMemory = this.dmaBuffer(this.slot, PLACES * PLACE_BYTES);
    this.bigMemory = this.dmaBuffer(this.slot, 80 * 1024);
    this.controlMemory = this.dmaBuffer(this.slot, 64 * 1024);
    this.driver = new VirtioDriver(this, this.slot, { features: ALL_NET_FEATURES, ...driverOptions });
  }

  get nic(): VirtioNet {
    return this.slot.device;
  }

  get rx(): TestQueue {
    return this.driver.queues[RX];
  }

  get tx(): TestQueue {
    return this.driver.queues[TX];
  }

  config(offset: number, size: 1 | 2 | 4): number {
    return this.slot.read(0, CONFIGURATION + offset, size);
  }

  /** Puts a packet into memory and makes it available, header and frame in `pieces` elements. @returns its token */
  queue(frame: Uint8Array, header: PacketHeaderFields = {}, pieces = 1, indirect = false): number {
    const memory = frame.length + HEADER_BYTES > PLACE_BYTES ? this.bigMemory : this.transmitMemory;
    const at = memory === this.bigMemory ? 0 : (this.#place++ % PLACES) * PLACE_BYTES;
    const { view } = memory;
    view.setUint8(at, header.flags ?? 0);
    view.setUint8(at + 1, header.gsoType ?? 0);
    view.setUint16(at + 2, 0, true);
    view.setUint16(at + 4, header.gsoSize ?? 0, true);
    view.setUint16(at + 6, header.checksumStart ?? 0, true);
    view.setUint16(at + 8, header.checksumOffset ?? 0, true);
    view.setUint16(at + 10, 0, true);
    memory.bytes.set(frame, at + HEADER_BYTES);
    const total = HEADER_BYTES + frame.length;
    const elements: Element[] = [];
    for (let i = 0, start = 0; i < pieces; i++) {
      // The header first, then equal parts.
      const end = i === pieces - 1 ? total : HEADER_BYTES + Math.floor((frame.length * i) / pieces);
      if (end > start) elements.push({ address: memory.io + at + start, length: end - start, writable: false });
      start = end;
    }
    return this.tx.add(elements, indirect);
  }

  /** Hands over what was queued. @returns what the wire got */
  kick(): Uint8Array[] {
    this.driver.kick(TX);
    return this.wire.sent.splice(0);
  }

  /** Posts `count` receive buffers of `size` bytes in `pieces` elements each. */
  post(count: number, size = 1536, pieces = 1, indirect = false): void {
    for (let i = 0; i < count; i++) {
      const at = (this.#place++ % PLACES) * PLACE_BYTES;
      const elements: Element[] = [];
      for (let piece = 0, start = 0; piece < pieces; piece++) {
        const end = Math.floor((size * (piece + 1)) / pieces);
        elements.push({ address: this.receiveMemory.io + at + start, length: end - start, writable: true });
        start = end;
      }
      this.posted.set(this.rx.add(elements, indirect), elements);
    }
    this.driver.kick(RX);
  }

  /** The next packet that the device has stored. */
  take(): ReceivedPacket | null {
    const parts: number[] = [];
    let flags = 0;
    let buffers = 1;
    for (let i = 0; i < buffers; i++) {
      const used = this.rx.take();
      if (used === null) return null;
      const stored = this.#stored(used.token, used.written);
      if (i === 0) {
        flags = stored[0];
        buffers = stored[10] | (stored[11] << 8);
      }
      parts.push(...stored);
    }
    return { bytes: Uint8Array.from(parts.slice(HEADER_BYTES)), flags, buffers };
  }

  receive(frame: Uint8Array): ReceivedPacket | null {
    this.wire.deliver(frame);
    return this.take();
  }

  /** Gives a command. @returns its answer, 255 if there is none */
  control(kind: number, command: number, data: readonly number[] | Uint8Array, index = CONTROL): number {
    const { bytes, io } = this.controlMemory;
    bytes.set([kind, command]);
    bytes.set(data, 2);
    const ack = 2 + data.length;
    bytes[ack] = 255;
    const elements: Element[] = [{ address: io, length: 2, writable: false }];
    if (data.length > 0) elements.push({ address: io + 2, length: data.length, writable: false });
    elements.push({ address: io + ack, length: 1, writable: true });
    this.driver.queues[index].add(elements);
    this.driver.kick(index);
    this.driver.queues[index].take();
    return bytes[ack];
  }

  get rules(): string[] {
    return this.violations.map(({ rule }) => rule);
  }

  #stored(token: number, written: number): number[] {
    const bytes: number[] = [];
    for (const { address, length } of this.posted.get(token) ?? []) {
      const at = address - this.receiveMemory.io;
      bytes.push(...this.receiveMemory.bytes.subarray(at, at + Math.min(length, written - bytes.length)));
    }
    this.posted.delete(token);
    if (bytes.length !== written) throw new Error(`${written} bytes of ${bytes.length} are said to be written`);
    return bytes;
  }
}
