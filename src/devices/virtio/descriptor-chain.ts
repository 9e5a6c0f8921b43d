import type { DmaPort } from "../../bus/io-mmu.js";

/**
 * One buffer of a virtqueue: elements that the device reads, then elements that it writes, each a range of addresses.
 * Made once and filled again and again by {@link Ring.take}.
 */
export class DescriptorChain {
  /** What identifies the buffer to the driver: the head descriptor's index (split), or the buffer ID (packed). */
  id = 0;
  /** Places that it takes up in the ring. */
  slots = 0;
  readableBytes = 0;
  writableBytes = 0;
  readonly #addresses: Float64Array;
  readonly #lengths: Uint32Array;
  #readable = 0;
  #count = 0;

  /** @param elements that it can have at most */
  constructor(elements: number) {
    this.#addresses = new Float64Array(elements);
    this.#lengths = new Uint32Array(elements);
  }

  clear(): void {
    this.#readable = 0;
    this.#count = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  /**
   * Appends an element; empty ones are left out.
   * @returns whether it may stand there: what the device reads comes first (§2.7.4.2), and there is room
   */
  add(address: number, length: number, writable: boolean): boolean {
    if (length === 0) return true;
    if (this.#count === this.#lengths.length) return false;
    if (writable) {
      this.writableBytes += length;
    } else {
      if (this.#count !== this.#readable) return false;
      this.#readable++;
      this.readableBytes += length;
    }
    this.#addresses[this.#count] = address;
    this.#lengths[this.#count++] = length;
    return true;
  }

  /** Reads `length` bytes from `position` of the readable part on. @returns false if memory refused, or there are less */
  read(dma: DmaPort, position: number, into: Uint8Array, offset: number, length: number): boolean {
    let skip = position;
    let done = 0;
    for (let i = 0; i < this.#readable && done < length; i++) {
      const size = this.#lengths[i];
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const piece = Math.min(size - skip, length - done);
      if (!dma.read(this.#addresses[i] + skip, into, offset + done, piece)) return false;
      done += piece;
      skip = 0;
    }
    return done === length;
  }

  /** Writes `length` bytes from `position` of the writable part on. @returns false if memory refused, or there is less room */
  write(dma: DmaPort, position: number, from: Uint8Array, offset: number, length: number): boolean {
    let skip = position;
    let done = 0;
    for (let i = this.#readable; i < this.#count && done < length; i++) {
      const size = this.#lengths[i];
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const piece = Math.min(size - skip, length - done);
      if (!dma.write(this.#addresses[i] + skip, from, offset + done, piece)) return false;
      done += piece;
      skip = 0;
    }
    return done === length;
  }
}
