import type { ByteSink } from "./byte-stream.js";

const BUFFER_BYTES = 65_536;

/** Gathers small records in front of a sink, so that it gets few large writes. */
export class RecordBuffer {
  readonly #sink: ByteSink;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  #filled = 0;
  #closed = false;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  word(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#filled, value, true);
    this.#filled += 4;
  }

  data(bytes: Uint8Array, offset: number, length: number): void {
    const part = bytes.subarray(offset, offset + length);
    this.#room(length);
    if (length > BUFFER_BYTES) {
      this.#sink.write(part);
    } else {
      this.#buffer.set(part, this.#filled);
      this.#filled += length;
    }
  }

  /** Zero bytes, at most three. */
  padding(length: number): void {
    this.#room(length);
    this.#buffer.fill(0, this.#filled, this.#filled + length);
    this.#filled += length;
  }

  flush(): void {
    if (this.#filled === 0) return;
    const filled = this.#filled;
    this.#filled = 0;
    this.#sink.write(this.#buffer.subarray(0, filled));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.flush();
    this.#sink.close();
  }

  #room(length: number): void {
    if (this.#filled + length > BUFFER_BYTES) this.flush();
  }
}
