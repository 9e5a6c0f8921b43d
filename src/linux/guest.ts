import { BtfKind } from "../formats/btf.js";
import type { GuestMemory } from "../translator/guest-memory.js";
import { isMappable, SHADOW, wasmOffset } from "../translator/guest-space.js";
import { GuestFailure, type Sandbox } from "../translator/sandbox.js";
import { Shadow } from "../translator/shadow.js";
import { UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress, guestAddress } from "../util/guest-address.js";
import type { KernelImage } from "./image.js";

const latin1 = new TextDecoder("latin1");
const utf8 = new TextEncoder();
const LONGEST_TEXT = 0x10000;

/** A member of a structure at a place that the kernel's type information told. */
export class Field {
  constructor(
    private readonly guest: Guest,
    /** Bytes from the start of the structure. */
    readonly offset: number,
    readonly size: 1 | 2 | 4 | 8,
  ) {}

  /** Unsigned, but for 8 bytes, which are read as an address is. */
  get(structure: GuestAddress): number {
    return this.guest.read((structure + this.offset) as GuestAddress, this.size);
  }

  set(structure: GuestAddress, value: number): void {
    this.guest.write((structure + this.offset) as GuestAddress, this.size, value);
  }

  pointer(structure: GuestAddress): GuestAddress {
    return this.get(structure) as GuestAddress;
  }
}

/** The host's hands in a domain's memory: words, texts, members of structures, calls. */
export class Guest {
  readonly memory: GuestMemory;
  readonly #fields = new Map<string, Field>();
  readonly #offsets = new Map<string, number>();
  readonly #hasField = new Map<string, boolean>();
  readonly #addresses = new Map<string, GuestAddress | null>();

  constructor(
    readonly sandbox: Sandbox,
    readonly image: KernelImage,
  ) {
    this.memory = sandbox.memory;
  }

  /** The address of a symbol of the kernel. @throws SymbolLookupError */
  symbol(name: string): GuestAddress {
    return this.find(name) ?? this.image.address(name);
  }

  find(name: string): GuestAddress | null {
    let address = this.#addresses.get(name);
    if (address === undefined) {
      address = this.image.find(name);
      this.#addresses.set(name, address);
    }
    return address;
  }

  /** Bytes from the start of a structure to a member: `net_device.dev_addr`. @throws BtfLookupError */
  offset(path: string): number {
    let offset = this.#offsets.get(path);
    if (offset === undefined) {
      offset = this.image.types.offsetOf(path);
      this.#offsets.set(path, offset);
    }
    return offset;
  }

  sizeOf(type: string): number {
    return this.image.types.sizeOf(type);
  }

  /** The first of several paths that this kernel has: members get new names. @throws BtfLookupError */
  field(...paths: string[]): Field {
    const [path] = paths;
    let field = this.#fields.get(path);
    if (field === undefined) {
      const known = paths.find((one) => this.image.types.hasField(one)) ?? path;
      const { bitOffset, bitSize, bitField } = this.image.types.field(known);
      const size = bitSize / 8;
      if (bitField || (size !== 1 && size !== 2 && size !== 4 && size !== 8)) {
        throw new UnsupportedError("kernel-types", `${this.image.name}: ${known} is no plain integer or pointer`);
      }
      field = new Field(this, bitOffset / 8, size);
      this.#fields.set(path, field);
    }
    return field;
  }

  hasField(path: string): boolean {
    let has = this.#hasField.get(path);
    if (has === undefined) {
      has = this.image.types.hasField(path);
      this.#hasField.set(path, has);
    }
    return has;
  }

  hasType(name: string): boolean {
    return this.image.types.hasType(name);
  }

  /** The prototype of a function of the kernel; null if the type information has none. */
  prototype(name: string): string | null {
    return this.image.types.all(name, BtfKind.function).length === 0 ? null : this.image.types.prototype(name);
  }

  /** Unsigned for 1, 2 and 4 bytes; 8 bytes as an address: signed, and exact up to ±2^53. */
  read(address: GuestAddress, size: 1 | 2 | 4 | 8): number {
    const at = this.offsetOf(address, size);
    const { view } = this.memory;
    switch (size) {
      case 1:
        return view.getUint8(at);
      case 2:
        return view.getUint16(at, true);
      case 4:
        return view.getUint32(at, true);
      case 8:
        return guestAddress(view.getUint32(at + 4, true), view.getUint32(at, true));
    }
  }

  write(address: GuestAddress, size: 1 | 2 | 4 | 8, value: number): void {
    const at = this.offsetOf(address, size);
    const { view } = this.memory;
    this.#touch(at, address, size);
    switch (size) {
      case 1:
        view.setUint8(at, value);
        break;
      case 2:
        view.setUint16(at, value, true);
        break;
      case 4:
        view.setUint32(at, value, true);
        break;
      case 8:
        view.setUint32(at, value, true);
        view.setInt32(at + 4, Math.floor(value / 0x1_0000_0000), true);
        break;
    }
  }

  pointer(address: GuestAddress): GuestAddress {
    return this.read(address, 8) as GuestAddress;
  }

  setPointer(address: GuestAddress, value: GuestAddress | number): void {
    this.write(address, 8, value);
  }

  writeBig(address: GuestAddress, value: bigint): void {
    const at = this.offsetOf(address, 8);
    this.#touch(at, address, 8);
    this.memory.view.setBigUint64(at, BigInt.asUintN(64, value), true);
  }

  readBig(address: GuestAddress): bigint {
    return this.memory.view.getBigUint64(this.offsetOf(address, 8), true);
  }

  /** A view of guest memory, for reading. */
  bytes(address: GuestAddress, length: number): Uint8Array {
    const at = this.offsetOf(address, length);
    return this.memory.bytes.subarray(at, at + length);
  }

  setBytes(address: GuestAddress, bytes: Uint8Array): void {
    const at = this.offsetOf(address, bytes.length);
    this.#touch(at, address, bytes.length);
    this.memory.bytes.set(bytes, at);
  }

  fill(address: GuestAddress, length: number, value: number): void {
    const at = this.offsetOf(address, length);
    this.#touch(at, address, length);
    this.memory.sweep.fill(at, at + length, value);
  }

  /** A NUL-terminated text. */
  text(address: GuestAddress): string {
    const at = this.offsetOf(address, 1);
    const end = this.memory.bytes.indexOf(0, at);
    const length = end < 0 || end - at > LONGEST_TEXT ? LONGEST_TEXT : end - at;
    return latin1.decode(this.memory.bytes.subarray(at, at + length));
  }

  /** @returns bytes with a NUL at their end */
  static encode(text: string): Uint8Array {
    return utf8.encode(`${text}\0`);
  }

  /** Where an address lies in the sandbox's memory. @throws GuestFailure if it is no guest memory */
  offsetOf(address: GuestAddress, size: number): number {
    const { space } = this.memory;
    if (!isMappable(space, address) || !isMappable(space, (address + Math.max(1, size) - 1) as GuestAddress)) {
      throw new GuestFailure(
        this.sandbox.failure(
          "bad-pointer",
          `the kernel was given ${formatGuestAddress(address)}, where there is no memory`,
        ),
      );
    }
    return wasmOffset(space, address);
  }

  /** Snapshots and translated code have to hear of what changes. */
  #touch(at: number, address: GuestAddress, size: number): void {
    if (size === 0) return;
    const { bytes } = this.memory;
    if (bytes[at + SHADOW] === Shadow.watched || bytes[at + SHADOW + size - 1] === Shadow.watched || size > 4096) {
      this.memory.onWrite?.(address, size);
    }
  }
}
