import { Shadow } from "../translator/shadow.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import { HeapExhaustedError } from "./heap.js";
import { PERCPU, PERCPU_BYTES } from "./layout.js";

export interface PercpuState {
  readonly next: number;
  readonly live: readonly (readonly [address: GuestAddress, bytes: number])[];
}

/** Variables of the one processor: the kernel's own, then those of modules, then what is allocated. */
export class Percpu {
  live = 0;
  /**
   * What is added to the address of a variable, as the code has it, for the processor's own: until 6.14 such addresses
   * count from 0.
   */
  readonly base: number;
  #next: number;
  readonly #free = new Map<number, GuestAddress[]>();
  readonly #sizes = new Map<GuestAddress, number>();

  constructor(private readonly guest: Guest) {
    const { percpu } = guest.image;
    this.base = PERCPU - percpu.address;
    guest.memory.setShadow(PERCPU, percpu.size, Shadow.accessible);
    guest.setBytes(PERCPU, percpu.data);
    this.#next = PERCPU + Math.ceil(percpu.size / 4096) * 4096;
  }

  /** Where a per-CPU variable of the kernel lies. @throws SymbolLookupError */
  address(name: string): GuestAddress {
    return (this.base + this.guest.symbol(name)) as GuestAddress;
  }

  has(name: string): boolean {
    return this.guest.find(name) !== null;
  }

  /** @returns what stands for it: its address without the processor's base. @throws HeapExhaustedError */
  allocate(size: number, alignment: number): number {
    const step = Math.max(16, alignment);
    const bytes = Math.ceil(Math.max(1, size) / step) * step;
    const free = this.#free.get(bytes);
    let address = (free?.length ?? 0) > 0 ? free?.shift() : undefined;
    if (address === undefined) {
      const at = Math.ceil(this.#next / step) * step;
      if (at + bytes > PERCPU + PERCPU_BYTES) {
        throw new HeapExhaustedError("percpu-exhausted", `${size} bytes of per-CPU memory cannot be had`, 1);
      }
      this.#next = at + bytes + 16;
      address = at as GuestAddress;
    }
    this.#sizes.set(address, bytes);
    this.live++;
    this.guest.memory.setShadow(address, size, Shadow.accessible);
    this.guest.fill(address, size, 0);
    return address - this.base;
  }

  /** What was freed is not used again after a restore. */
  snapshot(): PercpuState {
    return { next: this.#next, live: [...this.#sizes] };
  }

  restore(state: PercpuState): void {
    this.#next = state.next;
    for (const [address, bytes] of state.live) this.#sizes.set(address, bytes);
    this.live = state.live.length;
  }

  /** @returns whether it was one */
  free(distance: number): boolean {
    const address = (this.base + distance) as GuestAddress;
    const bytes = this.#sizes.get(address);
    if (bytes === undefined) return false;
    this.#sizes.delete(address);
    this.live--;
    this.guest.memory.setShadow(address, bytes, Shadow.freed);
    const free = this.#free.get(bytes) ?? [];
    free.push(address);
    this.#free.set(bytes, free);
    return true;
  }
}
