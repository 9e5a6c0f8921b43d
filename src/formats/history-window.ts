/** The end of what a decoder has put out, as far back as it may still refer to, with room for what comes next. */
export class HistoryWindow {
  /** Replaced when it is outgrown: not to be kept over a call of `room`. */
  bytes = new Uint8Array(0);
  /** Where the next byte goes. */
  end = 0;
  /** How many bytes before `end` there are to refer to. */
  history = 0;
  readonly #reach: number;

  /** @param reach most bytes of history that are kept */
  constructor(reach: number) {
    this.#reach = reach;
  }

  /** Makes room for `size` bytes at `end`; what is there moves. */
  room(size: number): void {
    if (this.end + size <= this.bytes.length) return;
    const kept = this.bytes.subarray(this.end - this.history, this.end);
    // Twice what is needed, so that sliding copies a byte at most for each byte decoded.
    const wanted = 2 * (kept.length + size);
    const bytes = wanted <= this.bytes.length ? this.bytes : new Uint8Array(wanted);
    bytes.set(kept);
    this.bytes = bytes;
    this.end = kept.length;
  }

  /** The `size` bytes at `end` have been written; @returns them */
  take(size: number): Uint8Array {
    const from = this.end;
    this.end += size;
    this.history = Math.min(this.history + size, this.#reach);
    return this.bytes.subarray(from, this.end);
  }

  forget(): void {
    this.history = 0;
  }
}
