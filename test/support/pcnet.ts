import type { PciSlot } from "../../src/bus/pci-bus.js";
import { Bcr, Csr, Csr0 } from "../../src/devices/pcnet/registers.js";
import { Pcnet, PcnetBar, type PcnetOptions } from "../../src/devices/pcnet.js";
import { DmaAccess } from "../../src/memory/pin.js";
import { TestWire } from "./e1000.js";
import { type DmaBuffer, Rig } from "./rig.js";

export const RING = 16;
const LENGTH_CODE = 4;
const OWN = 0x8000;
const RX_RING = 0x400;
const TX_RING = 0x800;

/** A far side that may hold the medium. */
export class BusyWire extends TestWire {
  busy = false;
}

export interface PcnetFrame {
  bytes: Uint8Array;
  /** Status of the last descriptor. */
  status: number;
  pieces: number;
}

/** Drives the model as drivers do, in either software style. */
export class PcnetRig extends Rig {
  readonly wire = new BusyWire();
  readonly slot: PciSlot<Pcnet>;
  readonly nic: Pcnet;
  readonly shared: DmaBuffer;
  readonly data: DmaBuffer;
  readonly buffers: DmaBuffer;
  bufferSize = 2048;
  dwio = false;
  #style = 2;
  #transmitNext = 0;
  #receiveNext = 0;

  constructor(options: Partial<PcnetOptions> = {}) {
    super();
    this.slot = this.pci.plug("pcnet", (host) => new Pcnet(host, { wire: this.wire, ...options }));
    this.nic = this.slot.device;
    this.enable(this.slot);
    this.shared = this.dmaBuffer(this.slot, 4096, DmaAccess.both, 24);
    this.data = this.dmaBuffer(this.slot, 32 * 1024, DmaAccess.both, 24);
    this.buffers = this.dmaBuffer(this.slot, RING * 4096, DmaAccess.both, 24);
  }

