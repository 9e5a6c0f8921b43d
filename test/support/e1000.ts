import type { PciSlot } from "../../src/bus/pci-bus.js";
import { Ctrl, Rctl, Register, Tctl } from "../../src/devices/i82540em/registers.js";
import { I82540em, I82540emBar, type I82540emOptions } from "../../src/devices/i82540em.js";
import type { FrameListener, Wire } from "../../src/devices/wire.js";
import { type DmaBuffer, Rig } from "./rig.js";

/** A far side that keeps what it gets. */
export class TestWire implements Wire {
  readonly sent: Uint8Array[] = [];
  carrier = true;
  #frame: FrameListener = () => {};
  #carrier: (up: boolean) => void = () => {};

  onFrame(listener: FrameListener): void {
    this.#frame = listener;
  }

  onCarrier(listener: (up: boolean) => void): void {
    this.#carrier = listener;
  }

  send(bytes: Uint8Array, offset: number, length: number): void {
    this.sent.push(bytes.slice(offset, offset + length));
  }

  deliver(frame: Uint8Array): void {
    // Somewhere inside a bigger buffer, as real far sides do.
    const lent = new Uint8Array(frame.length + 13);
    lent.set(frame, 7);
    this.#frame(lent.subarray(3), 4, frame.length);
  }

  setCarrier(up: boolean): void {
    this.carrier = up;
    this.#carrier(up);
  }
}

export interface Received {
  bytes: Uint8Array;
  /** Lengths of its descriptors. */
  pieces: number[];
  status: number;
  errors: number;
  checksum: number;
  special: number;
}

export interface TxDescriptor {
  address: number;
  /** Length, command and type. */
  command: number;
  /** Status, options or checksum start, special. */
  upper?: number;
}

/** Drives the model as a driver does: register by register, descriptor by descriptor. */
export class E1000Rig extends Rig {
  readonly wire = new TestWire();
  readonly slot: PciSlot<I82540em>;
  readonly nic: I82540em;
  readonly tx: DmaBuffer;
  readonly rx: DmaBuffer;
  readonly data: DmaBuffer;
  readonly buffers: DmaBuffer;
  txTail = 0;
  rxNext = 0;
  bufferSize = 2048;

  constructor(
    options: Partial<I82540emOptions> = {},
    readonly txCount = 64,
    readonly rxCount = 64,
  ) {
    super();
    this.slot = this.pci.plug("e1000", (host) => new I82540em(host, { wire: this.wire, ...options }));
    this.nic = this.slot.device;
    this.enable(this.slot);
    this.data = this.dmaBuffer(this.slot, 256 * 1024);
    this.buffers = this.dmaBuffer(this.slot, 128 * 16 * 1024);
    this.tx = this.dmaBuffer(this.slot, Math.max(4096, txCount * 16));
    this.rx = this.dmaBuffer(this.slot, Math.max(4096, rxCount * 16));
  }

  get(word: number): number {
    return this.slot.read(I82540emBar.memory, word * 4, 4);
  }

  set(word: number, value: number): void {
    this.slot.write(I82540emBar.memory, word * 4, 4, value >>> 0);
  }

  linkUp(extra = 0): void {
    this.set(Register.CTRL, Ctrl.FD | Ctrl.SLU | extra);
  }

  startTransmitter(): void {
    this.set(Register.TDBAL, this.tx.io % 2 ** 32);
    this.set(Register.TDBAH, Math.floor(this.tx.io / 2 ** 32));
    this.set(Register.TDLEN, this.txCount * 16);
    this.set(Register.TDH, 0);
    this.set(Register.TDT, 0);
    this.txTail = 0;
    this.set(Register.TCTL, Tctl.EN | Tctl.PSP);
  }

  /** @param rctl beside EN */
  startReceiver(rctl: number, bufferSize = 2048, posted = this.rxCount - 1): void {
    this.bufferSize = bufferSize;
    for (let i = 0; i < this.rxCount; i++) this.postReceive(i);
    this.set(Register.RDBAL, this.rx.io % 2 ** 32);
    this.set(Register.RDBAH, Math.floor(this.rx.io / 2 ** 32));
    this.set(Register.RDLEN, this.rxCount * 16);
    this.set(Register.RDH, 0);
    this.set(Register.RDT, posted);
    this.rxNext = 0;
    this.set(Register.RCTL, rctl | Rctl.EN);
  }

  postReceive(index: number): void {
    const address = this.buffers.io + index * this.bufferSize;
    this.rx.view.setUint32(index * 16, address % 2 ** 32, true);
    this.rx.view.setUint32(index * 16 + 4, Math.floor(address / 2 ** 32), true);
    this.rx.view.setUint32(index * 16 + 8, 0, true);
    this.rx.view.setUint32(index * 16 + 12, 0, true);
  }

  /** The next frame that the ring shows as done, or null; its descriptors are posted again in memory, not by RDT. */
  takeReceived(): Received | null {
    const { view } = this.rx;
    const pieces: number[] = [];
    const parts: number[] = [];
    const used: number[] = [];
    let next = this.rxNext;
    for (;;) {
      const status = view.getUint8(next * 16 + 12);
      if ((status & 1) === 0) return null;
      const length = view.getUint16(next * 16 + 8, true);
      const start = next * this.bufferSize;
      pieces.push(length);
      parts.push(...this.buffers.bytes.subarray(start, start + length));
      const checksum = view.getUint16(next * 16 + 10, true);
      const errors = view.getUint8(next * 16 + 13);
      const special = view.getUint16(next * 16 + 14, true);
      used.push(next);
      next = (next + 1) % this.rxCount;
      if ((status & 2) === 0) continue;
      for (const index of used) this.postReceive(index);
      this.rxNext = next;
      return { bytes: Uint8Array.from(parts), pieces, status, errors, checksum, special };
    }
  }

