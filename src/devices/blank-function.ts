import type { AccessSize, DeviceHost, PciDevice } from "../bus/device.js";
import { ones } from "../bus/device.js";
import {
  type BarKind,
  PciCapability,
  PciConfigSpace,
  type PciConfigState,
  type PciIdentity,
} from "../bus/pci-config.js";
import { Msi } from "../bus/pci-msi.js";
import { MsiX, type MsiXState } from "../bus/pci-msix.js";
import { StateReader } from "../util/state-reader.js";

/** What all of its registers read as. */
export type BlankFill = "zeroes" | "ones";

/**
 * What its BARs are, from the first on. All have one of each kind, but for `memory64`, which is like most adapters of
 * today.
 */
export type BlankLayout = "memory" | "ports" | "memory64";

export interface BlankFunctionOptions {
  readonly identity: PciIdentity;
  readonly fill: BlankFill;
  /** Default: memory. */
  readonly layout?: BlankLayout;
}

const MEMORY_BYTES = 0x10_0000;
const PORT_BYTES = 0x100;
const VECTORS = 8;
const LAYOUTS: Readonly<Record<BlankLayout, readonly (readonly [bar: number, kind: BarKind])[]>> = {
  memory: [
    [0, "memory32"],
    [1, "io"],
    [2, "memory64"],
    [4, "io"],
    [5, "memory32"],
  ],
  ports: [
    [0, "io"],
    [1, "memory32"],
    [2, "memory64"],
    [4, "io"],
    [5, "memory32"],
  ],
  memory64: [
    [0, "memory64"],
    [2, "memory64"],
    [4, "memory64"],
  ],
};
/** The table of vectors, at the end of a 64-bit BAR. */
const TABLE_BAR = 2;
const TABLE = MEMORY_BYTES - 0x2000;
const PENDING = MEMORY_BYTES - 0x1000;
const EXPRESS_BYTES = 0x3c;
/** Capability version 2, root complex integrated endpoint (PCI Express 3.0, §7.8.2). */
const EXPRESS = (9 << 4) | 2;

/** Plain-state twin. */
interface BlankFunctionState {
  config: PciConfigState;
  msix: MsiXState;
}

/**
 * A PCI function that says it is whatever it was told to be, has a BAR of every kind and the usual capabilities, and does
 * nothing: its registers read as all zeroes, or all ones, whatever is written to them, and it never interrupts.
 */
export class BlankFunction implements PciDevice {
  readonly model = "blank";
  readonly config: PciConfigSpace;
  readonly #msix: MsiX;
  readonly #isOnes: boolean;

  constructor(host: DeviceHost, { identity, fill, layout = "memory" }: BlankFunctionOptions) {
    this.#isOnes = fill === "ones";
    this.config = new PciConfigSpace({ interruptPin: 1, ...identity });
    for (const [bar, kind] of LAYOUTS[layout]) this.config.addBar(bar, kind, kind === "io" ? PORT_BYTES : MEMORY_BYTES);
    const power = this.config.addPowerManagement();
    new Msi(host, this.config, power + 8);
    const express = this.config.addCapability(PciCapability.pciExpress, EXPRESS_BYTES);
    this.config.preset(express + 2, EXPRESS, 2);
    this.#msix = new MsiX(host, this.config, VECTORS, { bar: TABLE_BAR, table: TABLE, pending: PENDING });
    this.config.onWrite = () => this.#msix.configWritten();
  }

  read(bar: number, offset: number, size: AccessSize): number {
    if (bar === TABLE_BAR && offset >= PENDING) return this.#msix.readPending(offset - PENDING, size);
    if (bar === TABLE_BAR && offset >= TABLE) return this.#msix.readTable(offset - TABLE, size);
    return this.#isOnes ? ones(size) : 0;
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    if (bar === TABLE_BAR && offset >= TABLE && offset < PENDING) this.#msix.writeTable(offset - TABLE, size, value);
  }

  reset(): void {
    this.config.reset();
    this.#msix.reset();
  }

  snapshot(): BlankFunctionState {
    return { config: this.config.snapshot(), msix: this.#msix.snapshot() };
  }

  restore(state: unknown): void {
    const reader = new StateReader("blank function", state);
    const { table, pending } = this.#msix.snapshot();
    const msix = reader.child("msix");
    this.#msix.restore({
      table: msix.numbers("table", table.length, table.length, 0xffff_ffff),
      pending: msix.numbers("pending", pending.length, pending.length, 0xffff_ffff),
    });
    this.config.restore({ bytes: reader.child("config").numbers("bytes", 256, 256, 0xff) });
  }
}
