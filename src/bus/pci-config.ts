import { KorralError } from "../util/errors.js";
import { StateReader } from "../util/state-reader.js";

/** Offsets in the type 0 header (PCI Local Bus Specification 3.0, §6.1). */
export const PciRegister = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revisionId: 0x08,
  classCode: 0x09,
  cacheLineSize: 0x0c,
  latencyTimer: 0x0d,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  expansionRom: 0x30,
  capabilitiesPointer: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
  minGnt: 0x3e,
  maxLat: 0x3f,
} as const;

/** Capability identifiers (PCI 3.0, appendix H). */
export const PciCapability = { powerManagement: 0x01, msi: 0x05, pciExpress: 0x10, msix: 0x11 } as const;

/** Command register bits (§6.2.2). */
export const PciCommand = {
  ioSpace: 1 << 0,
  memorySpace: 1 << 1,
  busMaster: 1 << 2,
  interruptDisable: 1 << 10,
} as const;

/** Status register bits (§6.2.3). */
export const PciStatus = { interrupt: 1 << 3, capabilities: 1 << 4, receivedMasterAbort: 1 << 13 } as const;

const COMMAND_WRITABLE = 0x0547;
const BARS = 6;
const LARGEST_BAR = 2 ** 31;
/** Error bits that software clears by writing ones. */
const STATUS_WRITE_ONE_CLEARS = 0xf900;
const FIRST_CAPABILITY = 0x40;
const CONFIG_BYTES = 256;

export interface PciIdentity {
  vendorId: number;
  deviceId: number;
  /** 24 bits: base class, sub-class, interface. */
  classCode: number;
  revision?: number;
  subsystemVendorId?: number;
  subsystemId?: number;
  /** 1…4 for INTA…INTD; 0: the device has no INTx. */
  interruptPin?: 0 | 1 | 2 | 3 | 4;
  minGnt?: number;
  maxLat?: number;
}

export type BarKind = "io" | "memory32" | "memory64";

export interface Bar {
  readonly index: number;
  readonly kind: BarKind;
  /** Bytes; a power of two. */
  readonly size: number;
  readonly prefetchable: boolean;
}

/** Plain-state twin of a configuration space. */
export interface PciConfigState {
  bytes: number[];
}

/**
 * A PCI function's configuration space: the type 0 header with BAR sizing, and a chain of capabilities in the order in
 * which they were added. Reads and writes of 1, 2 or 4 bytes at any offset; bits that are not writable keep their value.
 */
export class PciConfigSpace {
  readonly bars: (Bar | undefined)[] = [];
  /** Runs after any write, with the bytes that it covered; after a reset or restore with all of them. */
  onWrite: ((offset: number, size: number) => void) | null = null;
  readonly #bytes = new Uint8Array(CONFIG_BYTES);
  readonly #writable = new Uint8Array(CONFIG_BYTES);
  readonly #clearable = new Uint8Array(CONFIG_BYTES);
  readonly #initial = new Uint8Array(CONFIG_BYTES);
  #lastCapability = 0;
  #nextFree = FIRST_CAPABILITY;
  #powerManagement = 0;

  constructor(readonly identity: PciIdentity) {
    this.#set16(PciRegister.vendorId, identity.vendorId);
    this.#set16(PciRegister.deviceId, identity.deviceId);
    this.#bytes[PciRegister.revisionId] = identity.revision ?? 0;
    this.#bytes[PciRegister.classCode] = identity.classCode & 0xff;
    this.#set16(PciRegister.classCode + 1, identity.classCode >>> 8);
    this.#set16(PciRegister.subsystemVendorId, identity.subsystemVendorId ?? 0);
    this.#set16(PciRegister.subsystemId, identity.subsystemId ?? 0);
    this.#bytes[PciRegister.interruptPin] = identity.interruptPin ?? 0;
    this.#bytes[PciRegister.minGnt] = identity.minGnt ?? 0;
    this.#bytes[PciRegister.maxLat] = identity.maxLat ?? 0;
    const commandBits =
      (identity.interruptPin ?? 0) === 0 ? COMMAND_WRITABLE & ~PciCommand.interruptDisable : COMMAND_WRITABLE;
    this.makeWritable(PciRegister.command, commandBits, 2);
    this.#clearable[PciRegister.status + 1] = STATUS_WRITE_ONE_CLEARS >>> 8;
    this.makeWritable(PciRegister.cacheLineSize, 0xff, 1);
    this.makeWritable(PciRegister.latencyTimer, 0xff, 1);
    this.makeWritable(PciRegister.interruptLine, 0xff, 1);
    this.#initial.set(this.#bytes);
  }

