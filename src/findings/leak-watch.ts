import type { LinuxDomain } from "../linux/domain.js";
import type { LinuxModule } from "../linux/modules.js";
import { RSP } from "../translator/instruction.js";
import type { GuestAddress } from "../util/guest-address.js";

interface Allocation {
  readonly size: number;
  /** Where the function that allocates returns to. */
  readonly caller: GuestAddress;
}

/** Watches what modules allocate themselves, so that what they do not free is theirs beyond doubt. */
export class LeakWatch {
  readonly #live = new Map<GuestAddress, Allocation>();
  readonly #code: { readonly name: string; readonly start: number; readonly end: number }[] = [];
  readonly #functions: { readonly name: string; readonly start: number; readonly end: number }[] = [];

  constructor(private readonly domain: LinuxDomain) {}

  /** From now on. */
  start(): void {
    const { heap, pages, execution, guest } = this.domain.services;
    const { cpu } = this.domain.sandbox;
    const observer = {
      allocated: (address: GuestAddress, size: number): void => {
        if (!execution.busy) return;
        const caller = guest.pointer(cpu.generalAddress(RSP));
        if (this.#isModule(caller)) this.#live.set(address, { size, caller });
      },
      freed: (address: GuestAddress): void => {
        this.#live.delete(address);
      },
    };
    heap.observer = observer;
    pages.observer = observer;
  }

  add({ name, object }: LinuxModule): void {
    for (const { address, size, execute } of object.segments) {
      if (execute) this.#code.push({ name, start: address, end: address + size });
    }
    for (const fn of object.functions) {
      this.#functions.push({ name: `${fn.name} [${name}]`, start: fn.address, end: fn.address + fn.size });
    }
  }

  /** What is left, by place: `3 × 128 bytes: function [module]`. */
  found(): string[] {
    const places = new Map<string, number>();
    for (const { size, caller } of this.#live.values()) {
      const fn = this.#functions.find(({ start, end }) => caller > start && caller <= end);
      const place = `${size} bytes: ${fn?.name ?? "an unknown function"}`;
      places.set(place, (places.get(place) ?? 0) + 1);
    }
    return [...places].map(([place, count]) => `${count} × ${place}`);
  }

  #isModule(address: GuestAddress): boolean {
    return this.#code.some(({ start, end }) => address >= start && address < end);
  }
}
