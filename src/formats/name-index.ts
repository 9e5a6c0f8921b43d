const FNV_OFFSET_BASIS = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** FNV-1a over more bytes: start with `NAME_HASH_START`, and give the last result for each further piece. */
export function hashName(hash: number, bytes: Uint8Array, start: number, end: number): number {
  let value = hash;
  for (let at = start; at < end; at++) value = Math.imul(value ^ bytes[at], FNV_PRIME);
  return value;
}

export const NAME_HASH_START = FNV_OFFSET_BASIS | 0;

/**
 * Finds entries by the hash of their names, in three arrays and without a string per entry. It knows no names: whoever
 * asks compares them, since other names may share a hash.
 */
export class NameIndex {
  readonly #first: Int32Array;
  readonly #after: Int32Array;
  readonly #mask: number;

  private constructor(first: Int32Array, after: Int32Array) {
    this.#first = first;
    this.#after = after;
    this.#mask = first.length - 1;
  }

  /** For entries 0 to `capacity` - 1. */
  static forEntries(capacity: number): NameIndex {
    return new NameIndex(new Int32Array(slotsFor(capacity)).fill(-1), new Int32Array(capacity).fill(-1));
  }

  /**
   * One that was made before, for entries 0 to `capacity` - 1.
   * @param tables as it had them
   * @returns null if they cannot be those of one
   */
  static of([first, after]: readonly [Int32Array, Int32Array], capacity: number): NameIndex | null {
    const isOurs = (entry: number): boolean => entry >= -1 && entry < capacity;
    const fits = first.length === slotsFor(capacity) && after.length === capacity && first.every(isOurs);
    // Lists that ascend come to an end.
    const ascends = (next: number, entry: number): boolean => next === -1 || (next > entry && next < capacity);
    return fits && after.every(ascends) ? new NameIndex(first, after) : null;
  }

  get tables(): readonly [Int32Array, Int32Array] {
    return [this.#first, this.#after];
  }

  /** Entries are put in from the last to the first, and come out from the first to the last. */
  put(entry: number, hash: number): void {
    const slot = this.#slot(hash);
    this.#after[entry] = this.#first[slot];
    this.#first[slot] = entry;
  }

  /** The first entry whose name may have this hash; -1 if there is none. */
  first(hash: number): number {
    return this.#first[this.#slot(hash)];
  }

  /** The next one after `entry`; -1 after the last. */
  after(entry: number): number {
    return this.#after[entry];
  }

  #slot(hash: number): number {
    return (hash ^ (hash >>> 15)) & this.#mask;
  }
}

function slotsFor(capacity: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(capacity, 1) * 2));
}
