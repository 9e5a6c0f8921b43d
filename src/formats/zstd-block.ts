/** A compressed block of Zstandard (RFC 8878, 3.1.1.3): literals, and sequences that say how they and matches alternate. */

import type { InputError } from "../util/errors.js";
import type { Fault } from "./fault.js";
import {
  type FseTable,
  type HuffmanTable,
  makeFseTable,
  readFseTable,
  readHuffmanTable,
  singleFseTable,
} from "./fse.js";
import type { HistoryWindow } from "./history-window.js";

const MOST_IN_BLOCK = 1 << 17;
/** Around the copy of the block, so that no read of a whole word leaves it: a damaged sequence has 89 bits at most. */
const MARGIN = 16;
/** The longest read that a word at any bit offset serves. */
const MOST_BITS = 25;
const MOST_OFFSET_CODE = 28;

// biome-ignore format: a table
const LITERAL_LENGTH_BITS = Uint8Array.of(
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
// biome-ignore format: a table
const MATCH_LENGTH_BITS = Uint8Array.of(
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
const LITERAL_LENGTH_BASE = basesOf(LITERAL_LENGTH_BITS, 0);
const MATCH_LENGTH_BASE = basesOf(MATCH_LENGTH_BITS, 3);

/** Of the sequences' three codes: their bounds, and the distribution that needs no description (3.1.1.3.2.2). */
interface Kind {
  readonly mostAccuracy: number;
  readonly mostSymbol: number;
  readonly predefined: FseTable;
}

// biome-ignore format: a table
const LITERAL_LENGTHS: Kind = {
  mostAccuracy: 9,
  mostSymbol: 35,
  predefined: makeFseTable([
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1], 6),
};
// biome-ignore format: a table
const OFFSETS: Kind = {
  mostAccuracy: 8,
  mostSymbol: 31,
  predefined: makeFseTable([
    1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1], 5),
};
// biome-ignore format: a table
const MATCH_LENGTHS: Kind = {
  mostAccuracy: 9,
  mostSymbol: 52,
  predefined: makeFseTable([
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1], 6),
};

/** Keeps what later blocks of a frame may refer to: tables and the three latest offsets. */
export class ZstdBlockDecoder {
  readonly #input: Uint8Array;
  readonly #window: HistoryWindow;
  readonly #fault: Fault;
  /** The block behind a margin. */
  readonly #block = new Uint8Array(MOST_IN_BLOCK + 2 * MARGIN);
  readonly #words = new DataView(this.#block.buffer);
  readonly #literals = new Uint8Array(MOST_IN_BLOCK);
  #literalCount = 0;
  #huffman: HuffmanTable | undefined;
  #literalLengths: FseTable | undefined;
  #offsets: FseTable | undefined;
  #matchLengths: FseTable | undefined;
  #offset1 = 1;
  #offset2 = 4;
  #offset3 = 8;
  /** Where the block begins in the input, for messages. */
  #start = 0;
  /** In `#block`. */
  #next = 0;
  #end = 0;

  constructor(input: Uint8Array, window: HistoryWindow, fault: Fault) {
    this.#input = input;
    this.#window = window;
    this.#fault = fault;
  }

  /**
   * Decodes the block that lies in the input from `from` up to `to`, into the window.
   * @param most bytes that may come out
   * @returns how many did
   */
  decode(from: number, to: number, most: number): number {
    this.#block.set(this.#input.subarray(from, to), MARGIN);
    this.#start = from;
    this.#next = MARGIN;
    this.#end = MARGIN + to - from;
    this.#readLiterals(most);
    const count = this.#sequenceCount();
    this.#window.room(most);
    if (count === 0) {
      if (this.#next !== this.#end) throw this.#damaged("something follows the literals");
      this.#window.bytes.set(this.#literals.subarray(0, this.#literalCount), this.#window.end);
      return this.#literalCount;
    }
    const modes = this.#byte();
    if (modes & 3) throw this.#damaged("the sequences have unknown modes");
    this.#literalLengths = this.#table(modes >> 6, LITERAL_LENGTHS, this.#literalLengths);
    this.#offsets = this.#table((modes >> 4) & 3, OFFSETS, this.#offsets);
    this.#matchLengths = this.#table((modes >> 2) & 3, MATCH_LENGTHS, this.#matchLengths);
    return this.#execute(count, this.#literalLengths, this.#offsets, this.#matchLengths, most);
  }

  /** 3.1.1.3.1 */
  #readLiterals(most: number): void {
    const first = this.#byte();
    const type = first & 3;
    const format = (first >> 2) & 3;
    if (type < 2) {
      let count = first >> 3;
      if (format === 1) count = (first >> 4) | (this.#byte() << 4);
      else if (format === 3) count = (first >> 4) | (this.#byte() << 4) | (this.#byte() << 12);
      if (count > most) throw this.#damaged("it has too many literals");
      const size = type === 0 ? count : 1;
      const from = this.#skip(size);
      if (type === 0) this.#literals.set(this.#block.subarray(from, from + size));
      else this.#literals.fill(this.#block[from], 0, count);
      this.#literalCount = count;
      return;
    }
    // Two sizes of 10, 10, 14 or 18 bits stand above the four bits of type and format.
    const width = format < 2 ? 10 : 4 * format + 6;
    const sizes = this.#skip(format < 2 ? 2 : format + 1);
    const count = this.#bitsAt(sizes, -4, width);
    const size = this.#bitsAt(sizes, width - 4, width);
    if (count > most) throw this.#damaged("it has too many literals");
    const end = this.#skip(size) + size;
    this.#next = end - size;
    if (type === 2) {
      const read = readHuffmanTable(this.#block, this.#next, end);
      if (read === undefined) throw this.#damaged("its Huffman code is not one");
      this.#huffman = read.table;
      this.#next = read.end;
    }
    if (this.#huffman === undefined) throw this.#damaged("it uses an earlier Huffman code, and there is none");
    if (format === 0) this.#huffmanStream(this.#huffman, this.#next, end, 0, count);
    else this.#huffmanStreams(this.#huffman, end, count);
    this.#next = end;
    this.#literalCount = count;
  }

  /** Bits of a header whose first four are in the byte before `at`. */
  #bitsAt(at: number, bit: number, width: number): number {
    const position = 8 * at + bit;
    return (this.#words.getUint32(position >> 3, true) >>> (position & 7)) & ((1 << width) - 1);
  }

  /** 3.1.1.3.1.6: four streams behind a table of three sizes. */
  #huffmanStreams(table: HuffmanTable, end: number, count: number): void {
    const sizes = this.#skip(6);
    const share = (count + 3) >> 2;
    let from = this.#next;
    if (from > end || 3 * share > count) throw this.#damaged("its literals are too few for four streams");
    for (let i = 0; i < 3; i++) {
      const to = from + this.#words.getUint16(sizes + 2 * i, true);
      if (to > end) throw this.#damaged("a stream of literals leaves it");
      this.#huffmanStream(table, from, to, i * share, (i + 1) * share);
      from = to;
    }
    this.#huffmanStream(table, from, end, 3 * share, count);
  }

  /** 4.2.2: read backwards, from the highest bit that is set. */
  #huffmanStream(table: HuffmanTable, from: number, to: number, first: number, last: number): void {
    if (to <= from || this.#block[to - 1] === 0) throw this.#damaged("a stream of literals does not end in a set bit");
    const { longest, entries } = table;
    const words = this.#words;
    const literals = this.#literals;
    const mask = (1 << longest) - 1;
    const origin = 8 * from;
    let position = 8 * to - 1 - (Math.clz32(this.#block[to - 1]) - 24) - longest;
    const lowest = origin - longest;
    for (let i = first; i < last; i++) {
      if (position < lowest) break;
      const entry = entries[(words.getUint32(position >> 3, true) >>> (position & 7)) & mask];
      literals[i] = entry >> 4;
      position -= entry & 15;
    }
    if (position !== lowest) throw this.#damaged("a stream of literals has another length than its literals");
  }

  /** 3.1.1.3.2.1 */
  #sequenceCount(): number {
    const first = this.#byte();
    if (first < 128) return first;
    if (first < 255) return ((first - 128) << 8) + this.#byte();
    return this.#byte() + (this.#byte() << 8) + 0x7f00;
  }

  #table(mode: number, kind: Kind, earlier: FseTable | undefined): FseTable {
    if (mode === 0) return kind.predefined;
    if (mode === 1) {
      const symbol = this.#byte();
      if (symbol > kind.mostSymbol) throw this.#damaged("the one code of its sequences is out of range");
      return singleFseTable(symbol);
    }
    if (mode === 3) {
      if (earlier === undefined) throw this.#damaged("it uses an earlier table, and there is none");
      return earlier;
    }
    const read = readFseTable(this.#block, this.#next, this.#end, kind.mostAccuracy, kind.mostSymbol);
    if (read === undefined) throw this.#damaged("a table of its sequences is not one");
    this.#next = read.end;
    return read.table;
  }

  /** 3.1.1.3.2.1.2 and 3.1.1.4 */
  #execute(count: number, lengths: FseTable, offsets: FseTable, matches: FseTable, most: number): number {
    const lastByte = this.#block[this.#end - 1];
    if (this.#next >= this.#end || lastByte === 0) throw this.#damaged("its sequences do not end in a set bit");
    const words = this.#words;
    const literals = this.#literals;
    const literalCount = this.#literalCount;
    const { bytes: window, end: start } = this.#window;
    const oldest = start - this.#window.history;
    const stop = start + most;
    const origin = 8 * this.#next;
    const { symbols: lengthSymbols, bits: lengthBits, bases: lengthBases } = lengths;
    const { symbols: offsetSymbols, bits: offsetBits, bases: offsetBases } = offsets;
    const { symbols: matchSymbols, bits: matchBits, bases: matchBases } = matches;
    let offset1 = this.#offset1;
    let offset2 = this.#offset2;
    let offset3 = this.#offset3;
    let position = 8 * this.#end - 1 - (Math.clz32(lastByte) - 24);
    let used = 0;
    let out = start;

    position -= lengths.accuracy;
    let lengthState = bitsOf(words, position, lengths.accuracy);
    position -= offsets.accuracy;
    let offsetState = bitsOf(words, position, offsets.accuracy);
    position -= matches.accuracy;
    let matchState = bitsOf(words, position, matches.accuracy);

    for (let i = 0; ; ) {
      if (position < origin) throw this.#damaged("its sequences end too early");
      const offsetCode = offsetSymbols[offsetState];
      if (offsetCode > MOST_OFFSET_CODE) throw this.#damaged("an offset is out of range");
      let value = 1 << offsetCode;
      let width = offsetCode;
      if (width >= MOST_BITS) {
        width = MOST_BITS - 1;
        position -= offsetCode - width;
        value |= bitsOf(words, position, offsetCode - width) << width;
      }
      position -= width;
      value |= bitsOf(words, position, width);

      const matchCode = matchSymbols[matchState];
      width = MATCH_LENGTH_BITS[matchCode];
      position -= width;
      const matchLength = MATCH_LENGTH_BASE[matchCode] + bitsOf(words, position, width);

      const lengthCode = lengthSymbols[lengthState];
      width = LITERAL_LENGTH_BITS[lengthCode];
      position -= width;
      const literalLength = LITERAL_LENGTH_BASE[lengthCode] + bitsOf(words, position, width);

      if (value > 3) {
        offset3 = offset2;
        offset2 = offset1;
        offset1 = value - 3;
      } else {
        // 3.1.1.5: the latest three; without literals before, the latest one less one instead of the latest.
        const which = literalLength === 0 ? value : value - 1;
        if (which !== 0) {
          const offset = which === 1 ? offset2 : which === 2 ? offset3 : offset1 - 1;
          if (which !== 1) offset3 = offset2;
          offset2 = offset1;
          offset1 = offset;
        }
      }

      const copyEnd = out + literalLength;
      const matchEnd = copyEnd + matchLength;
      if (used + literalLength > literalCount || matchEnd > stop) throw this.#damaged("a sequence leaves it");
      if (literalLength > 64) {
        window.set(literals.subarray(used, used + literalLength), out);
        used += literalLength;
        out = copyEnd;
      } else while (out < copyEnd) window[out++] = literals[used++];
      let source = out - offset1;
      if (offset1 === 0 || source < oldest) throw this.#damaged("a match reaches back too far");
      if (matchLength > 64 && offset1 >= matchLength) {
        window.copyWithin(out, source, source + matchLength);
        out = matchEnd;
      } else while (out < matchEnd) window[out++] = window[source++];

      if (++i === count) break;
      width = lengthBits[lengthState];
      position -= width;
      lengthState = lengthBases[lengthState] + bitsOf(words, position, width);
      width = matchBits[matchState];
      position -= width;
      matchState = matchBases[matchState] + bitsOf(words, position, width);
      width = offsetBits[offsetState];
      position -= width;
      offsetState = offsetBases[offsetState] + bitsOf(words, position, width);
    }
    if (position !== origin) throw this.#damaged("its sequences have another length than they say");
    const left = literalCount - used;
    if (out + left > stop) throw this.#damaged("its literals leave it");
    window.set(literals.subarray(used, literalCount), out);
    this.#offset1 = offset1;
    this.#offset2 = offset2;
    this.#offset3 = offset3;
    return out + left - start;
  }

  #byte(): number {
    return this.#block[this.#skip(1)];
  }

  /** @returns where what is skipped begins */
  #skip(count: number): number {
    const from = this.#next;
    if (from + count > this.#end) throw this.#damaged("it ends too early");
    this.#next = from + count;
    return from;
  }

  #damaged(what: string): InputError {
    return this.#fault(this.#start, `a block begins that is damaged: ${what}`);
  }
}

/** @param count at most 25 */
function bitsOf(words: DataView, position: number, count: number): number {
  return (words.getUint32(position >> 3, true) >>> (position & 7)) & ((1 << count) - 1);
}

function basesOf(bits: Uint8Array, first: number): Uint32Array {
  const bases = new Uint32Array(bits.length);
  let base = first;
  bits.forEach((width, code) => {
    bases[code] = base;
    base += 1 << width;
  });
  return bases;
}
