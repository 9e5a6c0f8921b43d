import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";

/** struct jump_entry: distances to the instruction and to its target, and to the key with flags in its low bits. */
const ENTRY_BYTES = 16;
const KEY_OFFSET = 8;
const KEY_FLAGS = 3;
/** The branch is taken while the key is off. */
const IS_BRANCH = 1;

const JMP_SHORT = 0xeb;
const JMP_NEAR = 0xe9;
const NOP_2 = Uint8Array.of(0x66, 0x90);
const NOP_5 = Uint8Array.of(0x0f, 0x1f, 0x44, 0x00, 0x00);
const OPERAND_SIZE_PREFIX = 0x66;

interface Entry {
  readonly code: GuestAddress;
  readonly target: GuestAddress;
  readonly branch: boolean;
}

/**
 * Static keys: instructions that are a jump or nothing, by the value of a variable. Code is patched when the variable
 * changes, as the kernel does it, and translated anew.
 */
export class JumpLabels {
  readonly #tables: { readonly start: GuestAddress; readonly bytes: number }[] = [];
  #index: Map<GuestAddress, Entry[]> | null = null;

  constructor(private readonly guest: Guest) {}

  add(start: GuestAddress, bytes: number): void {
    this.#tables.push({ start, bytes });
    this.#index = null;
  }

  remove(from: GuestAddress, to: GuestAddress): void {
    const kept = this.#tables.filter(({ start }) => start < from || start >= to);
    this.#tables.splice(0, this.#tables.length, ...kept);
    this.#index = null;
  }

  /** Code that depends on a key becomes what its value says. */
  update(key: GuestAddress): void {
    this.#index ??= this.#read();
    const isOn = this.#isOn(key);
    for (const entry of this.#index.get(key) ?? []) this.#patch(entry, isOn);
  }

  /** A table that is new: code that depends on keys that have changed since they were built. */
  settle(start: GuestAddress, bytes: number): void {
    for (let at = start; at + ENTRY_BYTES <= start + bytes; at = (at + ENTRY_BYTES) as GuestAddress) {
      const [key, entry] = this.#entry(at);
      this.#patch(entry, this.#isOn(key));
    }
  }

  #isOn(key: GuestAddress): boolean {
    return (this.guest.read(key, 4) | 0) !== 0;
  }

  #patch({ code, target, branch }: Entry, isOn: boolean): void {
    const old = this.guest.bytes(code, NOP_5.length);
    const size = old[0] === JMP_SHORT || old[0] === OPERAND_SIZE_PREFIX ? 2 : 5;
    const wanted = isOn === branch ? (size === 2 ? NOP_2 : NOP_5) : jump(code, target, size);
    if (wanted.every((byte, i) => byte === old[i])) return;
    this.guest.sandbox.write(code, wanted);
  }

  #entry(at: GuestAddress): [key: GuestAddress, entry: Entry] {
    const { guest } = this;
    const relative = (offset: number): GuestAddress =>
      (at + offset + (guest.read((at + offset) as GuestAddress, 4) | 0)) as GuestAddress;
    const word = at + KEY_OFFSET + guest.pointer((at + KEY_OFFSET) as GuestAddress);
    const flags = (((word % 4) + 4) % 4) & KEY_FLAGS;
    const entry = { code: relative(0), target: relative(4), branch: (flags & IS_BRANCH) !== 0 };
    return [(word - flags) as GuestAddress, entry];
  }

  #read(): Map<GuestAddress, Entry[]> {
    const index = new Map<GuestAddress, Entry[]>();
    for (const { start, bytes } of this.#tables) {
      for (let at = start; at + ENTRY_BYTES <= start + bytes; at = (at + ENTRY_BYTES) as GuestAddress) {
        const [key, entry] = this.#entry(at);
        const entries = index.get(key);
        if (entries === undefined) index.set(key, [entry]);
        else entries.push(entry);
      }
    }
    return index;
  }
}

function jump(code: GuestAddress, target: GuestAddress, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  const distance = target - (code + size);
  bytes[0] = size === 2 ? JMP_SHORT : JMP_NEAR;
  if (size === 2) bytes[1] = distance;
  else new DataView(bytes.buffer).setInt32(1, distance, true);
  return bytes;
}
