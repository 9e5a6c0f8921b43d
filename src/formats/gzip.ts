/** gzip (RFC 1952) around deflate (RFC 1951). */

import { crc32 } from "./crc.js";
import { type Fault, faultOf } from "./fault.js";
import { HistoryWindow } from "./history-window.js";

export const GZIP_MAGIC = [0x1f, 0x8b];
const DEFLATE = 8;
const REACH = 32768;
/** Bytes a piece is cut at; the match that goes past it still belongs to it. */
const PIECE = 1 << 18;
const LONGEST_MATCH = 258;
const LONGEST_CODE = 15;
const END_OF_BLOCK = 256;

// biome-ignore format: a table
const LENGTH_BITS = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0);
// biome-ignore format: a table
const LENGTH_BASE = Uint16Array.of(
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258);
const DISTANCE_BITS = Uint8Array.from({ length: 30 }, (_, code) => Math.max(0, (code >> 1) - 1));
const DISTANCE_BASE = Uint16Array.from({ length: 30 }, (_, code) =>
  code < 2 ? code + 1 : 1 + ((2 | (code & 1)) << ((code >> 1) - 1)),
);
/** The order in which the lengths of the code-length code are stored. */
const LENGTH_ORDER = Uint8Array.of(16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15);

/**
 * Whatever follows the last member and does not begin another is left alone, as the gzip tool does.
 * @param name of the file, for messages
 * @returns pieces that are valid until the next one is asked for
 * @throws InputError where the file is damaged
 */
export function* gzipPieces(bytes: Uint8Array, name: string): Generator<Uint8Array, void> {
  let next = 0;
  do {
    next = yield* member(bytes, next, faultOf("gzip", name));
  } while (GZIP_MAGIC.every((byte, i) => bytes[next + i] === byte));
}

/** @returns where the member ends */
function* member(bytes: Uint8Array, start: number, fault: Fault): Generator<Uint8Array, number> {
  const inflater = new Inflater(bytes, dataOf(bytes, start, fault), fault);
  let crc = 0;
  let total = 0;
  for (let piece = inflater.piece(); piece !== undefined; piece = inflater.piece()) {
    crc = crc32(piece, crc);
    total += piece.length;
    yield piece;
  }
  const end = inflater.next;
  if (end + 8 > bytes.length) throw fault(bytes.length, "the data ends too early");
  const view = new DataView(bytes.buffer, bytes.byteOffset + end, 8);
  if (view.getUint32(0, true) !== crc) throw fault(end, "the CRC does not agree with the data");
  if (view.getUint32(4, true) !== total % 2 ** 32) throw fault(end + 4, "the size does not agree with the data");
  return end + 8;
}

/** RFC 1952, 2.3: past the header with its extra field, name, comment and CRC. */
function dataOf(bytes: Uint8Array, start: number, fault: Fault): number {
  const flags = bytes[start + 3];
  if (bytes[start + 2] !== DEFLATE) throw fault(start + 2, "the method is not deflate");
  if (flags & 0xe0) throw fault(start + 3, "the header has unknown flags");
  let next = start + 10;
  if (flags & 0x04) next += 2 + (bytes[next] | (bytes[next + 1] << 8));
  for (const flag of [0x08, 0x10]) {
    if (flags & flag) next = bytes.indexOf(0, next) + 1 || bytes.length;
  }
  if (flags & 0x02) next += 2;
  if (next >= bytes.length) throw fault(bytes.length, "the data ends too early");
  return next;
}

/** Looked up by as many bits as the longest code has; an entry is the symbol, shifted by 4, and its code's length. */
interface Code {
  readonly table: Uint16Array;
  readonly mask: number;
}

let fixed: { readonly symbols: Code; readonly distances: Code } | undefined;

class Inflater {
  readonly #input: Uint8Array;
  readonly #fault: Fault;
  readonly #window = new HistoryWindow(REACH);
  #next: number;
  /** Bits that have been read and not used; the next is the lowest. */
  #bits = 0;
  #count = 0;
  #last = false;
  #stored = 0;
  #symbols: Code | undefined;
  #distances: Code | undefined;

  constructor(input: Uint8Array, from: number, fault: Fault) {
    this.#input = input;
    this.#next = from;
    this.#fault = fault;
  }

