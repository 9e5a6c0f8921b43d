/** Hashing more of a name tells no more names apart, and less of them makes tables of one long name cheap. */
const HASHED_BYTES = 256;
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const NONE = 0xffff_ffff;
const utf8 = new TextEncoder();

/** From names to symbols: chains by the FNV-1a hash of a name's bytes; no string is made. */
export class SymbolNameIndex {
  /** The first symbol of each chain; symbols follow in the table's order. */
  readonly #heads: Uint32Array;
  readonly #next: Uint32Array;
  readonly #hashes: Int32Array;

  /**
   * @param nameStart where a symbol's name begins in `strings`; one that begins beyond is not found
   */
  constructor(
    count: number,
    private readonly nameStart: (symbol: number) => number,
    private readonly strings: Uint8Array,
  ) {
    const size = 2 ** Math.ceil(Math.log2(count + 1));
    this.#heads = new Uint32Array(size).fill(NONE);
    this.#next = new Uint32Array(count);
    this.#hashes = new Int32Array(count);
    for (let symbol = count - 1; symbol > 0; symbol--) {
      const hash = hashAt(strings, nameStart(symbol));
      const slot = slotOf(hash, size);
      this.#hashes[symbol] = hash;
      this.#next[symbol] = this.#heads[slot];
      this.#heads[slot] = symbol;
    }
  }

  *named(name: string): Generator<number> {
    const wanted = utf8.encode(name);
    if (wanted.length === 0 || wanted.includes(0)) return;
    const hash = hashAt(wanted, 0);
    let symbol = this.#heads[slotOf(hash, this.#heads.length)];
    for (; symbol !== NONE; symbol = this.#next[symbol]) {
      if (this.#hashes[symbol] === hash && this.#isNamed(symbol, wanted)) yield symbol;
    }
  }

  #isNamed(symbol: number, wanted: Uint8Array): boolean {
    const { strings } = this;
    const start = this.nameStart(symbol);
    if (strings[start + wanted.length] !== 0) return false;
    for (let i = 0; i < wanted.length; i++) if (strings[start + i] !== wanted[i]) return false;
    return true;
  }
}

function hashAt(bytes: Uint8Array, start: number): number {
  const end = Math.min(bytes.length, start + HASHED_BYTES);
  let hash = FNV_OFFSET;
  for (let i = start; i < end && bytes[i] !== 0; i++) hash = Math.imul(hash ^ bytes[i], FNV_PRIME);
  return hash | 0;
}

function slotOf(hash: number, size: number): number {
  return (hash ^ (hash >>> 15)) & (size - 1);
}
