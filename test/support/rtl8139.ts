import type { AccessSize } from "../../src/bus/device.js";
import type { PciSlot } from "../../src/bus/pci-bus.js";
import { Cpcr, Cr, Cr9346, Descriptor, Rcr, Register, Tppoll } from "../../src/devices/rtl8139/registers.js";
import { Rtl8139, Rtl8139Bar, type Rtl8139Options, Rtl8139Revision } from "../../src/devices/rtl8139.js";
import { DmaAccess } from "../../src/memory/pin.js";
import { TestWire } from "./e1000.js";
import { type DmaBuffer, Rig } from "./rig.js";

export const RING = 16;
const BUFFER = 2048;
const RX_BUFFER_BYTES = 32 * 1024;
const WRAP_ROOM = 2048 + 16;
/** Where the parts of the descriptor memory begin. */
const TX_RING = 0x400;
const HIGH_RING = 0x800;
const STATISTICS = 0xc00;

export interface PlusFrame {
  bytes: Uint8Array;
  status: number;
  tag: number;
  pieces: number;
}

/** Drives the model as drivers do, in either mode. */
export class Rtl8139Rig extends Rig {
  readonly wire = new TestWire();
  readonly slot: PciSlot<Rtl8139>;
  readonly nic: Rtl8139;
  readonly rings: DmaBuffer;
  readonly data: DmaBuffer;
  readonly buffers: DmaBuffer;
  readonly rxBuffer: DmaBuffer;
  bufferSize = BUFFER;
  #transmitNext = 0;
  #receiveNext = 0;
  #slotNext = 0;
  #read = 0;

  constructor(options: Partial<Rtl8139Options> = {}) {
    super();
    this.slot = this.pci.plug("rtl8139", (host) => new Rtl8139(host, { wire: this.wire, ...options }));
    this.nic = this.slot.device;
    this.enable(this.slot);
    this.data = this.dmaBuffer(this.slot, 128 * 1024, DmaAccess.both, 32);
    this.rxBuffer = this.dmaBuffer(this.slot, RX_BUFFER_BYTES + WRAP_ROOM, DmaAccess.both, 32);
    this.buffers = this.dmaBuffer(this.slot, RING * 8192);
    this.rings = this.dmaBuffer(this.slot, 4096);
  }

  static c(options: Partial<Rtl8139Options> = {}): Rtl8139Rig {
    return new Rtl8139Rig({ revision: Rtl8139Revision.c, ...options });
  }

  get(register: number, size: AccessSize): number {
    return this.slot.read(Rtl8139Bar.memory, register, size);
  }

  set(register: number, size: AccessSize, value: number): void {
    this.slot.write(Rtl8139Bar.memory, register, size, value >>> 0);
  }

  /** Reads ISR and acknowledges what it shows. */
  causes(): number {
    const causes = this.get(Register.ISR, 2);
    this.set(Register.ISR, 2, causes);
    return causes;
  }

  set64(register: number, address: number): void {
    this.set(register, 4, address % 2 ** 32);
    this.set(register + 4, 4, Math.floor(address / 2 ** 32));
  }

  resetPart(): void {
    this.set(Register.CR, 1, Cr.RST);
    if ((this.get(Register.CR, 1) & Cr.RST) !== 0) throw new Error("the reset does not end");
  }

  unlock(): void {
    this.set(Register.CR9346, 1, Cr9346.CONFIG);
  }

  lock(): void {
    this.set(Register.CR9346, 1, Cr9346.NORMAL);
  }

  /** One word of the 93C46, bit by bit. */
  readEeprom(word: number, addressBits: number): number {
    const drive = (pins: number) => this.set(Register.CR9346, 1, Cr9346.PROGRAM | pins);
    drive(0);
    drive(Cr9346.CS);
    this.#shiftOut((6 << addressBits) | word, 3 + addressBits);
    let value = 0;
    for (let i = 0; i < 16; i++) {
      drive(Cr9346.CS | Cr9346.SK);
      value = (value << 1) | (this.get(Register.CR9346, 1) & Cr9346.DO);
      drive(Cr9346.CS);
    }
    this.lock();
    return value;
  }