  #select(register: number): void {
    if (this.dwio) this.slot.write(PcnetBar.io, 0x14, 4, register);
    else this.slot.write(PcnetBar.io, 0x12, 2, register);
  }

  csr(register: number): number {
    this.#select(register);
    return this.dwio ? this.slot.read(PcnetBar.io, 0x10, 4) : this.slot.read(PcnetBar.io, 0x10, 2);
  }

  setCsr(register: number, value: number): void {
    this.#select(register);
    this.slot.write(PcnetBar.io, 0x10, this.dwio ? 4 : 2, value & 0xffff);
  }

  bcr(register: number): number {
    this.#select(register);
    return this.dwio ? this.slot.read(PcnetBar.io, 0x1c, 4) : this.slot.read(PcnetBar.io, 0x16, 2);
  }

  setBcr(register: number, value: number): void {
    this.#select(register);
    this.slot.write(PcnetBar.io, this.dwio ? 0x1c : 0x16, this.dwio ? 4 : 2, value & 0xffff);
  }

  resetPart(): void {
    this.slot.read(PcnetBar.io, this.dwio ? 0x18 : 0x14, this.dwio ? 4 : 2);
  }

  /** Reads CSR0 and acknowledges what it shows; interrupts stay enabled. */
  causes(): number {
    const status = this.csr(Csr.STATUS);
    this.setCsr(Csr.STATUS, (status & 0x7f00) | Csr0.IENA);
    return status & 0xff00;
  }

  /** As the driver opens the part: reset, style, initialization block, start. */
  start({ style = 2, mode = 0x80, filter = [0, 0, 0, 0], bufferSize = 2048, test = 0x0915, go = true } = {}): void {
    this.#style = style;
    this.bufferSize = bufferSize;
    this.resetPart();
    this.setBcr(Bcr.SWS, style);
    this.shared.bytes.fill(0);
    for (let i = 0; i < RING; i++) this.post(i);
    const { view, io } = this.shared;
    const wide = style !== 0;
    view.setUint16(0, mode, true);
    if (wide) view.setUint16(2, (LENGTH_CODE << 12) | (LENGTH_CODE << 4), true);
    const address = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
    this.shared.bytes.set(address, wide ? 4 : 2);
    filter.forEach((word, i) => {
      view.setUint16((wide ? 12 : 8) + 2 * i, word, true);
    });
    const code = wide ? 0 : LENGTH_CODE * 2 ** 29;
    view.setUint32(wide ? 20 : 16, io + RX_RING + code, true);
    view.setUint32(wide ? 24 : 20, io + TX_RING + code, true);
    this.setCsr(Csr.IADR_LOW, io & 0xffff);
    this.setCsr(Csr.IADR_HIGH, Math.floor(io / 0x1_0000));
    this.setCsr(Csr.TEST, test);
    this.setCsr(Csr.STATUS, Csr0.INIT);
    if ((this.csr(Csr.STATUS) & Csr0.IDON) === 0) throw new Error("the initialization does not end");
    this.#transmitNext = 0;
    this.#receiveNext = 0;
    if (!go) return;
    this.setCsr(Csr.STATUS, Csr0.IDON | Csr0.STRT | Csr0.IENA);
  }

  #descriptor(ring: number, index: number): number {
    return ring + index * (this.#style === 0 ? 8 : 16);
  }

  #write(at: number, address: number, count: number, status: number, detail: number): void {
    const { view } = this.shared;
    const bytes = -count & 0xffff;
    if (this.#style === 0) {
      view.setUint32(at, (address & 0xff_ffff) + (status >>> 8) * 2 ** 24, true);
      view.setUint32(at + 4, bytes, true);
      return;
    }
    const [first, third] = this.#style === 3 ? [detail, address] : [address, detail];
    view.setUint32(at, first, true);
    view.setUint32(at + 8, third, true);
    view.setUint32(at + 4, bytes + status * 0x1_0000, true);
  }

  post(index: number): void {
    const at = this.#descriptor(RX_RING, index);
    this.#write(at, this.buffers.io + index * this.bufferSize, this.bufferSize, OWN, 0);
  }

  /** Status and third word of a descriptor. */
  status(ring: "rx" | "tx", index: number): { status: number; detail: number } {
    const at = this.#descriptor(ring === "rx" ? RX_RING : TX_RING, index);
    const { view } = this.shared;
    if (this.#style === 0) {
      return { status: view.getUint8(at + 3) << 8, detail: view.getUint16(at + 6, true) * 0x1_0000 };
    }
    return { status: view.getUint16(at + 6, true), detail: view.getUint32(at + (this.#style === 3 ? 0 : 8), true) };
  }

  /** The next frame that the ring shows as done, without its FCS, or null; its descriptors are posted again. */
  take(fcs = 4): PcnetFrame | null {
    const parts: number[] = [];
    for (let pieces = 1; ; pieces++) {
      const index = this.#receiveNext;
      const { status, detail } = this.status("rx", index);
      if ((status & OWN) !== 0) return null;
      const ends = (status & 0x100) !== 0;
      const total = (this.#style === 0 ? detail / 0x1_0000 : detail) & 0xfff;
      const size = ends ? total - parts.length : this.bufferSize;
      const start = index * this.bufferSize;
      parts.push(...this.buffers.bytes.subarray(start, start + size));
      this.post(index);
      this.#receiveNext = (index + 1) % RING;
      if (ends || (status & 0x4000) !== 0) {
        return { bytes: Uint8Array.from(parts.slice(0, parts.length - (ends ? fcs : 0))), status, pieces };
      }
    }
  }

  place(bytes: Uint8Array, at: number): number {
    this.data.bytes.set(bytes, at);
    return this.data.io + at;
  }

  /** @param flags beside OWN @returns the descriptor's index */
  queue(address: number, count: number, flags = 0x0300): number {
    const index = this.#transmitNext;
    this.#write(this.#descriptor(TX_RING, index), address, count, OWN | flags, 0);
    this.#transmitNext = (index + 1) % RING;
    return index;
  }

  kick(): Uint8Array[] {
    this.setCsr(Csr.STATUS, Csr0.IENA | Csr0.TDMD);
    return this.wire.sent.splice(0);
  }

  send(frame: Uint8Array, flags = 0x0300): Uint8Array[] {
    this.queue(this.place(frame, 0), frame.length, flags);
    return this.kick();
  }
}