  /** Where what follows the stream begins. */
  get next(): number {
    return this.#next - (this.#count >> 3);
  }

  /** @returns undefined at the end */
  piece(): Uint8Array | undefined {
    while (this.#stored === 0 && this.#symbols === undefined) {
      if (this.#last) return undefined;
      this.#block();
    }
    return this.#symbols === undefined ? this.#copy() : this.#decode(this.#symbols, this.#distances);
  }

  /** 3.2.3 */
  #block(): void {
    const at = this.next;
    this.#last = this.#take(1) === 1;
    const type = this.#take(2);
    if (type === 0) this.#beginStored();
    else if (type === 1) {
      fixed ??= {
        symbols: makeCode(fixedLengths()) ?? EMPTY,
        distances: makeCode(new Uint8Array(32).fill(5)) ?? EMPTY,
      };
      this.#symbols = fixed.symbols;
      this.#distances = fixed.distances;
    } else if (type === 2) this.#readCodes(at);
    else throw this.#fault(at, "a deflate block has an unknown type");
  }

  /** 3.2.4 */
  #beginStored(): void {
    this.#align();
    const at = this.#next;
    const size = this.#take(16);
    if (size !== (this.#take(16) ^ 0xffff)) throw this.#fault(at, "a stored block's size is damaged");
    this.#align();
    this.#stored = size;
  }

  /** Leaves out the rest of a byte, and gives whole ones back. */
  #align(): void {
    this.#next = this.next;
    this.#bits = 0;
    this.#count = 0;
  }

  #copy(): Uint8Array {
    const size = this.#stored;
    const from = this.#next;
    if (from + size > this.#input.length) throw this.#truncated();
    this.#window.room(size);
    this.#window.bytes.set(this.#input.subarray(from, from + size), this.#window.end);
    this.#next += size;
    this.#stored = 0;
    return this.#window.take(size);
  }

