/**
 * LZMA2: chunks, stored or of LZMA symbols, each of 2 MiB of output at most (xz file format 1.2.1, section 5.3.1, and the
 * description of the chunks in the LZMA SDK).
 */

import type { InputError } from "../util/errors.js";
import { LzmaDecoder } from "./lzma.js";

/** What can be at fault, at a byte offset of the input. */
export type Fault = (offset: number, what: string) => InputError;

/** Decodes one LZMA2 stream that lies in a longer input; the history is all that it keeps of its output. */
export class Lzma2Decoder {
  readonly #input: Uint8Array;
  readonly #dictionarySize: number;
  readonly #fault: Fault;
  readonly #lzma = new LzmaDecoder();
  #window = new Uint8Array(0);
  /** End of the output in the window, and how many bytes before it matches may reach. */
  #filled = 0;
  #history = 0;
  /** Output since the last reset of the dictionary, which the position bits are taken of. */
  #position = 0;
  #next: number;
  #needsDictionary = true;
  #needsProperties = true;

  /**
   * @param from where the first chunk begins
   * @param dictionarySize in bytes: how far matches may reach
   */
  constructor(input: Uint8Array, from: number, dictionarySize: number, fault: Fault) {
    this.#input = input;
    this.#next = from;
    this.#dictionarySize = dictionarySize;
    this.#fault = fault;
  }

  /** Offset in the input of what has not been read. */
  get next(): number {
    return this.#next;
  }

  /** @returns the next chunk's bytes, valid until the next call; undefined at the end of the stream */
  chunk(): Uint8Array | undefined {
    const input = this.#input;
    const start = this.#next;
    const control = this.#byte(start);
    if (control === 0) {
      this.#next = start + 1;
      return undefined;
    }
    if (control > 2 && control < 0x80) throw this.#fault(start, "no LZMA2 chunk begins with this byte");
    const isLzma = control >= 0x80;
    const resets = isLzma ? (control >>> 5) & 3 : 0;
    if (control === 1 || resets === 3) this.#resetDictionary();
    else if (this.#needsDictionary) throw this.#fault(start, "the first LZMA2 chunk does not reset the dictionary");
    if (!isLzma) {
      const size = this.#word(start + 1) + 1;
      const from = start + 3;
      if (from + size > input.length) throw this.#truncated();
      const at = this.#room(size);
      this.#window.set(input.subarray(from, from + size), at);
      this.#next = from + size;
      return this.#take(at, size);
    }
    const count = ((control & 0x1f) << 16) + this.#word(start + 1) + 1;
    const size = this.#word(start + 3) + 1;
    let from = start + 5;
    if (resets >= 2) this.#configure(from++);
    else if (this.#needsProperties) throw this.#fault(start, "an LZMA2 chunk comes before the properties");
    if (resets >= 1) this.#lzma.reset();
    if (from + size > input.length) throw this.#truncated();
    const at = this.#room(count);
    if (!this.#lzma.decode(input, from, from + size, this.#window, at, count, this.#history, this.#position)) {
      throw this.#fault(start, "the LZMA2 chunk is damaged");
    }
    this.#next = from + size;
    return this.#take(at, count);
  }

  #resetDictionary(): void {
    this.#needsDictionary = false;
    this.#needsProperties = true;
    this.#history = 0;
    this.#position = 0;
  }

  /** The byte holds (pb × 5 + lp) × 9 + lc. */
  #configure(offset: number): void {
    const value = this.#byte(offset);
    const literalContextBits = value % 9;
    const literalPositionBits = Math.floor(value / 9) % 5;
    const positionBits = Math.floor(value / 45);
    if (positionBits > 4 || literalContextBits + literalPositionBits > 4) {
      throw this.#fault(offset, "the LZMA properties are out of range");
    }
    this.#lzma.configure(literalContextBits, literalPositionBits, positionBits);
    this.#needsProperties = false;
  }

  /** Makes room for `size` bytes behind the history; @returns where */
  #room(size: number): number {
    if (this.#filled + size > this.#window.length) {
      const kept = this.#window.subarray(this.#filled - this.#history, this.#filled);
      // Twice what is needed, so that sliding copies a byte at most for each byte decoded.
      const wanted = 2 * (kept.length + size);
      const window = wanted <= this.#window.length ? this.#window : new Uint8Array(wanted);
      window.set(kept);
      this.#window = window;
      this.#filled = kept.length;
    }
    return this.#filled;
  }

  #take(at: number, size: number): Uint8Array {
    this.#filled = at + size;
    this.#history = Math.min(this.#history + size, this.#dictionarySize);
    this.#position = (this.#position + size) | 0;
    return this.#window.subarray(at, at + size);
  }

  #byte(offset: number): number {
    if (offset >= this.#input.length) throw this.#truncated();
    return this.#input[offset];
  }

  #word(offset: number): number {
    return (this.#byte(offset) << 8) | this.#byte(offset + 1);
  }

  #truncated(): InputError {
    return this.#fault(this.#input.length, "the LZMA2 data ends too early");
  }
}
