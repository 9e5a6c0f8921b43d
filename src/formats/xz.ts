/**
 * The .xz container (file format 1.2.1): streams of blocks, each LZMA2 behind filters, with integrity checks and an
 * index. All that can be verified is.
 */

import { UnsupportedError } from "../util/errors.js";
import { X86Filter } from "./bcj-x86.js";
import { Crc64, crc32 } from "./crc.js";
import { type Fault, faultOf } from "./fault.js";
import { Lzma2Decoder } from "./lzma2.js";
import { Sha256 } from "./sha256.js";

export const XZ_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FOOTER_MAGIC = 0x595a;
const HEADER_SIZE = 12;

const FILTER_LZMA2 = 0x21;
const FILTER_X86 = 0x04;
const OTHER_FILTERS: Readonly<Record<number, string>> = {
  3: "delta",
  5: "PowerPC",
  6: "IA-64",
  7: "ARM",
  8: "ARM Thumb",
  9: "SPARC",
  10: "ARM64",
  11: "RISC-V",
};

interface Check {
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

class NoCheck implements Check {
  update(): void {}
  digest(): Uint8Array {
    return new Uint8Array(0);
  }
}

class Crc32Check implements Check {
  #value = 0;
  update(bytes: Uint8Array): void {
    this.#value = crc32(bytes, this.#value);
  }
  digest(): Uint8Array {
    return Uint8Array.of(this.#value, this.#value >>> 8, this.#value >>> 16, this.#value >>> 24);
  }
}

/** By the identifier in the stream flags. */
const CHECKS: Readonly<Record<number, () => Check>> = {
  0: () => new NoCheck(),
  1: () => new Crc32Check(),
  4: () => new Crc64(),
  10: () => new Sha256(),
};

interface BlockHeader {
  /** Where the compressed data begins. */
  readonly data: number;
  readonly compressed: number | undefined;
  readonly uncompressed: number | undefined;
  readonly dictionarySize: number;
  /** The start offset of the x86 filter, if there is one. */
  readonly x86: number | undefined;
}

interface IndexRecord {
  readonly unpadded: number;
  readonly uncompressed: number;
}

/**
 * Decodes a file's streams piece by piece; memory stays within twice the dictionary in use.
 * @param name of the file, for messages
 * @returns pieces that are valid until the next one is asked for
 * @throws InputError where the file is damaged, UnsupportedError for filters and checks that are not known
 */
export function* xzPieces(bytes: Uint8Array, name: string): Generator<Uint8Array, void> {
  const reader = new XzReader(bytes, name);
  do {
    yield* reader.stream();
  } while (reader.another());
}

class XzReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #name: string;
  readonly #fault: Fault;
  #next = 0;

  constructor(bytes: Uint8Array, name: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#name = name;
    this.#fault = faultOf("xz", name);
  }

