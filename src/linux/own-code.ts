import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import { VMALLOC, VMALLOC_END } from "./layout.js";

/** A function of the kernel that a few instructions of ours stand for: cheaper than asking the host. */
interface OwnCode {
  readonly name: string;
  readonly prototype: string;
  readonly code: readonly number[];
}

const word = (value: number): readonly number[] => [
  value & 0xff,
  (value >> 8) & 0xff,
  (value >> 16) & 0xff,
  value >>> 24,
];
/** What allocations are rounded to: they have their exact size. */
const ALIGNMENT = 8;

const FUNCTIONS: readonly OwnCode[] = [
  {
    name: "is_vmalloc_addr",
    prototype: "bool (const void *)",
    // lea rax, [rdi - start]; cmp rax, length; setb al; movzx eax, al; ret
    code: [
      ...[0x48, 0x8d, 0x87, ...word(-VMALLOC)],
      ...[0x48, 0x3d, ...word(VMALLOC_END - VMALLOC)],
      ...[0x0f, 0x92, 0xc0, 0x0f, 0xb6, 0xc0, 0xc3],
    ],
  },
  {
    name: "kmalloc_size_roundup",
    prototype: "size_t (size_t)",
    // lea rax, [rdi + 7]; and rax, -8; ret
    code: [0x48, 0x8d, 0x47, ALIGNMENT - 1, 0x48, 0x83, 0xe0, 0x100 - ALIGNMENT, 0xc3],
  },
];

/** Puts our code in the place of functions that have the prototype and the room for it. @returns the names of those */
export function replaceByOwnCode(guest: Guest): ReadonlySet<string> {
  const replaced = new Set<string>();
  for (const { name, prototype, code } of FUNCTIONS) {
    const address: GuestAddress | null = guest.find(name);
    if (address === null || guest.prototype(name) !== prototype) continue;
    if ((guest.image.functionAt(address)?.size ?? 0) < code.length) continue;
    guest.memory.bytes.set(code, guest.offsetOf(address, code.length));
    replaced.add(name);
  }
  return replaced;
}
