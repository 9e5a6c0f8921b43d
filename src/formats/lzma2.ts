/**
 * LZMA2: chunks, stored or of LZMA symbols, each of 2 MiB of output at most (xz file format 1.2.1, section 5.3.1, and the
 * description of the chunks in the LZMA SDK).
 */

import type { InputError } from "../util/errors.js";
import type { Fault } from "./fault.js";
import { HistoryWindow } from "./history-window.js";
import { LzmaDecoder } from "./lzma.js";

/** Decodes one LZMA2 stream that lies in a longer input; the history is all that it keeps of its output. */
export class Lzma2Decoder {
  readonly #input: Uint8Array;
  readonly #window: HistoryWindow;
  readonly #fault: Fault;
  readonly #lzma = new LzmaDecoder();
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
    this.#window = new HistoryWindow(dictionarySize);
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
      this.#window.room(size);
      this.#window.bytes.set(input.subarray(from, from + size), this.#window.end);
      this.#next = from + size;
      return this.#take(size);
    }
    const count = ((control & 0x1f) << 16) + this.#word(start + 1) + 1;
    const size = this.#word(start + 3) + 1;
    let from = start + 5;
    if (resets >= 2) this.#configure(from++);
    else if (this.#needsProperties) throw this.#fault(start, "an LZMA2 chunk comes before the properties");
    if (resets >= 1) this.#lzma.reset();
    if (from + size > input.length) throw this.#truncated();
    this.#window.room(count);
    const { bytes, end, history } = this.#window;
    if (!this.#lzma.decode(input, from, from + size, bytes, end, count, history, this.#position)) {
      throw this.#fault(start, "the LZMA2 chunk is damaged");
    }
    this.#next = from + size;
    return this.#take(count);
  }

  #resetDictionary(): void {
    this.#needsDictionary = false;
    this.#needsProperties = true;
    this.#window.forget();
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

  #take(size: number): Uint8Array {
    this.#position = (this.#position + size) | 0;
    return this.#window.take(size);
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
