import { Shadow } from "../translator/shadow.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import { HeapExhaustedError } from "./heap.js";
import { VMALLOC, VMALLOC_END } from "./layout.js";
import type { PageAllocator } from "./pages.js";

const PAGE = 4096;

/** Virtually contiguous memory: pages of its own, with an unmapped one behind each area. */
export class Vmalloc {
  readonly #areas = new Map<GuestAddress, number>();
  /** Freed areas, oldest first. */
  readonly #free: { readonly address: GuestAddress; readonly bytes: number }[] = [];
  #next: number = VMALLOC;

  constructor(
    private readonly guest: Guest,
    private readonly pages: PageAllocator,
  ) {}

  get live(): number {
    return this.#areas.size;
  }

  owns(address: GuestAddress): boolean {
    return address >= VMALLOC && address < VMALLOC_END;
  }

  /** Zeroed. @throws HeapExhaustedError */
  allocate(size: number): GuestAddress {
    const bytes = Math.max(PAGE, Math.ceil(size / PAGE) * PAGE);
    const address = this.#place(bytes);
    this.#areas.set(address, bytes);
    const { memory } = this.guest;
    memory.setShadow(address, bytes, Shadow.accessible);
    const at = memory.offset(address);
    memory.sweep.fill(at, at + bytes, 0);
    return address;
  }

  /** @returns whether it was an area */
  free(address: GuestAddress): boolean {
    const bytes = this.#areas.get(address);
    if (bytes === undefined) return false;
    this.#areas.delete(address);
    this.guest.memory.setShadow(address, bytes, Shadow.freed);
    this.#free.push({ address, bytes });
    return true;
  }

  #place(bytes: number): GuestAddress {
    if (bytes > VMALLOC_END - VMALLOC) throw exhausted(bytes);
    const end = this.#next + bytes + PAGE;
    if (end <= VMALLOC_END) {
      const address = this.#next as GuestAddress;
      this.#next = end;
      this.pages.reveal(address, bytes);
      return address;
    }
    const found = this.#free.findIndex((area) => area.bytes >= bytes);
    if (found < 0) throw exhausted(bytes);
    return this.#free.splice(found, 1)[0].address;
  }
}

function exhausted(bytes: number): HeapExhaustedError {
  return new HeapExhaustedError("vmalloc-exhausted", `${bytes} bytes of vmalloc memory cannot be had`, 1);
}
