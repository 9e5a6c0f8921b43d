import type { GuestAddress } from "../util/guest-address.js";
import { Guest } from "./guest.js";
import type { Heap } from "./heap.js";

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
    const bytes = guest.sizeOf("proc_dir_entry");
    const text = Guest.encode(name);
    const address = this.heap.allocate(bytes + text.length);
    // Some are removed by the name that they say they have.
    guest.setBytes((address + bytes) as GuestAddress, text);
    guest.field("proc_dir_entry.name").set(address, address + bytes);
    this.#entries.set(address, { folder, name });
    return address;
  }

  /** Removes an entry with all that is below it. */
  remove(address: GuestAddress): void {
    if (!this.#entries.delete(address)) return;
    for (const [other, { folder }] of [...this.#entries]) if (folder === address) this.remove(other);
    this.heap.free(address);
  }

  /** Names may be paths: what was made below one goes with it. */
  removeNamed(folder: GuestAddress, name: string): void {
    for (const [address, entry] of [...this.#entries]) {
      if (entry.folder !== folder) continue;
      if (entry.name === name || entry.name.startsWith(`${name}/`)) this.remove(address);
    }
  }
}
