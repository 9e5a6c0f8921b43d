import type { AccessSize } from "../../bus/device.js";
import { PciConfigSpace, type PciIdentity } from "../../bus/pci-config.js";

/** Types of structure that a virtio vendor capability describes (VIRTIO 1.2, §4.1.4). */
export const StructureType = {
  COMMON_CFG: 1,
  NOTIFY_CFG: 2,
  ISR_CFG: 3,
  DEVICE_CFG: 4,
  PCI_CFG: 5,
} as const;

const VENDOR_SPECIFIC = 0x09;
/** struct virtio_pci_cap. */
const Field = { length: 2, type: 3, bar: 4, offset: 8, structureLength: 12, extra: 16 } as const;
const CAPABILITY_BYTES = 16;
const DATA_BYTES = 4;

/** What the window of {@link StructureType.PCI_CFG} gives access to. */
export interface BarAccess {
  /** Bytes in a BAR; 0: not there. */
  barBytes(bar: number): number;
  read(bar: number, offset: number, size: AccessSize): number;
  write(bar: number, offset: number, size: AccessSize, value: number): void;
  violation(rule: string, message: string): void;
}

/** Configuration space of a virtio device: vendor capabilities, and the way to the BARs through pci_cfg_data (§4.1.4.9). */
export class VirtioConfigSpace extends PciConfigSpace {
  readonly #access: BarAccess;
  #window = 0;

  constructor(identity: PciIdentity, access: BarAccess) {
    super(identity);
    this.#access = access;
  }

  /** Says where a structure lies. @param extra the dword behind the capability, if its type has one */
  addStructure(type: number, bar: number, offset: number, length: number, extra?: number): number {
    const bytes = CAPABILITY_BYTES + (extra === undefined ? 0 : 4);
    const at = this.addCapability(VENDOR_SPECIFIC, bytes);
    this.preset(at + Field.length, bytes, 1);
    this.preset(at + Field.type, type, 1);
    this.preset(at + Field.bar, bar, 1);
    this.preset(at + Field.offset, offset, 4);
    this.preset(at + Field.structureLength, length, 4);
    if (extra !== undefined) this.preset(at + Field.extra, extra, 4);
    return at;
  }

  /** Appends the capability by which BARs are reached from here. */
  addWindow(): void {
    const at = this.addStructure(StructureType.PCI_CFG, 0, 0, 0, 0);
    this.makeWritable(at + Field.bar, 0xff, 1);
    this.makeWritable(at + Field.offset, 0xffff_ffff, 4);
    this.makeWritable(at + Field.structureLength, 0xffff_ffff, 4);
    this.makeWritable(at + Field.extra, 0xffff_ffff, 4);
    this.#window = at;
  }

  override read(offset: number, size: 1 | 2 | 4): number {
    if (this.#isData(offset, size)) {
      const target = this.#target();
      if (target !== null) {
        const value = this.#access.read(target.bar, target.offset, target.size);
        this.poke(this.#window + Field.extra, value, target.size);
      }
    }
    return super.read(offset, size);
  }

  /** The owner calls this after writes: one to the data goes on to where the window is. */
  written(offset: number, size: number): void {
    if (size > DATA_BYTES || !this.#isData(offset, size)) return;
    const target = this.#target();
    if (target === null) {
      this.#access.violation("virtio-window", "pci_cfg_data was written, but bar, offset and length address nothing");
      return;
    }
    const value = super.read(this.#window + Field.extra, target.size);
    this.#access.write(target.bar, target.offset, target.size, value);
  }

  #isData(offset: number, size: number): boolean {
    const data = this.#window + Field.extra;
    return this.#window !== 0 && offset < data + DATA_BYTES && offset + size > data;
  }

  #target(): { bar: number; offset: number; size: AccessSize } | null {
    const bar = super.read(this.#window + Field.bar, 1);
    const offset = super.read(this.#window + Field.offset, 4);
    const size = super.read(this.#window + Field.structureLength, 4);
    if ((size !== 1 && size !== 2 && size !== 4) || offset % size !== 0) return null;
    return offset + size <= this.#access.barBytes(bar) ? { bar, offset, size } : null;
  }
}