  /** 3.2.7 */
  #readCodes(at: number): void {
    const symbolCount = this.#take(5) + 257;
    const distanceCount = this.#take(5) + 1;
    const orderCount = this.#take(4) + 4;
    const orderLengths = new Uint8Array(19);
    for (let i = 0; i < orderCount; i++) orderLengths[LENGTH_ORDER[i]] = this.#take(3);
    const order = makeCode(orderLengths);
    if (order === undefined || symbolCount > 286) throw this.#fault(at, "a deflate block's codes are damaged");
    const lengths = new Uint8Array(symbolCount + distanceCount);
    for (let i = 0; i < lengths.length; ) {
      const symbol = this.#symbol(order);
      if (symbol < 16) {
        lengths[i++] = symbol;
        continue;
      }
      const repeated = symbol === 16 ? lengths[i - 1] : 0;
      const times = symbol === 16 ? 3 + this.#take(2) : symbol === 17 ? 3 + this.#take(3) : 11 + this.#take(7);
      if (repeated === undefined || i + times > lengths.length) {
        throw this.#fault(at, "a deflate block's code lengths are damaged");
      }
      lengths.fill(repeated, i, i + times);
      i += times;
    }
    this.#symbols = makeCode(lengths.subarray(0, symbolCount));
    this.#distances = makeCode(lengths.subarray(symbolCount));
    if (this.#symbols === undefined || this.#distances === undefined || lengths[END_OF_BLOCK] === 0) {
      throw this.#fault(at, "a deflate block's codes are damaged");
    }
  }

  /** 3.2.5, up to the block's end or a full piece. */
  #decode(symbols: Code, distances: Code | undefined): Uint8Array {
    const input = this.#input;
    this.#window.room(PIECE + LONGEST_MATCH);
    const { bytes: window, end: start } = this.#window;
    const oldest = start - this.#window.history;
    const stop = start + PIECE;
    const { table, mask } = symbols;
    const { table: distanceTable, mask: distanceMask } = distances ?? EMPTY;
    let next = this.#next;
    let bits = this.#bits;
    let count = this.#count;
    let out = start;
    while (out < stop) {
      for (; count <= 24; count += 8) bits |= input[next++] << count;
      const entry = table[bits & mask];
      const length = entry & 15;
      const symbol = entry >> 4;
      bits >>>= length;
      count -= length;
      if (length === 0) throw this.#fault(next, "no code is what comes next");
      if (symbol < END_OF_BLOCK) {
        window[out++] = symbol;
        continue;
      }
      if (symbol === END_OF_BLOCK) {
        this.#symbols = undefined;
        break;
      }
      const code = symbol - END_OF_BLOCK - 1;
      if (code >= LENGTH_BASE.length) throw this.#fault(next, "a length is out of range");
      const extra = LENGTH_BITS[code];
      const copied = LENGTH_BASE[code] + (bits & ((1 << extra) - 1));
      bits >>>= extra;
      count -= extra;
      for (; count <= 24; count += 8) bits |= input[next++] << count;
      const distanceEntry = distanceTable[bits & distanceMask];
      const distanceLength = distanceEntry & 15;
      const distanceCode = distanceEntry >> 4;
      bits >>>= distanceLength;
      count -= distanceLength;
      if (distanceLength === 0 || distanceCode >= DISTANCE_BASE.length)
        throw this.#fault(next, "a distance is out of range");
      for (; count <= 24; count += 8) bits |= input[next++] << count;
      const distanceExtra = DISTANCE_BITS[distanceCode];
      let source = out - DISTANCE_BASE[distanceCode] - (bits & ((1 << distanceExtra) - 1));
      bits >>>= distanceExtra;
      count -= distanceExtra;
      if (source < oldest) throw this.#fault(next, "a match reaches back too far");
      for (const end = out + copied; out < end; ) window[out++] = window[source++];
    }
    this.#next = next;
    this.#bits = bits;
    this.#count = count;
    if (this.next > input.length) throw this.#truncated();
    return this.#window.take(out - start);
  }

  #symbol(code: Code): number {
    this.#refill();
    const entry = code.table[this.#bits & code.mask];
    const length = entry & 15;
    if (length === 0) throw this.#fault(this.next, "no code is what comes next");
    this.#bits >>>= length;
    this.#count -= length;
    if (this.next > this.#input.length) throw this.#truncated();
    return entry >> 4;
  }

  #take(width: number): number {
    this.#refill();
    const value = this.#bits & ((1 << width) - 1);
    this.#bits >>>= width;
    this.#count -= width;
    if (this.next > this.#input.length) throw this.#truncated();
    return value;
  }

  #refill(): void {
    for (; this.#count <= 24; this.#count += 8) this.#bits |= this.#input[this.#next++] << this.#count;
  }

  #truncated() {
    return this.#fault(this.#input.length, "the data ends too early");
  }
}

const EMPTY: Code = { table: new Uint16Array(1), mask: 0 };

/** 3.2.6 */
function fixedLengths(): Uint8Array {
  return new Uint8Array(288).fill(8).fill(9, 144, 256).fill(7, 256, 280);
}

/** 3.2.2; @returns undefined for lengths that no prefix code has. A code may be incomplete: not all of it is used. */
function makeCode(lengths: Uint8Array): Code | undefined {
  const counts = new Uint16Array(LONGEST_CODE + 1);
  for (const length of lengths) counts[length]++;
  counts[0] = 0;
  let longest = LONGEST_CODE;
  while (longest > 0 && counts[longest] === 0) longest--;
  if (longest === 0) return EMPTY;
  const nextCode = new Uint16Array(LONGEST_CODE + 1);
  let code = 0;
  for (let length = 1; length <= longest; length++) {
    code = (code + counts[length - 1]) << 1;
    if (code + counts[length] > 1 << length) return undefined;
    nextCode[length] = code;
  }
  const table = new Uint16Array(1 << longest);
  lengths.forEach((length, symbol) => {
    if (length === 0) return;
    const entry = (symbol << 4) | length;
    for (let i = reversed(nextCode[length]++, length); i < table.length; i += 1 << length) table[i] = entry;
  });
  return { table, mask: table.length - 1 };
}

/** Codes are stored with their first bit lowest. */
function reversed(code: number, length: number): number {
  let result = 0;
  for (let i = 0; i < length; i++) result |= ((code >> i) & 1) << (length - 1 - i);
  return result;
}
