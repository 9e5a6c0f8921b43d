import type { GuestAddress } from "../util/guest-address.js";
import type { Execution } from "./execution.js";
import type { Guest } from "./guest.js";
import type { Heap } from "./heap.js";

const LONGEST = 1024;
/** struct __va_list_tag: offsets into the registers saved, words on the stack, the registers. */
const VA_LIST_BYTES = 24;
const REGISTERS_BYTES = 48;
const FLOATS_BYTES = 176;

/** The kernel's own vsnprintf, which alone knows all of its formats. */
export class Formatter {
  constructor(
    private readonly guest: Guest,
    private readonly heap: Heap,
    private readonly execution: Execution,
  ) {}

  /** @param list a `va_list`, which stays as it is */
  list(format: GuestAddress, list: GuestAddress): string {
    const { guest, heap } = this;
    const copy = heap.allocate(VA_LIST_BYTES);
    guest.setBytes(copy, guest.bytes(list, VA_LIST_BYTES).slice());
    try {
      return this.#print(format, copy);
    } finally {
      heap.free(copy);
    }
  }

  /** @param words of the arguments, as they are passed */
  words(format: GuestAddress, words: readonly bigint[]): string {
    const { guest, heap } = this;
    const list = heap.allocate(VA_LIST_BYTES + 8 * words.length);
    const stack = (list + VA_LIST_BYTES) as GuestAddress;
    guest.write(list, 4, REGISTERS_BYTES);
    guest.write((list + 4) as GuestAddress, 4, FLOATS_BYTES);
    guest.setPointer((list + 8) as GuestAddress, stack);
    words.forEach((word, i) => {
      guest.writeBig((stack + 8 * i) as GuestAddress, word);
    });
    try {
      return this.#print(format, list);
    } finally {
      heap.free(list);
    }
  }

  #print(format: GuestAddress, list: GuestAddress): string {
    const { guest, heap, execution } = this;
    const buffer = heap.allocate(LONGEST);
    try {
      execution.call("vsnprintf", buffer, LONGEST, format, list);
      return guest.text(buffer);
    } finally {
      heap.free(buffer);
    }
  }
}
