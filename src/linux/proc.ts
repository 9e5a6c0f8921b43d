import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import type { Heap } from "./heap.js";

const UNKNOWN_BYTES = 256;

interface Entry {
  readonly folder: GuestAddress;
  readonly name: string;
}

/** Entries of /proc that nobody will ever read: where they are, so that they go when they are removed. */
export class ProcEntries {
  readonly #entries = new Map<GuestAddress, Entry>();

  constructor(
    private readonly guest: Guest,
    private readonly heap: Heap,
  ) {}

  /** @param folder 0 for the topmost one. @returns the `struct proc_dir_entry` */
  add(folder: GuestAddress, name: string): GuestAddress {
    const { guest } = this;
    const type = "proc_dir_entry";
    const address = this.heap.allocate(guest.hasType(type) ? guest.sizeOf(type) : UNKNOWN_BYTES);
    this.#entries.set(address, { folder, name });
    return address;
  }

  /** Removes an entry with all that is below it. */
  remove(address: GuestAddress): void {
    if (!this.#entries.delete(address)) return;
    for (const [other, { folder }] of [...this.#entries]) if (folder === address) this.remove(other);
    this.heap.free(address);
  }

  removeNamed(folder: GuestAddress, name: string): void {
    for (const [address, entry] of this.#entries) {
      if (entry.folder === folder && entry.name === name) {
        this.remove(address);
        return;
      }
    }
  }
}
