/** Zstandard's entropy tables (RFC 8878, 4.1 and 4.2.1): FSE, and the weights of Huffman codes that FSE packs. */

/** Decoding table of finite states: symbol, bits to read and where they lead from, by state. */
export interface FseTable {
  readonly accuracy: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly bases: Uint16Array;
}

export interface ReadTable {
  readonly table: FseTable;
  /** Where what follows the description begins. */
  readonly end: number;
}

/**
 * 4.1.1; reads a table's description.
 * @param to where the bytes that may be read end
 * @returns undefined if the description is damaged
 */
export function readFseTable(
  bytes: Uint8Array,
  from: number,
  to: number,
  mostAccuracy: number,
  mostSymbol: number,
): ReadTable | undefined {
  let position = 8 * from;
  const take = (count: number): number => {
    const at = position >> 3;
    const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    position += count;
    return (word >>> ((position - count) & 7)) & ((1 << count) - 1);
  };
  const accuracy = take(4) + 5;
  if (accuracy > mostAccuracy) return undefined;
  const probabilities: number[] = [];
  let left = 1 << accuracy;
  while (left > 0) {
    if (probabilities.length > mostSymbol || position > 8 * to) return undefined;
    // One of left + 2 values: the lower ones take a bit less.
    const width = 32 - Math.clz32(left + 1);
    const lower = (1 << width) - 2 - left;
    let value = take(width);
    const short = value & ((1 << (width - 1)) - 1);
    if (short < lower) {
      value = short;
      position--;
    } else if (value >= 1 << (width - 1)) value -= lower;
    const probability = value - 1;
    left -= Math.abs(probability);
    probabilities.push(probability);
    if (probability !== 0) continue;
    for (let repeat = 3; repeat === 3; ) {
      if (position > 8 * to) return undefined;
      repeat = take(2);
      for (let i = 0; i < repeat; i++) probabilities.push(0);
    }
  }
  const end = (position + 7) >> 3;
  if (left < 0 || probabilities.length > mostSymbol + 1 || end > to) return undefined;
  return { table: makeFseTable(probabilities, accuracy), end };
}

/** 4.1.1: spreads the symbols over the states; a probability of −1 is "less than one". */
export function makeFseTable(probabilities: readonly number[], accuracy: number): FseTable {
  const size = 1 << accuracy;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(probabilities.length);
  let high = size;
  probabilities.forEach((probability, symbol) => {
    next[symbol] = Math.abs(probability);
    if (probability === -1) symbols[--high] = symbol;
  });
  const step = (size >> 1) + (size >> 3) + 3;
  let position = 0;
  probabilities.forEach((probability, symbol) => {
    for (let i = 0; i < probability; i++) {
      symbols[position] = symbol;
      do position = (position + step) & (size - 1);
      while (position >= high);
    }
  });
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (let state = 0; state < size; state++) {
    const rank = next[symbols[state]]++;
    bits[state] = accuracy - (31 - Math.clz32(rank));
    bases[state] = (rank << bits[state]) - size;
  }
  return { accuracy, symbols, bits, bases };
}

/** A table of one state, that reads nothing. */
export function singleFseTable(symbol: number): FseTable {
  return { accuracy: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), bases: new Uint16Array(1) };
}

/** Looked up by `longest` bits; an entry is the symbol, shifted by 4, and its code's length. */
export interface HuffmanTable {
  readonly longest: number;
  readonly entries: Uint16Array;
}

const MOST_CODE_BITS = 11;
const MOST_WEIGHTS = 255;

/** 4.2.1; @returns undefined if the description, from `from` up to `to` at most, is damaged */
export function readHuffmanTable(
  bytes: Uint8Array,
  from: number,
  to: number,
): { readonly table: HuffmanTable; readonly end: number } | undefined {
  if (from >= to) return undefined;
  const header = bytes[from];
  const direct = header >= 128;
  const size = direct ? (header - 126) >> 1 : header;
  const end = from + 1 + size;
  if (end > to) return undefined;
  const weights = direct
    ? Array.from({ length: header - 127 }, (_, i) => (bytes[from + 1 + (i >> 1)] >> (i & 1 ? 0 : 4)) & 15)
    : fseWeights(bytes, from + 1, end);
  const table = weights && makeHuffmanTable(weights);
  return table && { table, end };
}

/** 4.2.1.2: two states take turns, until the bits run out. */
function fseWeights(bytes: Uint8Array, from: number, to: number): number[] | undefined {
  const read = readFseTable(bytes, from, to, 6, MOST_CODE_BITS + 1);
  if (read === undefined || read.end >= to || bytes[to - 1] === 0) return undefined;
  const { table, end } = read;
  let position = 8 * (to - end) - Math.clz32(bytes[to - 1]) + 23;
  const take = (count: number): number => {
    position -= count;
    let value = 0;
    for (let i = count - 1; i >= 0; i--) {
      const bit = position + i;
      value = (value << 1) | (bit < 0 ? 0 : (bytes[end + (bit >> 3)] >> (bit & 7)) & 1);
    }
    return value;
  };
  let state = take(table.accuracy);
  let other = take(table.accuracy);
  if (position < 0) return undefined;
  const weights: number[] = [];
  while (weights.length < MOST_WEIGHTS) {
    weights.push(table.symbols[state]);
    const following = table.bases[state] + take(table.bits[state]);
    if (position < 0) {
      weights.push(table.symbols[other]);
      return weights;
    }
    state = other;
    other = following;
  }
  return undefined;
}

/** 4.2.1: the last symbol's weight is what is missing to a power of two. */
function makeHuffmanTable(weights: readonly number[]): HuffmanTable | undefined {
  const sum = weights.reduce((total, weight) => total + ((1 << weight) >> 1), 0);
  if (sum === 0 || weights.length > MOST_WEIGHTS) return undefined;
  const longest = 32 - Math.clz32(sum);
  const missing = (1 << longest) - sum;
  if (longest > MOST_CODE_BITS || (missing & (missing - 1)) !== 0) return undefined;
  const all = [...weights, 32 - Math.clz32(missing)];
  const entries = new Uint16Array(1 << longest);
  let at = 0;
  for (let weight = 1; weight <= longest; weight++) {
    const span = 1 << (weight - 1);
    all.forEach((own, symbol) => {
      if (own !== weight) return;
      entries.fill((symbol << 4) | (longest + 1 - weight), at, at + span);
      at += span;
    });
  }
  return { longest, entries };
}