  receive(frame: Uint8Array): Received | null {
    this.wire.deliver(frame);
    return this.takeReceived();
  }

  /** Puts bytes into data memory. @returns their address on the bus */
  place(bytes: Uint8Array, at: number): number {
    this.data.bytes.set(bytes, at);
    return this.data.io + at;
  }

  queue(...descriptors: TxDescriptor[]): void {
    for (const { address, command, upper } of descriptors) {
      const at = this.txTail * 16;
      this.tx.view.setUint32(at, address % 2 ** 32, true);
      this.tx.view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
      this.tx.view.setUint32(at + 8, command >>> 0, true);
      this.tx.view.setUint32(at + 12, (upper ?? 0) >>> 0, true);
      this.txTail = (this.txTail + 1) % this.txCount;
    }
  }

  /** Hands over what was queued, and takes what the wire got. */
  kick(): Uint8Array[] {
    this.set(Register.TDT, this.txTail);
    return this.wire.sent.splice(0);
  }

  txStatus(index: number): number {
    return this.tx.view.getUint8(index * 16 + 12);
  }

  readPhy(register: number): number {
    this.set(Register.MDIC, (2 << 26) | (1 << 21) | (register << 16));
    return this.get(Register.MDIC) & 0xffff;
  }

  writePhy(register: number, value: number): void {
    this.set(Register.MDIC, (1 << 26) | (1 << 21) | (register << 16) | value);
  }
}

export const STATION = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56);
export const PEER = Uint8Array.of(0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc);
export const BROADCAST = new Uint8Array(6).fill(0xff);

/** A frame whose payload counts up from `seed`. */
export function ethernet(destination: Uint8Array, type: number, payloadLength: number, seed = 1): Uint8Array {
  const frame = new Uint8Array(14 + payloadLength);
  frame.set(destination);
  frame.set(PEER, 6);
  frame[12] = type >>> 8;
  frame[13] = type & 0xff;
  for (let i = 14; i < frame.length; i++) frame[i] = (seed + i * 31) & 0xff;
  return frame;
}

/** The Internet checksum the slow way, byte pair by byte pair. */
export function internetChecksum(...parts: Uint8Array[]): number {
  const bytes = parts.flatMap((part) => [...part]);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i] * 256 + (i + 1 < bytes.length ? bytes[i + 1] : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

export interface IpOptions {
  version: 4 | 6;
  protocol: 6 | 17;
  payload: Uint8Array;
  /** TCP flags. */
  flags?: number;
  identification?: number;
  sequence?: number;
  /** Bytes of IPv4 options, a multiple of 4. */
  options?: number;
  destination?: Uint8Array;
  vlan?: number;
  /** Fragment offset and flags. */
  fragment?: number;
}

const put16 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = (value >>> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
};

/** A complete TCP or UDP frame with right checksums, computed independently of the model. */
export function ipFrame(options: IpOptions): Uint8Array {
  const { version, protocol, payload } = options;
  const link = options.vlan === undefined ? 14 : 18;
  const ipLength = version === 4 ? 20 + (options.options ?? 0) : 40;
  const transportLength = protocol === 6 ? 20 : 8;
  const frame = new Uint8Array(link + ipLength + transportLength + payload.length);
  frame.set(options.destination ?? STATION);
  frame.set(PEER, 6);
  if (options.vlan !== undefined) {
    put16(frame, 12, 0x8100);
    put16(frame, 14, options.vlan);
  }
  put16(frame, link - 2, version === 4 ? 0x0800 : 0x86dd);
  const ip = frame.subarray(link);
  const addresses = version === 4 ? 8 : 32;
  const addressAt = version === 4 ? 12 : 8;
  for (let i = 0; i < addresses; i++) ip[addressAt + i] = 10 + i * 7;
  const below = transportLength + payload.length;
  if (version === 4) {
    ip[0] = 0x40 | (ipLength / 4);
    put16(ip, 2, ipLength + below);
    put16(ip, 4, options.identification ?? 0x1234);
    put16(ip, 6, options.fragment ?? 0x4000);
    ip[8] = 64;
    ip[9] = protocol;
    for (let i = 20; i < ipLength; i++) ip[i] = 1;
    put16(ip, 10, internetChecksum(ip.subarray(0, ipLength)));
  } else {
    ip[0] = 0x60;
    put16(ip, 4, below);
    ip[6] = protocol;
    ip[7] = 64;
  }
  const transport = ip.subarray(ipLength);
  put16(transport, 0, 1000);
  put16(transport, 2, 2000);
  if (protocol === 6) {
    const sequence = options.sequence ?? 1;
    put16(transport, 4, sequence >>> 16);
    put16(transport, 6, sequence & 0xffff);
    transport[12] = 0x50;
    transport[13] = options.flags ?? 0x10;
    put16(transport, 14, 0x2000);
  } else {
    put16(transport, 4, below);
  }
  transport.set(payload, transportLength);
  const pseudo = Uint8Array.of(
    ...ip.subarray(addressAt, addressAt + addresses),
    0,
    protocol,
    below >>> 8,
    below & 0xff,
  );
  const sum = internetChecksum(pseudo, transport);
  put16(transport, protocol === 6 ? 16 : 6, sum === 0 && protocol === 17 ? 0xffff : sum);
  return frame;
}

export const counting = (length: number, seed = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (seed + i * 13 + (i >> 7)) & 0xff);
