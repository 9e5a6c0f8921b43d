import { EnvironmentError, KorralError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import { type AccessFault, type AccessKind, ruleOfAddress, ruleOfShadow } from "./access-fault.js";
import type { MemoryPort } from "./evaluate.js";
import { type GuestSpace, isMappable, SHADOW, WASM_PAGES, wasmOffset } from "./guest-space.js";
import type { Bytes } from "./ir.js";
import { type PageSweep, pageSweep } from "./page-sweep.js";
import { isReadable, isWritable, POISONS, type Poison, Shadow } from "./shadow.js";

export interface Protection {
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

export interface Mapping extends Protection {
  /** Its shadow is set piece by piece, by whoever hands it out. */
  readonly reserved?: true;
  readonly name: string;
  readonly address: GuestAddress;
  readonly size: number;
}

/** Registers of a device, or anything else that is not memory: accesses are calls. Addresses are unsigned. */
export interface IoHandler {
  readonly read: (address: bigint, bytes: Bytes) => bigint;
  readonly write: (address: bigint, bytes: Bytes, value: bigint) => void;
  /** The same for up to 4 bytes, without big integers: the address counts from the start of the range, the value is unsigned. */
  readonly readWord?: (offset: number, bytes: number) => number;
  readonly writeWord?: (offset: number, bytes: number, value: number) => void;
}

interface IoRange extends IoHandler {
  readonly start: bigint;
  readonly end: bigint;
  /** The same as signed numbers, exact up to ±2^53. */
  readonly first: number;
  readonly last: number;
}

export const PAGE_BYTES = 4096;
const PAGE_SHIFT = 12;
/** Below a stack, so much is taken for its overflow. */
const STACK_GUARD = 0x10000;

/** Something was asked of guest memory that cannot be. */
export class GuestMemoryError extends KorralError {}

/** The memory of a sandbox with its shadow; the slow path of every access. */
export class GuestMemory implements MemoryPort {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly sweep: PageSweep;
  low = 0n;
  high = 0n;
  /** What the last access that was refused was. */
  fault: AccessFault | null = null;
  /** An access has reached a handler that can be asked without big integers since somebody set this to false. */
  reachedIo = false;
  /** Told of the first store of guest code to a page that is watched, and of what hosts write, before it happens. */
  onWrite: ((address: GuestAddress, size: number) => void) | null = null;
  /** Told before shadow changes on a page. */
  onShadowChange: ((firstPage: number, lastPage: number) => void) | null = null;
  readonly #mappings: Mapping[] = [];
  readonly #io: IoRange[] = [];
  readonly #watched = new Set<number>();
  readonly #stacks: { start: GuestAddress; end: GuestAddress }[] = [];

  /** @throws EnvironmentError if the host cannot reserve the address space */
  constructor(readonly space: GuestSpace) {
    try {
      this.memory = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: WASM_PAGES });
      this.bytes = new Uint8Array(this.memory.buffer);
      this.view = new DataView(this.memory.buffer);
    } catch (error) {
      throw new EnvironmentError(
        "address-space",
        `a sandbox reserves 4 GiB of addresses, and this host refuses (${(error as Error).message}); lift its limit on virtual memory (ulimit -v unlimited)`,
      );
    }
    this.sweep = pageSweep(this.memory);
  }

  get mappings(): readonly Mapping[] {
    return this.#mappings;
  }

  /** @throws GuestMemoryError if some of it is outside the guest space or mapped already */
  map(address: GuestAddress, size: number, protection: Protection, name = "memory"): void {
    this.#add({ address, size, name, ...protection });
    this.setShadow(address, size, shadowOf(protection));
  }

  /** Takes a range for memory that is handed out later: until its shadow is set, it is not accessible. @throws as `map` */
  reserve(address: GuestAddress, size: number, name: string): void {
    this.#add({ address, size, name, reserved: true, read: true, write: true, execute: false });
  }

  #add(mapping: Mapping): void {
    const { address, size } = mapping;
    this.#range(address, size);
    const taken = this.#mappings.find((m) => address < m.address + m.size && m.address < address + size);
    if (taken !== undefined) {
      throw new GuestMemoryError(
        "guest-memory-taken",
        `${formatGuestAddress(address)} to ${formatGuestAddress((address + size) as GuestAddress)} overlaps ${taken.name} at ${formatGuestAddress(taken.address)}: map it elsewhere`,
      );
    }
    this.#mappings.push(mapping);
    this.#mappings.sort((a, b) => a.address - b.address);
  }

  /** Takes mappings away, those that lie in the range whole. Their bytes become zero. */
  unmap(address: GuestAddress, size: number): void {
    this.#range(address, size);
    const end = address + size;
    const cut = this.#mappings.find(
      (m) => m.address < end && m.address + m.size > address && (m.address < address || m.address + m.size > end),
    );
    if (cut !== undefined) {
      throw new GuestMemoryError("guest-memory-cut", `${cut.name} lies only partly in what is to be unmapped`);
    }
    const kept = this.#mappings.filter((m) => m.address >= end || m.address + m.size <= address);
    this.#mappings.length = 0;
    this.#mappings.push(...kept);
    const last = this.page((end - 1) as GuestAddress);
    for (let page = this.page(address); page <= last; page++) {
      if (!this.#watched.has(page)) continue;
      if (!kept.some((m) => this.page(m.address) <= page && this.page(lastOf(m)) >= page)) this.#watched.delete(page);
    }
    this.setShadow(address, size, Shadow.unmapped);
    const at = wasmOffset(this.space, address);
    this.sweep.fill(at, at + size, 0);
  }

  protect(address: GuestAddress, size: number, protection: Protection): void {
    this.#range(address, size);
    const mapping = this.#mappings.find((m) => m.address <= address && m.address + m.size >= address + size);
    if (mapping === undefined) {
      throw new GuestMemoryError("guest-memory-unmapped", `nothing is mapped at ${formatGuestAddress(address)}`);
    }
    const parts: Mapping[] = [
      { ...mapping, size: address - mapping.address },
      { ...mapping, ...protection, address, size },
      {
        ...mapping,
        address: (address + size) as GuestAddress,
        size: mapping.address + mapping.size - address - size,
      },
    ];
    this.#mappings.splice(this.#mappings.indexOf(mapping), 1, ...parts.filter((part) => part.size > 0));
    this.setShadow(address, size, shadowOf(protection));
  }

  /** Marks bytes as not to be touched, by the kind of poison, or as what their mapping allows again (null). */
  poison(address: GuestAddress, size: number, kind: Poison | null): void {
    if (size === 0) return;
    this.#range(address, size);
    if (kind !== null) {
      this.setShadow(address, size, POISONS[kind]);
      return;
    }
    let at = address;
    const end = address + size;
    for (const mapping of this.#mappings) {
      if (mapping.address + mapping.size <= at || mapping.address >= end) continue;
      const from = Math.max(at, mapping.address);
      const to = Math.min(end, mapping.address + mapping.size);
      this.setShadow(from as GuestAddress, to - from, shadowOf(mapping));
      at = to as GuestAddress;
    }
  }

  /** Takes a range for a stack: accesses right below it are its overflow. */
  markStack(start: GuestAddress, end: GuestAddress): void {
    this.#stacks.push({ start, end });
  }

  /** The stack that an address lies in. */
  stackAt(address: GuestAddress): { readonly start: GuestAddress; readonly end: GuestAddress } | null {
    return this.#stacks.find(({ start, end }) => address >= start && address < end) ?? null;
  }

  /** Accesses to addresses that no guest memory lies at go to a handler. */
  handle(start: bigint, size: number, handler: IoHandler): void {
    const from = BigInt.asUintN(64, start);
    const first = Number(BigInt.asIntN(64, start));
    this.#io.push({ start: from, end: from + BigInt(size), first, last: first + size, ...handler });
  }

  /**
   * An access of translated code to registers of a device.
   * @returns unsigned; -1 if it has to be carried out step by step
   */
  loadIo(low: number, high: number, bytes: number): number {
    const address = high * 2 ** 32 + (low >>> 0);
    const io = this.#ioAtNumber(address, bytes);
    return io?.readWord === undefined ? -1 : io.readWord(address - io.first, bytes);
  }

  /** @returns false if it has to be carried out step by step */
  storeIo(low: number, high: number, bytes: number, value: number): boolean {
    const address = high * 2 ** 32 + (low >>> 0);
    const io = this.#ioAtNumber(address, bytes);
    if (io?.writeWord === undefined) return false;
    io.writeWord(address - io.first, bytes, bytes === 4 ? value >>> 0 : value & (2 ** (8 * bytes) - 1));
    return true;
  }

  /** Mappings as a snapshot had them; the shadow comes with it. */
  restoreMappings(mappings: readonly Mapping[]): void {
    this.#mappings.length = 0;
    this.#mappings.push(...mappings);
  }

  /** Has every store to a page noticed, from now on. */
  watch(page: number): void {
    if (this.#watched.has(page)) return;
    this.#watched.add(page);
    this.#turn(page, Shadow.accessible, Shadow.watched);
  }

  isWatched(page: number): boolean {
    return this.#watched.has(page);
  }

  /** The next store to a page is noticed, those after it are not. */
  unwatch(page: number): void {
    this.#watched.delete(page);
  }

  /** Lets stores to a page through, unless every one is to be noticed. */
  letThrough(page: number): void {
    if (!this.#watched.has(page)) this.#turn(page, Shadow.watched, Shadow.accessible);
  }

  #turn(page: number, from: Shadow, to: Shadow): void {
    const start = page * PAGE_BYTES + SHADOW;
    this.sweep.turn(start, start + PAGE_BYTES, from, to);
  }

  mappingAt(address: GuestAddress): Mapping | null {
    let low = 0;
    let high = this.#mappings.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { address: start, size } = this.#mappings[middle];
      if (start + size <= address) low = middle + 1;
      else high = middle;
    }
    const found = this.#mappings[low];
    return found !== undefined && found.address <= address ? found : null;
  }

  isExecutable(address: GuestAddress): boolean {
    return this.mappingAt(address)?.execute === true;
  }

  /** Where an aligned word that may be read lies in `bytes`; -1 if the slow path has to tell. */
  readableWord(address: GuestAddress): number {
    if ((address & 7) !== 0 || !isMappable(this.space, address)) return -1;
    const at = wasmOffset(this.space, address);
    const { view } = this;
    const all = view.getInt32(at + SHADOW, true) & view.getInt32(at + SHADOW + 4, true);
    return (all & READABLE) === READABLE ? at : -1;
  }

  /** Where an address lies in `bytes`. Only for mapped ones. */
  offset(address: GuestAddress): number {
    return wasmOffset(this.space, address);
  }

  /** A copy. @throws GuestMemoryError if it is not all mapped */
  read(address: GuestAddress, size: number): Uint8Array {
    this.#mapped(address, size);
    const at = this.offset(address);
    return this.bytes.slice(at, at + size);
  }

  /** Whatever the protection is: for loaders and hosts. */
  write(address: GuestAddress, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#mapped(address, bytes.length);
    this.onWrite?.(address, bytes.length);
    this.bytes.set(bytes, this.offset(address));
  }

  /** The number of a page of guest memory. */
  page(address: GuestAddress): number {
    return this.offset(address) >>> PAGE_SHIFT;
  }

  /** Where a page of guest memory begins. */
  addressOf(page: number): GuestAddress {
    return ((page * PAGE_BYTES - this.space.bias) | 0) as GuestAddress;
  }

  setShadow(address: GuestAddress, size: number, shadow: Shadow): void {
    const at = this.offset(address) + SHADOW;
    const first = this.page(address);
    const last = this.page((address + size - 1) as GuestAddress);
    this.onShadowChange?.(first, last);
    this.sweep.fill(at, at + size, shadow);
    if (shadow !== Shadow.accessible) return;
    for (let page = first; page <= last; page++) if (this.#watched.has(page)) this.#turn(page, shadow, Shadow.watched);
  }

  load(address: bigint, bytes: Bytes, forWrite: boolean): boolean {
    const at = this.#accessible(address, bytes, forWrite ? "write" : "read");
    if (at < 0) {
      const io = at === NOT_MEMORY ? this.#ioAt(address, bytes) : undefined;
      if (io === undefined) return false;
      this.low = io.read(address, bytes);
      this.high = 0n;
      return true;
    }
    const { view } = this;
    switch (bytes) {
      case 1:
        this.low = BigInt(view.getUint8(at));
        break;
      case 2:
        this.low = BigInt(view.getUint16(at, true));
        break;
      case 4:
        this.low = BigInt(view.getUint32(at, true));
        break;
      case 16:
        this.high = view.getBigUint64(at + 8, true);
        this.low = view.getBigUint64(at, true);
        break;
      default:
        this.low = view.getBigUint64(at, true);
    }
    return true;
  }

  store(address: bigint, bytes: Bytes, low: bigint, high: bigint): boolean {
    const at = this.#accessible(address, bytes, "write");
    if (at < 0) {
      const io = at === NOT_MEMORY ? this.#ioAt(address, bytes) : undefined;
      if (io === undefined) return false;
      io.write(address, bytes, low);
      return true;
    }
    const { view } = this;
    switch (bytes) {
      case 1:
        view.setUint8(at, Number(low));
        break;
      case 2:
        view.setUint16(at, Number(low), true);
        break;
      case 4:
        view.setUint32(at, Number(low), true);
        break;
      case 16:
        view.setBigUint64(at + 8, high, true);
        view.setBigUint64(at, low, true);
        break;
      default:
        view.setBigUint64(at, low, true);
    }
    return true;
  }

  probe(address: bigint, bytes: Bytes, write: boolean): boolean {
    const at = this.#accessible(address, bytes, write ? "write" : "read");
    return at >= 0 || (at === NOT_MEMORY && this.#ioAt(address, bytes) !== undefined);
  }

  /** The fault that executing at an address is. */
  executeFault(address: bigint): AccessFault {
    const at = Number(BigInt.asIntN(64, address)) as GuestAddress;
    const mapped = this.mappingAt(at) !== null;
    return {
      rule: mapped ? "execute-data" : ruleOfAddress(this.space, address),
      address: BigInt.asUintN(64, address),
      access: "execute",
      size: 0,
    };
  }

  /** The offset of an access that may happen; NOT_MEMORY or REFUSED, with `fault` set, if not. */
  #accessible(address: bigint, bytes: Bytes, access: AccessKind): number {
    // Exact for all that can be mapped, and not mappable for the others.
    const start = Number(BigInt.asIntN(64, address)) as GuestAddress;
    if (!isMappable(this.space, start) || !isMappable(this.space, (start + bytes - 1) as GuestAddress)) {
      this.fault = {
        rule: ruleOfAddress(this.space, address),
        address: BigInt.asUintN(64, address),
        access,
        size: bytes,
      };
      return NOT_MEMORY;
    }
    const at = this.offset(start);
    const allowed = access === "write" ? isWritable : isReadable;
    let isWatched = false;
    for (let i = 0; i < bytes; i++) {
      const shadow = this.bytes[at + SHADOW + i];
      if (allowed(shadow)) {
        isWatched ||= shadow === Shadow.watched;
        continue;
      }
      const where = BigInt.asUintN(64, address + BigInt(i));
      const rule = ruleOfShadow(shadow, access);
      this.fault = { rule: rule ?? this.#ruleOfUnmapped(where), address: where, access, size: bytes };
      return rule === null ? NOT_MEMORY : REFUSED;
    }
    if (isWatched && access === "write") this.onWrite?.(start, bytes);
    return at;
  }

  #ruleOfUnmapped(address: bigint): AccessFault["rule"] {
    const at = Number(BigInt.asIntN(64, address));
    const below = this.#stacks.some(({ start }) => at < start && at >= start - STACK_GUARD);
    return below ? "stack-overflow" : ruleOfAddress(this.space, address);
  }

  #ioAt(address: bigint, bytes: number): IoRange | undefined {
    const at = BigInt.asUintN(64, address);
    const found = this.#io.find(({ start, end }) => at >= start && at + BigInt(bytes) <= end);
    if (found?.readWord !== undefined && found.writeWord !== undefined) this.reachedIo = true;
    return found;
  }

  #ioAtNumber(address: number, bytes: number): IoRange | undefined {
    for (let i = 0; i < this.#io.length; i++) {
      const io = this.#io[i];
      if (address >= io.first && address + bytes <= io.last) return io;
    }
    return undefined;
  }

  #range(address: GuestAddress, size: number): void {
    const end = (address + size - 1) as GuestAddress;
    if (!Number.isSafeInteger(size) || size <= 0 || !isMappable(this.space, address) || !isMappable(this.space, end)) {
      throw new GuestMemoryError(
        "guest-memory-range",
        `${size} bytes at ${formatGuestAddress(address)} do not lie in guest memory, ${formatGuestAddress(this.space.firstMappable)} to ${formatGuestAddress(this.space.endMappable)}`,
      );
    }
  }

  #mapped(address: GuestAddress, size: number): void {
    let at = address;
    const end = address + size;
    while (at < end) {
      const mapping = this.mappingAt(at);
      if (mapping === null) {
        throw new GuestMemoryError("guest-memory-unmapped", `nothing is mapped at ${formatGuestAddress(at)}`);
      }
      at = (mapping.address + mapping.size) as GuestAddress;
    }
  }
}

const lastOf = ({ address, size }: Mapping): GuestAddress => (address + size - 1) as GuestAddress;

/** The sign bits of four bytes of shadow. */
const READABLE = 0x8080_8080 | 0;
const NOT_MEMORY = -1;
const REFUSED = -2;

const shadowOf = ({ read, write }: Protection): Shadow => {
  if (write) return Shadow.accessible;
  return read ? Shadow.readOnly : Shadow.noAccess;
};
