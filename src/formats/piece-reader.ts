/** Reads a given number of bytes at a time from pieces of any length. */
export class PieceReader {
  readonly #pieces: Iterator<Uint8Array>;
  #piece: Uint8Array = new Uint8Array(0);
  #used = 0;
  /** Bytes that have been read or skipped. */
  position = 0;

  constructor(pieces: Iterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.iterator]();
  }

  /** @returns a copy of the next `count` bytes, fewer at the end */
  read(count: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let length = 0;
    while (length < count && this.#more()) {
      const part = this.#take(count - length).slice();
      parts.push(part);
      length += part.length;
    }
    if (parts.length === 1) return parts[0];
    const whole = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  /** @returns whether there were as many */
  skip(count: number): boolean {
    let left = count;
    while (left > 0 && this.#more()) left -= this.#take(left).length;
    return left === 0;
  }

  /** Whether there is a byte left. */
  #more(): boolean {
    while (this.#used === this.#piece.length) {
      const { value, done } = this.#pieces.next();
      if (done) return false;
      this.#piece = value;
      this.#used = 0;
    }
    return true;
  }

  #take(most: number): Uint8Array {
    const part = this.#piece.subarray(this.#used, this.#used + most);
    this.#used += part.length;
    this.position += part.length;
    return part;
  }
}
