/** Where bytes come from, one after the other. */
export interface ByteSource {
  /** Puts the next bytes into `into` from its start and returns how many: fewer than asked is fine, 0 only at the end. */
  read(into: Uint8Array): number;
}

/** Where bytes go. */
export interface ByteSink {
  /** Takes all of `bytes`, which may be reused after the call. */
  write(bytes: Uint8Array): void;
  /** Everything was written. A second call does nothing. */
  close(): void;
}

/** Bytes in memory as a source. `most` bounds what one read returns, as a pipe does. */
export class MemorySource implements ByteSource {
  #at = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly most = Number.POSITIVE_INFINITY,
  ) {}

  read(into: Uint8Array): number {
    const length = Math.min(into.length, this.bytes.length - this.#at, this.most);
    into.set(this.bytes.subarray(this.#at, this.#at + length));
    this.#at += length;
    return length;
  }
}

/** A sink that keeps everything. */
export class MemorySink implements ByteSink {
  #buffer = new Uint8Array(4096);
  #length = 0;
  #closed = false;

  write(bytes: Uint8Array): void {
    const end = this.#length + bytes.length;
    if (end > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#buffer.length));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length = end;
  }

  close(): void {
    this.#closed = true;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** What was written so far: a view, valid until the next write. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }
}