  writeEeprom(word: number, value: number): void {
    for (const [command, bits] of [
      [(4 << 6) | 0x30, 9],
      [(((5 << 6) | word) << 16) | value, 25],
      [4 << 6, 9],
    ]) {
      this.set(Register.CR9346, 1, Cr9346.PROGRAM);
      this.set(Register.CR9346, 1, Cr9346.PROGRAM | Cr9346.CS);
      this.#shiftOut(command, bits);
      this.lock();
    }
  }

  #shiftOut(value: number, bits: number): void {
    for (let bit = bits - 1; bit >= 0; bit--) {
      const pins = Cr9346.PROGRAM | Cr9346.CS | (((value >>> bit) & 1) !== 0 ? Cr9346.DI : 0);
      this.set(Register.CR9346, 1, pins);
      this.set(Register.CR9346, 1, pins | Cr9346.SK);
    }
    this.set(Register.CR9346, 1, Cr9346.PROGRAM | Cr9346.CS);
  }

  /** Puts bytes into data memory. @returns their address on the bus */
  place(bytes: Uint8Array, at: number): number {
    this.data.bytes.set(bytes, at);
    return this.data.io + at;
  }

  /** C mode, as the driver for revisions below 0x20 starts it. @param rcr beside the length and WRAP */
  startClassic(rcr = Rcr.AB | Rcr.APM, wrap = Rcr.WRAP): void {
    this.resetPart();
    this.set(Register.RBSTART, 4, this.rxBuffer.io);
    this.set(Register.CR, 1, Cr.RE | Cr.TE);
    this.set(Register.RCR, 4, rcr | wrap | (2 << Rcr.RBLEN_SHIFT));
    this.set(Register.TCR, 4, 0x0300_0680);
    for (let i = 0; i < 4; i++) this.set(Register.TSAD0 + 4 * i, 4, this.data.io + i * BUFFER);
    this.set(Register.IMR, 2, 0x807f);
    this.#slotNext = 0;
    this.#read = 0;
  }

  /** Sends through the next of the four descriptors. @returns its status afterwards */
  sendClassic(frame: Uint8Array): number {
    const slot = this.#slotNext;
    this.place(frame, slot * BUFFER);
    this.set(Register.TSD0 + 4 * slot, 4, 0x0008_0000 | frame.length);
    this.#slotNext = (slot + 1) % 4;
    return this.get(Register.TSD0 + 4 * slot, 4);
  }

  /** The next frame in the ring buffer, without its FCS, or null. */
  takeClassic(advance = true): { bytes: Uint8Array; status: number } | null {
    if ((this.get(Register.CR, 1) & Cr.BUFE) !== 0) return null;
    const at = this.#read % RX_BUFFER_BYTES;
    const header = this.rxBuffer.view.getUint32(at, true);
    const length = header >>> 16;
    const bytes = this.#ringBytes(at + 4, length - 4);
    this.#read = (this.#read + length + 4 + 3) & ~3;
    if (advance) this.releaseClassic();
    return { bytes, status: header & 0xffff };
  }

  releaseClassic(): void {
    this.set(Register.CAPR, 2, (this.#read - 16) & 0xffff);
  }

  #ringBytes(at: number, length: number): Uint8Array {
    const runsOn = (this.get(Register.RCR, 4) & Rcr.WRAP) !== 0;
    return Uint8Array.from({ length }, (_, i) => this.rxBuffer.bytes[runsOn ? at + i : (at + i) % RX_BUFFER_BYTES]);
  }

  /** C+ mode, as the driver for revision 0x20 starts it. @param command beside the switches and DAC */
  startPlus(command = 0, rcr = Rcr.AB | Rcr.APM, bufferSize = BUFFER): void {
    this.bufferSize = bufferSize;
    this.rings.bytes.fill(0);
    for (let i = 0; i < RING; i++) this.postPlus(i);
    this.resetPart();
    this.set(Register.CPCR, 2, command | Cpcr.TX | Cpcr.RX | Cpcr.DAC | Cpcr.MUL_RW);
    this.set64(Register.THPDS, this.rings.io + HIGH_RING);
    this.set64(Register.RDSAR, this.rings.io);
    this.set64(Register.TNPDS, this.rings.io + TX_RING);
    this.set(Register.CR, 1, Cr.RE | Cr.TE);
    this.set(Register.ETTHR, 1, 6);
    this.set(Register.RCR, 4, rcr);
    this.set(Register.TCR, 4, 0x0300_0600);
    this.set(Register.IMR, 2, 0x80ff);
    this.#transmitNext = 0;
    this.#receiveNext = 0;
  }

  postPlus(index: number): void {
    const { view } = this.rings;
    const address = this.buffers.io + index * this.bufferSize;
    view.setUint32(index * 16 + 4, 0, true);
    view.setUint32(index * 16 + 8, address % 2 ** 32, true);
    view.setUint32(index * 16 + 12, Math.floor(address / 2 ** 32), true);
    view.setUint32(index * 16, Descriptor.OWN + (index === RING - 1 ? Descriptor.EOR : 0) + this.bufferSize, true);
  }

  /** The next frame that descriptors show as done, or null; they are posted again. */
  takePlus(): PlusFrame | null {
    const { view } = this.rings;
    const parts: number[] = [];
    let pieces = 0;
    for (;;) {
      const at = this.#receiveNext * 16;
      const status = view.getUint32(at, true);
      if (status >= Descriptor.OWN) return null;
      const last = (status & Descriptor.LS) !== 0;
      const length = status & 0x1fff;
      const size = last ? length - parts.length : length;
      const start = this.#receiveNext * this.bufferSize;
      parts.push(...this.buffers.bytes.subarray(start, start + size));
      const tag = view.getUint32(at + 4, true);
      this.postPlus(this.#receiveNext);
      this.#receiveNext = (this.#receiveNext + 1) % RING;
      pieces++;
      if (last) return { bytes: Uint8Array.from(parts.slice(0, -4)), status, tag, pieces };
    }
  }

  /**
   * Puts a descriptor into a transmit ring.
   * @param command the first word but for OWN and EOR
   * @returns where it lies in {@link rings}
   */
  queuePlus(address: number, command: number, tag = 0, high = false): number {
    const index = this.#transmitNext;
    const at = (high ? HIGH_RING : TX_RING) + index * 16;
    const { view } = this.rings;
    view.setUint32(at + 4, tag, true);
    view.setUint32(at + 8, address % 2 ** 32, true);
    view.setUint32(at + 12, Math.floor(address / 2 ** 32), true);
    view.setUint32(at, Descriptor.OWN + (index === RING - 1 && !high ? Descriptor.EOR : 0) + command, true);
    if (!high) this.#transmitNext = (index + 1) % RING;
    return at;
  }

  kickPlus(poll: number = Tppoll.NPQ): Uint8Array[] {
    this.set(Register.TPPOLL, 1, poll);
    return this.wire.sent.splice(0);
  }

  sendPlus(frame: Uint8Array, options = 0, tag = 0): Uint8Array[] {
    this.queuePlus(this.place(frame, 0), Descriptor.FS + Descriptor.LS + options + frame.length, tag);
    return this.kickPlus();
  }

  /** The tally counters, as software has them dumped. */
  statistics(): DataView {
    const address = this.rings.io + STATISTICS;
    this.set(Register.TSD0 + 4, 4, Math.floor(address / 2 ** 32));
    this.set(Register.TSD0, 4, (address % 2 ** 32) + 8);
    if ((this.get(Register.TSD0, 4) & 8) !== 0) throw new Error("the dump does not end");
    const { bytes } = this.rings;
    return new DataView(bytes.slice(STATISTICS, STATISTICS + 64).buffer);
  }
}
