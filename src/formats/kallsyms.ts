// The symbol table that a kernel image carries for its own use: written by scripts/kallsyms, read by kernel/kallsyms.c.
import { InputError, UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress, guestAddress } from "../util/guest-address.js";
import { nearNames, similarText } from "../util/near-names.js";
import { KallsymsNames } from "./kallsyms-names.js";
import { findKallsymsTables, type KallsymsTables, relativeBaseAt } from "./kallsyms-search.js";
import { hashName, NAME_HASH_START, NameIndex } from "./name-index.js";
import { type Kept, keptAs, PackedArrays, packArrays } from "./packed-arrays.js";

/** The image has no such symbol. */
export class SymbolLookupError extends UnsupportedError {
  constructor(
    readonly source: string,
    readonly symbol: string,
    readonly similar: readonly string[],
  ) {
    super("no-such-symbol", `${source} has no symbol ${JSON.stringify(symbol)}${similarText(similar)}`);
  }
}

/** A place in the image: a symbol, and how many bytes after its start. */
export interface SymbolPlace {
  readonly index: number;
  readonly offset: number;
}

const toUtf8 = new TextEncoder();

/** To be changed with what is kept. */
const KEPT_FORMAT = 0x6b73_0002;
/** Places of tables, starts of names, addresses, the two tables of the index of names. */
const KEPT_ARRAYS = 5;
const KEPT_PLACES = 7;

/**
 * The symbols of a kernel image, numbered from 0 as they are there: per-CPU offsets and absolute values first, which are
 * small numbers, then addresses, ascending. Names stay packed until they are asked for.
 */
export class Kallsyms {
  readonly #names: KallsymsNames;
  readonly #addresses: Float64Array;
  /** The first that is an address, and so negative. */
  readonly #firstAddress: number;
  #index: NameIndex | null = null;

  private constructor(
    /** Name of the image, for messages. */
    readonly source: string,
    names: KallsymsNames,
    addresses: Float64Array,
  ) {
    this.#names = names;
    this.#addresses = addresses;
    this.#firstAddress = firstNegative(addresses);
  }

  /**
   * Finds the tables by their shape: no symbol is needed.
   * @param rodata the section that holds them (`.rodata`), from an address that is a multiple of 8 on; must not change
   * @param kept for the same section: what was found is kept there, and taken from there the next time
   * @throws InputError: `kallsyms-missing` if the tables are not there, `kallsyms-broken` if they contradict each other
   */
  static find(rodata: Uint8Array, source: string, kept: Kept | null = null): Kallsyms {
    if (kept === null) return Kallsyms.#search(rodata, source).symbols;
    return keptAs(kept, "symbols", {
      read: (bytes) => Kallsyms.#unpack(bytes, rodata, source),
      make: () => {
        const found = Kallsyms.#search(rodata, source);
        return [Kallsyms.#pack(found, rodata), found.symbols];
      },
    });
  }

  static #search(rodata: Uint8Array, source: string): { readonly symbols: Kallsyms; readonly tables: KallsymsTables } {
    const tables = findKallsymsTables(rodata);
    if (tables === null) {
      throw new InputError(
        "kallsyms-missing",
        `${source} has no table of symbols that can be read: it takes a kernel with CONFIG_KALLSYMS from 6.1 on`,
      );
    }
    const names = new KallsymsNames(rodata, tables, source);
    for (const at of tables.offsetsAt) {
      const addresses = readAddresses(rodata, tables, at);
      if (addresses !== null) return { symbols: new Kallsyms(source, names, addresses), tables };
    }
    throw new InputError("kallsyms-broken", `the symbols of ${source} have no addresses in ascending order`);
  }