  /** Declares a base address register (§6.2.5.1). Call before the device is used. */
  addBar(index: number, kind: BarKind, size: number, prefetchable = false): Bar {
    const least = kind === "io" ? 4 : 16;
    if (!(size >= least && size <= LARGEST_BAR && Number.isInteger(Math.log2(size))))
      throw new KorralError("bar-size", `a BAR of ${size} bytes is not possible`);
    if (!(index >= 0 && index + (kind === "memory64" ? 1 : 0) < BARS))
      throw new KorralError("bar-index", `there is no room for a ${kind} BAR ${index}: a function has ${BARS}`);
    const bar: Bar = { index, kind, size, prefetchable };
    this.bars[index] = bar;
    const at = PciRegister.bar0 + 4 * index;
    const type = kind === "io" ? 1 : (kind === "memory64" ? 4 : 0) | (prefetchable ? 8 : 0);
    this.#bytes[at] = type;
    this.#initial[at] = type;
    this.makeWritable(at, ~(size - 1) >>> 0, 4);
    if (kind === "memory64") this.makeWritable(at + 4, 0xffff_ffff, 4);
    return bar;
  }

  /**
   * Appends a capability (§6.7).
   * @param length bytes, with the two of the header
   * @returns its offset; fill it with {@link preset} and {@link makeWritable}
   */
  addCapability(id: number, length: number): number {
    return this.addCapabilityAt(id, this.#nextFree, length);
  }

  /** The same at an offset that the data sheet prescribes. */
  addCapabilityAt(id: number, offset: number, length: number): number {
    if (offset + length > CONFIG_BYTES) throw new KorralError("capability-space", "no room for another PCI capability");
    this.#nextFree = Math.max(this.#nextFree, (offset + length + 3) & ~3);
    this.preset(offset, id, 1);
    if (this.#lastCapability === 0) {
      this.preset(PciRegister.capabilitiesPointer, offset, 1);
      this.preset(PciRegister.status, PciStatus.capabilities, 2);
    } else {
      this.preset(this.#lastCapability + 1, offset, 1);
    }
    this.#lastCapability = offset;
    return offset;
  }

  /** Power management capability (PCI PM 1.2, §3.2): D0 and D3hot, no PME. */
  addPowerManagement(offset = this.#nextFree): number {
    const at = this.addCapabilityAt(PciCapability.powerManagement, offset, 8);
    this.preset(at + 2, 0x0003, 2);
    this.preset(at + 4, 0x0008, 2);
    this.makeWritable(at + 4, 0x0003, 2);
    this.#powerManagement = at;
    return at;
  }

  /** 0 (D0) to 3 (D3hot). */
  get powerState(): number {
    return this.#powerManagement === 0 ? 0 : this.#bytes[this.#powerManagement + 4] & 3;
  }

  get command(): number {
    return this.#get16(PciRegister.command);
  }

  /** Sets what a reset will set again, whether writable or not. */
  preset(offset: number, value: number, size: 1 | 2 | 4): void {
    this.poke(offset, value, size);
    for (let i = 0; i < size; i++) this.#initial[offset + i] = this.#bytes[offset + i];
  }

  makeWritable(offset: number, mask: number, size: 1 | 2 | 4): void {
    for (let i = 0; i < size; i++) this.#writable[offset + i] = (mask >>> (8 * i)) & 0xff;
  }

  /** The device's own write: not masked. */
  poke(offset: number, value: number, size: 1 | 2 | 4): void {
    for (let i = 0; i < size; i++) this.#bytes[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  setStatus(bit: number, on: boolean): void {
    const status = this.#get16(PciRegister.status);
    this.#set16(PciRegister.status, on ? status | bit : status & ~bit);
  }

  /** @returns unsigned; what lies outside the 256 bytes reads as ones */
  read(offset: number, size: 1 | 2 | 4): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--)
      value = value * 256 + (offset + i < CONFIG_BYTES ? this.#bytes[offset + i] : 0xff);
    return value;
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < size && offset + i < CONFIG_BYTES; i++) {
      const at = offset + i;
      const byte = (value >>> (8 * i)) & 0xff;
      const kept = this.#bytes[at] & ~this.#writable[at] & ~(byte & this.#clearable[at]);
      this.#bytes[at] = kept | (byte & this.#writable[at]);
    }
    this.onWrite?.(offset, size);
  }

  /** @returns the address that software gave to a BAR (0 before it did) */
  barAddress(index: number): number {
    const bar = this.bars[index];
    if (bar === undefined) return 0;
    const low = this.read(PciRegister.bar0 + 4 * index, 4);
    if (bar.kind === "io") return (low & ~3) >>> 0;
    const high = bar.kind === "memory64" ? this.read(PciRegister.bar0 + 4 * index + 4, 4) : 0;
    return high * 2 ** 32 + ((low & ~15) >>> 0);
  }

  /** Back to the state after power-on. */
  reset(): void {
    this.#bytes.set(this.#initial);
    this.onWrite?.(0, CONFIG_BYTES);
  }

  snapshot(): PciConfigState {
    return { bytes: [...this.#bytes] };
  }

  /** @throws InputError */
  restore(state: unknown): void {
    const reader = new StateReader("PCI configuration space", state);
    this.#bytes.set(reader.numbers("bytes", CONFIG_BYTES, CONFIG_BYTES, 0xff));
    this.onWrite?.(0, CONFIG_BYTES);
  }

  #get16(offset: number): number {
    return this.#bytes[offset] | (this.#bytes[offset + 1] << 8);
  }

  #set16(offset: number, value: number): void {
    this.#bytes[offset] = value & 0xff;
    this.#bytes[offset + 1] = (value >>> 8) & 0xff;
  }
}
