import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";

/** `__initcall__kmod_virtio_pci__580_823_virtio_pci_driver_init6`: module, function, level. */
const INITCALL = /^__initcall__kmod_(\w+?)__\d+_\d+_(\w+)([0-7]s?|early|con|rootfs)$/;

interface Initcall {
  readonly module: string;
  readonly function: string;
  /** Where the table has its distance to the function. */
  readonly entry: GuestAddress;
}

/** Initialisation of drivers that are part of the image: the kernel's table of calls, by the modules they would be. */
export class Initcalls {
  #calls: readonly Initcall[] | null = null;
  readonly #done = new Set<GuestAddress>();

  constructor(private readonly guest: Guest) {}

  has(module: string): boolean {
    return this.#all.some((call) => call.module === module);
  }

  /** Whether the table has a function of this name: later than what the kernel calls by name. */
  hasFunction(name: string): boolean {
    return this.#all.some((call) => call.function === name);
  }

  /** The functions of modules that have not run, in the order of the table. */
  functionsOf(...modules: readonly string[]): GuestAddress[] {
    const { guest } = this;
    return this.#all
      .filter((call) => modules.includes(call.module) && !this.#done.has(call.entry))
      .map(({ entry }) => {
        this.#done.add(entry);
        return (entry + (guest.read(entry, 4) | 0)) as GuestAddress;
      });
  }

  /** Entries of the table whose functions have run. */
  get done(): readonly GuestAddress[] {
    return [...this.#done];
  }

  restore(done: readonly GuestAddress[]): void {
    for (const entry of done) this.#done.add(entry);
  }

  get #all(): readonly Initcall[] {
    this.#calls ??= this.#read();
    return this.#calls;
  }

  #read(): Initcall[] {
    const { symbols } = this.guest.image;
    const calls: Initcall[] = [];
    for (let index = 0; index < symbols.count; index++) {
      const match = INITCALL.exec(symbols.name(index));
      if (match !== null) calls.push({ module: match[1], function: match[2], entry: symbols.address(index) });
    }
    return calls.sort((a, b) => a.entry - b.entry);
  }
}
