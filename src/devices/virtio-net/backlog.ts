import type { StateReader } from "../../util/state-reader.js";

const CAPACITY = 64 * 1024;
/** Each frame is preceded by its length. */
const LENGTH_BYTES = 4;

export interface BacklogState {
  /** Frames with their lengths, one behind the other. */
  content: number[];
}

/** Frames that wait for receive buffers. */
export class Backlog {
  readonly bytes = new Uint8Array(CAPACITY);
  readonly view = new DataView(this.bytes.buffer);
  #head = 0;
  #tail = 0;

  get empty(): boolean {
    return this.#head === this.#tail;
  }

  // The frame at the head: undefined when empty.

  get start(): number {
    return this.#head + LENGTH_BYTES;
  }

  get length(): number {
    return this.view.getUint32(this.#head, true);
  }

  /** @returns false if there is no room */
  push(source: Uint8Array, offset: number, length: number): boolean {
    const room = LENGTH_BYTES + length;
    if (this.#tail - this.#head + room > CAPACITY) return false;
    if (this.#tail + room > CAPACITY) {
      this.bytes.copyWithin(0, this.#head, this.#tail);
      this.#tail -= this.#head;
      this.#head = 0;
    }
    this.view.setUint32(this.#tail, length, true);
    this.bytes.set(source.subarray(offset, offset + length), this.#tail + LENGTH_BYTES);
    this.#tail += room;
    return true;
  }

  shift(): void {
    this.#head += LENGTH_BYTES + this.length;
    if (this.empty) this.clear();
  }

  clear(): void {
    this.#head = 0;
    this.#tail = 0;
  }

  snapshot(): BacklogState {
    return { content: [...this.bytes.subarray(this.#head, this.#tail)] };
  }

  /** @param shortest frame that can be here @param longest frame that can be here */
  restore(state: StateReader, shortest: number, longest: number): void {
    const content = state.numbers("content", 0, CAPACITY, 0xff);
    this.bytes.set(content);
    this.clear();
    let at = 0;
    while (at + LENGTH_BYTES <= content.length) {
      const length = this.view.getUint32(at, true);
      if (length < shortest || length > longest) break;
      at += LENGTH_BYTES + length;
    }
    if (at !== content.length) throw state.misfit("content", "frames that add up");
    this.#tail = content.length;
  }
}
