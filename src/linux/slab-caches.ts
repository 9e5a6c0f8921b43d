import type { GuestAddress } from "../util/guest-address.js";
import type { Execution } from "./execution.js";
import type { Guest } from "./guest.js";
import type { Heap } from "./heap.js";

export type SlabState = readonly (readonly [cache: GuestAddress, description: Cache])[];

interface Cache {
  readonly name: string;
  readonly size: number;
  readonly initialise: GuestAddress;
  live: number;
}

/** `kmem_cache`: objects of one size, with a constructor. */
export class SlabCaches {
  readonly #caches = new Map<GuestAddress, Cache>();

  constructor(
    private readonly guest: Guest,
    private readonly heap: Heap,
    private readonly execution: Execution,
  ) {}

  snapshot(): SlabState {
    return [...this.#caches];
  }

  restore(state: SlabState): void {
    for (const [cache, description] of state) this.#caches.set(cache, { ...description });
  }

  create(name: string, size: number, initialise: GuestAddress): GuestAddress {
    const cache = this.heap.allocate(this.guest.sizeOf("kmem_cache"));
    this.#caches.set(cache, { name, size, initialise, live: 0 });
    this.guest.field("kmem_cache.object_size").set(cache, size);
    this.guest.field("kmem_cache.size").set(cache, size);
    return cache;
  }

  /** @returns objects that were not freed, -1 if there is no such cache */
  destroy(cache: GuestAddress): number {
    const known = this.#caches.get(cache);
    if (known === undefined) return -1;
    this.#caches.delete(cache);
    this.heap.free(cache);
    return known.live;
  }

  nameOf(cache: GuestAddress): string {
    return this.#caches.get(cache)?.name ?? "unknown";
  }

  /** Bytes of an object, 0 if there is no such cache. */
  sizeOf(cache: GuestAddress): number {
    return this.#caches.get(cache)?.size ?? 0;
  }

  /** Objects of all caches of a name. */
  live(name: string): number {
    return [...this.#caches.values()].reduce((sum, cache) => sum + (cache.name === name ? cache.live : 0), 0);
  }

  allocate(cache: GuestAddress): GuestAddress {
    const known = this.#caches.get(cache);
    if (known === undefined) return 0 as GuestAddress;
    const address = this.heap.allocate(known.size);
    known.live++;
    if (known.initialise !== 0) this.execution.call(known.initialise, address);
    return address;
  }

  freed(cache: GuestAddress): void {
    const known = this.#caches.get(cache);
    if (known !== undefined) known.live--;
  }
}