  /** 2.1: header, blocks, index, footer. */
  *stream(): Generator<Uint8Array, void> {
    const start = this.#next;
    this.#need(HEADER_SIZE);
    if (XZ_MAGIC.some((byte, i) => this.#bytes[start + i] !== byte)) throw this.#fault(start, "no stream begins");
    const flags = this.#view.getUint16(start + 6);
    this.#verify(start + 6, 2);
    const makeCheck = CHECKS[flags];
    if (makeCheck === undefined) {
      throw new UnsupportedError(
        "xz-check",
        `${this.#name} needs an integrity check of xz that is not known: ${flags}`,
      );
    }
    this.#next = start + HEADER_SIZE;
    const records: IndexRecord[] = [];
    for (;;) {
      this.#need(1);
      if (this.#bytes[this.#next] === 0) break;
      records.push(yield* this.#block(makeCheck()));
    }
    const indexSize = this.#index(records);
    this.#footer(indexSize, flags);
  }

  /** 2.2: whether another stream follows, past zeroes in fours. */
  another(): boolean {
    while (this.#next < this.#bytes.length && this.#bytes[this.#next] === 0) {
      this.#need(4);
      if (this.#view.getUint32(this.#next) !== 0) throw this.#fault(this.#next, "the padding is not zeroes in fours");
      this.#next += 4;
    }
    return this.#next < this.#bytes.length;
  }

  *#block(check: Check): Generator<Uint8Array, IndexRecord> {
    const start = this.#next;
    const header = this.#blockHeader();
    const lzma2 = new Lzma2Decoder(this.#bytes, header.data, header.dictionarySize, this.#fault);
    const x86 = header.x86 === undefined ? undefined : new X86Filter(header.x86);
    let uncompressed = 0;
    for (;;) {
      const chunk = lzma2.chunk();
      const piece = x86 === undefined ? chunk : chunk === undefined ? x86.finish() : x86.push(chunk);
      if (piece !== undefined) {
        check.update(piece);
        uncompressed += piece.length;
        yield piece;
      }
      if (chunk === undefined) break;
    }
    const end = lzma2.next;
    this.#expect(header.data, "compressed size", header.compressed, end - header.data);
    this.#expect(header.data, "uncompressed size", header.uncompressed, uncompressed);
    this.#next = end;
    this.#padding(start);
    const digest = check.digest();
    this.#need(digest.length);
    if (digest.some((byte, i) => this.#bytes[this.#next + i] !== byte)) {
      throw this.#fault(this.#next, "the check of the block that ends here does not agree with its data");
    }
    this.#next += digest.length;
    return { unpadded: end - start + digest.length, uncompressed };
  }

  /** 3.1 */
  #blockHeader(): BlockHeader {
    const start = this.#next;
    const size = 4 * (this.#bytes[start] + 1);
    this.#need(size);
    this.#verify(start, size - 4);
    const end = start + size - 4;
    const flags = this.#bytes[start + 1];
    if (flags & 0x3c) throw this.#fault(start + 1, "the block header has unknown flags");
    this.#next = start + 2;
    const compressed = flags & 0x40 ? this.#number(end) : undefined;
    const uncompressed = flags & 0x80 ? this.#number(end) : undefined;
    let dictionarySize: number | undefined;
    let x86: number | undefined;
    for (let left = (flags & 3) + 1; left > 0; left--) {
      const at = this.#next;
      const id = this.#number(end);
      const length = this.#number(end);
      const properties = this.#next;
      if (length > end - properties) throw this.#fault(at, "a filter's properties leave the block header");
      this.#next += length;
      if (id === FILTER_LZMA2 && left === 1) {
        if (length !== 1 || this.#bytes[properties] > 40) throw this.#fault(at, "LZMA2 has wrong properties");
        dictionarySize = dictionaryBytes(this.#bytes[properties]);
      } else if (id === FILTER_X86 && left > 1 && x86 === undefined) {
        if (length !== 0 && length !== 4) throw this.#fault(at, "the x86 filter has wrong properties");
        x86 = length === 0 ? 0 : this.#view.getUint32(properties, true);
      } else {
        throw new UnsupportedError(
          "xz-filter",
          `${this.#name} uses a chain of xz filters that is not supported: ${filterName(id)} at byte ${at}; ` +
            "LZMA2, alone or with one x86 filter, is",
        );
      }
    }
    for (let i = this.#next; i < end; i++) {
      if (this.#bytes[i] !== 0) throw this.#fault(i, "the block header's padding is not zero");
    }
    if (dictionarySize === undefined) throw this.#fault(start, "the block header names no LZMA2 filter");
    return { data: start + size, compressed, uncompressed, dictionarySize, x86 };
  }

  /** 4; @returns its size */
  #index(records: readonly IndexRecord[]): number {
    const start = this.#next++;
    const end = this.#bytes.length;
    this.#expect(start, "number of blocks in the index", this.#number(end), records.length);
    for (const { unpadded, uncompressed } of records) {
      const at = this.#next;
      this.#expect(at, "size of a block in the index", this.#number(end), unpadded);
      this.#expect(at, "uncompressed size of a block in the index", this.#number(end), uncompressed);
    }
    this.#padding(start);
    this.#need(4);
    this.#verify(start, this.#next - start);
    this.#next += 4;
    return this.#next - start;
  }

  /** 2.1.2 */
  #footer(indexSize: number, flags: number): void {
    const start = this.#next;
    this.#need(HEADER_SIZE);
    const view = this.#view;
    if (view.getUint16(start + 10) !== FOOTER_MAGIC) throw this.#fault(start + 10, "the stream's footer is missing");
    if (view.getUint32(start, true) !== crc32(this.#bytes.subarray(start + 4, start + 10))) {
      throw this.#fault(start, "the footer's CRC does not agree");
    }
    this.#expect(start + 4, "size of the index", 4 * (view.getUint32(start + 4, true) + 1), indexSize);
    this.#expect(start + 8, "flags in the footer", view.getUint16(start + 8), flags);
    this.#next = start + HEADER_SIZE;
  }

  /** 1.2: seven bits a byte, the lowest first, in as few bytes as it takes. */
  #number(end: number): number {
    const start = this.#next;
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (this.#next >= end) throw this.#fault(this.#next, "a number ends too early");
      const byte = this.#bytes[this.#next++];
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw this.#fault(start, "a number is out of range");
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw this.#fault(start, "a number is longer than it need be");
        return value;
      }
    }
  }

  /** Zeroes up to a multiple of four bytes since `start`. */
  #padding(start: number): void {
    for (; (this.#next - start) % 4 !== 0; this.#next++) {
      this.#need(1);
      if (this.#bytes[this.#next] !== 0) throw this.#fault(this.#next, "the padding is not zero");
    }
  }

  /** A CRC-32 stands behind what it protects. */
  #verify(start: number, length: number): void {
    const stored = this.#view.getUint32(start + length, true);
    if (stored !== crc32(this.#bytes.subarray(start, start + length)))
      throw this.#fault(start, "a header's CRC does not agree");
  }

  #expect(offset: number, what: string, stored: number | undefined, found: number): void {
    if (stored !== undefined && stored !== found) throw this.#fault(offset, `the ${what} is ${stored}, not ${found}`);
  }

  #need(count: number): void {
    if (this.#next + count > this.#bytes.length) throw this.#fault(this.#bytes.length, "the data ends too early");
  }
}

/** 5.3.1: 2^n or 3 × 2^(n-1), from 4 KiB up. */
function dictionaryBytes(property: number): number {
  return property === 40 ? 2 ** 32 - 1 : (2 | (property & 1)) * 2 ** ((property >> 1) + 11);
}

function filterName(id: number): string {
  if (id === FILTER_LZMA2) return "LZMA2";
  if (id === FILTER_X86) return "x86";
  return OTHER_FILTERS[id] ?? `filter ${id}`;
}