  static #pack(
    { symbols, tables }: { readonly symbols: Kallsyms; readonly tables: KallsymsTables },
    rodata: Uint8Array,
  ): Uint8Array {
    const { count, namesAt, namesEnd, markersAt, tokensAt, tokenIndexAt } = tables;
    const places = Uint32Array.of(rodata.length, count, namesAt, namesEnd, markersAt, tokensAt, tokenIndexAt);
    const index = symbols.#makeIndex();
    return packArrays(KEPT_FORMAT, [places, symbols.#names.starts, symbols.#addresses, ...index.tables]);
  }

  static #unpack(bytes: Uint8Array, rodata: Uint8Array, source: string): Kallsyms | null {
    const packed = PackedArrays.of(bytes, KEPT_FORMAT, KEPT_ARRAYS);
    if (packed === null) return null;
    const places = packed.uint32(0);
    if (places.length !== KEPT_PLACES) return null;
    const [length, count, namesAt, namesEnd, markersAt, tokensAt, tokenIndexAt] = places;
    const starts = packed.uint32(1);
    const addresses = packed.float64(2);
    if (length !== rodata.length || addresses.length !== count) return null;
    const tables = { count, namesAt, namesEnd, markersAt, tokensAt, tokenIndexAt, offsetsAt: [] };
    const index = NameIndex.of([packed.int32(3), packed.int32(4)], count);
    if (index === null || !addresses.every(Number.isSafeInteger) || !areAscending(addresses)) return null;
    const names = KallsymsNames.checked(rodata, tables, source, starts);
    if (names === null) return null;
    const symbols = new Kallsyms(source, names, addresses);
    symbols.#index = index;
    return symbols;
  }

  get count(): number {
    return this.#names.count;
  }

  name(index: number): string {
    return this.#names.text(index).slice(1);
  }

  /** As nm writes it: T, t, D, d, B, b, R, r, A…; a capital letter is global. */
  type(index: number): string {
    return this.#names.text(index).slice(0, 1);
  }

  /** Of a per-CPU variable: its offset in the per-CPU section. */
  address(index: number): GuestAddress {
    return this.#addresses[index] as GuestAddress;
  }

  /** Bytes up to the next symbol with another address: the symbol and its padding. 0 for the last one. */
  extent(index: number): number {
    const address = this.#addresses[index];
    const end = address < 0 ? this.count : this.#firstAddress;
    const next = this.#firstAbove(address, index, end);
    return next === end ? 0 : this.#addresses[next] - address;
  }

  /** The symbol of this name, -1 if there is none: of several the first global one, else the first. */
  find(name: string): number {
    const all = this.all(name);
    return all.find((index) => isGlobal(this.type(index))) ?? all[0] ?? -1;
  }

  /** All symbols of this name, ascending: static functions of several files may share one. */
  all(name: string): number[] {
    this.#index ??= this.#makeIndex();
    const key = toUtf8.encode(name);
    const found: number[] = [];
    const hash = hashName(NAME_HASH_START, key, 0, key.length);
    for (let entry = this.#index.first(hash); entry >= 0; entry = this.#index.after(entry)) {
      if (this.#names.isNamed(entry, key)) found.push(entry);
    }
    return found;
  }

  has(name: string): boolean {
    return this.find(name) >= 0;
  }

  /** Of the symbol that `find` finds. @throws SymbolLookupError */
  addressOf(name: string): GuestAddress {
    const index = this.find(name);
    if (index >= 0) return this.address(index);
    throw new SymbolLookupError(this.source, name, nearNames(name, this.#allNames()));
  }

  /** The last symbol at or before an address, of several the first; null if it lies before all of them. */
  at(address: GuestAddress): SymbolPlace | null {
    const start = address < 0 ? this.#firstAddress : 0;
    const end = address < 0 ? this.count : this.#firstAddress;
    const above = this.#firstAbove(address, start, end);
    if (above === start) return null;
    const found = this.#addresses[above - 1];
    // Addresses are whole numbers: the first above the one before is the first of this one.
    return { index: this.#firstAbove(found - 1, start, above), offset: address - found };
  }

  /** `symbol+0x1c`, or the address if it lies before all symbols. */
  describe(address: GuestAddress): string {
    const place = this.at(address);
    return place === null ? formatGuestAddress(address) : `${this.name(place.index)}+0x${place.offset.toString(16)}`;
  }

  /** The first symbol in [start, end) with a higher address, else `end`. */
  #firstAbove(address: number, start: number, end: number): number {
    let low = start;
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#addresses[middle] > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #makeIndex(): NameIndex {
    const index = NameIndex.forEntries(this.count);
    for (let entry = this.count - 1; entry >= 0; entry--) index.put(entry, this.#names.hash(entry));
    return index;
  }

  *#allNames(): Iterable<string> {
    for (let index = 0; index < this.count; index++) yield this.name(index);
  }
}

/** Addresses ascend as unsigned numbers do, so that negative ones are the last. */
function firstNegative(addresses: Float64Array): number {
  let low = 0;
  let high = addresses.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (addresses[middle] < 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

function isGlobal(type: string): boolean {
  return type >= "A" && type <= "Z";
}

/** Addresses from the table at `at`; null if they are not what a kernel could have, and so no such table. */
function readAddresses(bytes: Uint8Array, { count }: KallsymsTables, at: number): Float64Array | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const baseAt = relativeBaseAt(at, count);
  const base = guestAddress(view.getUint32(baseAt + 4, true), view.getUint32(baseAt, true));
  if (!Number.isSafeInteger(base) || base >= 0) return null;
  // Without CONFIG_KALLSYMS_ABSOLUTE_PERCPU offsets are unsigned; with it those from 0 up are values by themselves, and
  // -1 is the base, -2 the byte after it.
  const relative = (offset: number): number => base + (offset >>> 0);
  const absolutePercpu = (offset: number): number => (offset >= 0 ? offset : base - 1 - offset);
  for (const decode of [relative, absolutePercpu]) {
    const addresses = Float64Array.from({ length: count }, (_, index) => decode(view.getInt32(at + 4 * index, true)));
    if (areAscending(addresses) && (decode === absolutePercpu || addresses[count - 1] < 0)) return addresses;
  }
  return null;
}

/** As unsigned 64-bit numbers, which negative ones exceed. */
function areAscending(addresses: Float64Array): boolean {
  for (let index = 1; index < addresses.length; index++) {
    const before = addresses[index - 1];
    const address = addresses[index];
    if (before < 0 ? address < before || address >= 0 : address >= 0 && address < before) return false;
  }
  return true;
}
