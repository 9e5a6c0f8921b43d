import { type InterruptController, type InterruptLine, MESSAGE_WINDOW } from "../bus/interrupts.js";
import { PciCapability, PciRegister } from "../bus/pci-config.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import type { Interrupts } from "./interrupts.js";
import type { PciBridge, PciFunction } from "./pci.js";

/** Numbers of message interrupts, above those of wires. */
const FIRST_MESSAGE_IRQ = 64;
const MSI_ENABLE = 1;
const MSI_64_BIT = 0x80;
const MSIX_ENABLE = 0x8000;
const ENTRY_BYTES = 16;

interface Allocation {
  readonly kind: "msi" | "msi-x";
  readonly vectors: readonly { readonly irq: number; readonly line: InterruptLine }[];
  readonly capability: number;
}

/** MSI and MSI-X of the domain's functions: vectors, their numbers, and the registers that say so to the device. */
export class MessageInterrupts {
  readonly #allocations = new Map<PciFunction, Allocation>();
  #nextIrq = FIRST_MESSAGE_IRQ;

  constructor(
    private readonly guest: Guest,
    private readonly controller: InterruptController,
    private readonly interrupts: Interrupts,
    private readonly pci: PciBridge,
  ) {}

  /** @returns vectors that the function has for a kind; 0 if it has not this capability */
  available(fn: PciFunction, kind: Allocation["kind"]): number {
    const capability = this.#capability(fn, kind);
    if (capability === 0) return 0;
    const control = fn.slot.configRead(capability + 2, 2);
    return kind === "msi" ? 1 << ((control >> 1) & 7) : (control & 0x7ff) + 1;
  }

  /** @returns numbers of as many vectors as were asked for; none if the function has not so many */
  allocate(fn: PciFunction, kind: Allocation["kind"], count: number): readonly number[] {
    const capability = this.#capability(fn, kind);
    if (capability === 0 || count > this.available(fn, kind) || this.#allocations.has(fn)) return [];
    // A message's data carries one vector number: several MSI would have to be aligned neighbours.
    if (kind === "msi" && count > 1) return [];
    const vectors = Array.from({ length: count }, () => {
      const irq = this.#nextIrq++;
      const line = this.controller.message(`${fn.slot.address} vector ${irq}`);
      this.interrupts.add(irq, line);
      return { irq, line };
    });
    this.#allocations.set(fn, { kind, vectors, capability });
    if (kind === "msi") this.#programMsi(fn, capability, vectors[0].line.vector);
    else
      this.#programMsiX(
        fn,
        capability,
        vectors.map(({ line }) => line.vector),
      );
    this.#flag(fn, kind, true);
    return vectors.map(({ irq }) => irq);
  }

  release(fn: PciFunction): void {
    const allocation = this.#allocations.get(fn);
    if (allocation === undefined) return;
    const { kind, capability, vectors } = allocation;
    const control = fn.slot.configRead(capability + 2, 2);
    fn.slot.configWrite(capability + 2, 2, control & ~(kind === "msi" ? MSI_ENABLE : MSIX_ENABLE));
    for (const { irq, line } of vectors) {
      this.interrupts.remove(irq);
      this.controller.release(line);
    }
    this.#allocations.delete(fn);
    this.#flag(fn, kind, false);
  }

  releaseAll(): void {
    for (const fn of [...this.#allocations.keys()]) this.release(fn);
  }

  kindOf(fn: PciFunction): Allocation["kind"] | null {
    return this.#allocations.get(fn)?.kind ?? null;
  }

  /** The number of a vector; -1 if the function has not so many. */
  irqOf(fn: PciFunction, vector: number): number {
    return this.#allocations.get(fn)?.vectors[vector]?.irq ?? -1;
  }

  /** Whether the kernel should be told of a device in this mode: bits of `struct pci_dev`. */
  #flag(fn: PciFunction, kind: Allocation["kind"], on: boolean): void {
    if (fn.device === null) return;
    const { types } = this.guest.image;
    const { bitOffset } = types.field(kind === "msi" ? "pci_dev.msi_enabled" : "pci_dev.msix_enabled");
    const at = (fn.device + (bitOffset >> 3)) as GuestAddress;
    const bit = 1 << (bitOffset & 7);
    const byte = this.guest.read(at, 1);
    this.guest.write(at, 1, on ? byte | bit : byte & ~bit);
  }

  #programMsi({ slot }: PciFunction, capability: number, vector: number): void {
    const control = slot.configRead(capability + 2, 2);
    const isWide = (control & MSI_64_BIT) !== 0;
    slot.configWrite(capability + 4, 4, MESSAGE_WINDOW);
    if (isWide) slot.configWrite(capability + 8, 4, 0);
    slot.configWrite(capability + (isWide ? 12 : 8), 2, vector);
    slot.configWrite(capability + 2, 2, (control & ~0x70) | MSI_ENABLE);
  }

  #programMsiX({ slot }: PciFunction, capability: number, vectors: readonly number[]): void {
    const command = slot.configRead(PciRegister.command, 2);
    slot.configWrite(PciRegister.command, 2, command | 2);
    slot.configWrite(capability + 2, 2, slot.configRead(capability + 2, 2) | MSIX_ENABLE);
    const table = slot.configRead(capability + 4, 4);
    const bar = table & 7;
    vectors.forEach((vector, i) => {
      const at = (table & ~7) + ENTRY_BYTES * i;
      slot.write(bar, at, 4, MESSAGE_WINDOW);
      slot.write(bar, at + 4, 4, 0);
      slot.write(bar, at + 8, 4, vector);
      slot.write(bar, at + 12, 4, 0);
    });
    slot.configWrite(PciRegister.command, 2, command | 2);
  }

  #capability({ slot }: PciFunction, kind: Allocation["kind"]): number {
    const wanted = kind === "msi" ? PciCapability.msi : PciCapability.msix;
    let at = slot.configRead(PciRegister.capabilitiesPointer, 1) & ~3;
    for (let seen = 0; at !== 0 && seen < 48; seen++) {
      if (slot.configRead(at, 1) === wanted) return at;
      at = slot.configRead(at + 1, 1) & ~3;
    }
    return 0;
  }

  /** The function that a `struct pci_dev` stands for. */
  functionAt(device: GuestAddress): PciFunction | null {
    return this.pci.functionAt(device);
  }
}
