import type { ByteSource } from "./byte-stream.js";

const FIRST_CAPACITY = 262_144;

/**
 * A window that moves over a source: parsers ask for so many bytes at once, look at them, and move on. It never holds
 * more than the longest request rounded up to a power of two, however long the source is.
 */
export class ByteWindow {
  /** The bytes from `start` on are those at `offset` of the source; moving the window overwrites them. */
  bytes = new Uint8Array(FIRST_CAPACITY);
  view = new DataView(this.bytes.buffer);
  start = 0;
  #end = 0;
  #consumed = 0;
  #ended = false;

  constructor(private readonly source: ByteSource) {}

  /** Position of `start` in the source. */
  get offset(): number {
    return this.#consumed;
  }

  /** How many bytes can be looked at now. */
  get available(): number {
    return this.#end - this.start;
  }

  /** Makes at least `length` bytes available; false if the source ends before. */
  ensure(length: number): boolean {
    return this.#end - this.start >= length || this.#fill(length);
  }

  /** Moves on by at most `length` bytes; returns how many there were. */
  skip(length: number): number {
    let left = length;
    for (;;) {
      const step = Math.min(left, this.#end - this.start);
      this.start += step;
      this.#consumed += step;
      left -= step;
      if (left === 0 || !this.#fill(1)) return length - left;
    }
  }

  #fill(length: number): boolean {
    this.#makeRoom(length);
    while (this.#end - this.start < length && !this.#ended) {
      const count = this.source.read(this.bytes.subarray(this.#end));
      if (count === 0) this.#ended = true;
      this.#end += count;
    }
    return this.#end - this.start >= length;
  }

  #makeRoom(length: number): void {
    if (this.start + length <= this.bytes.length && this.start !== this.#end) return;
    const kept = this.bytes.subarray(this.start, this.#end);
    if (length > this.bytes.length) {
      this.bytes = new Uint8Array(2 ** Math.ceil(Math.log2(length)));
      this.view = new DataView(this.bytes.buffer);
      this.bytes.set(kept);
    } else {
      this.bytes.copyWithin(0, this.start, this.#end);
    }
    this.start = 0;
    this.#end = kept.length;
  }
}
