import type { PciSlot } from "../bus/pci-bus.js";
import { KernelModule } from "../formats/kernel-module.js";
import { UsageError } from "../util/errors.js";
import { type DriverSource, LinuxDriver, type LinuxDriverOptions, type LinuxMachine } from "./driver.js";
import type { KernelPackage } from "./kernel-package.js";
import { matchesAlias } from "./kernel-package-alias.js";
import { aliasOf } from "./slot-alias.js";

/** What is loaded: the name of a module of the kernel, or a module of one's own (decompressed). */
export type DriverName = string | { readonly name: string; readonly bytes: Uint8Array };

export interface LoadOptions extends LinuxDriverOptions {
  /** The device; default: the first one on the bus that the driver is for. */
  readonly slot?: PciSlot;
}

/** A kernel whose drivers a machine may load: each gets a domain, and a copy of the kernel, to itself. */
export class LinuxKernel {
  constructor(
    private readonly machine: LinuxMachine,
    readonly kernel: KernelPackage,
  ) {}

  /**
   * Loads a driver for a device of the machine.
   * @throws UsageError if no device is there that it is for; DriverFailedError, and what loading throws
   */
  load(driver: DriverName, options: LoadOptions = {}): Promise<LinuxDriver> {
    const { slot, ...rest } = options;
    const source: DriverSource =
      typeof driver === "string"
        ? { name: driver.replaceAll("-", "_"), file: null }
        : { name: driver.name.replaceAll("-", "_"), file: driver };
    return LinuxDriver.load(this.machine, this.kernel, source, slot ?? this.#slotFor(source), rest);
  }

  #slotFor({ name, file }: DriverSource): PciSlot {
    const aliases =
      file === null ? this.kernel.describe(name).aliases : KernelModule.parse(file.bytes, file.name).all("alias");
    const { slots } = this.machine.pci;
    const found = slots.find((slot) => aliases.some((pattern) => matchesAlias(pattern, aliasOf(slot))));
    if (found !== undefined) return found;
    const [only] = slots;
    // What is behind a bus of its own does not say which PCI function it needs.
    if (only !== undefined && slots.length === 1) return only;
    throw new UsageError(`no device is plugged in that ${name} drives: plug one, or name its slot`, "no-device");
  }
}
