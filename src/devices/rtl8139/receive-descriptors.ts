import type { DmaPort } from "../../bus/io-mmu.js";
import { Stored } from "./receive-ring.js";
import { Descriptor, Register, type RegisterFile, RING_LIMIT, RxDescriptor } from "./registers.js";

/** Reception in C+ mode: a ring of descriptors at RDSAR, each with a buffer. */
export class ReceiveDescriptors {
  readonly #registers: RegisterFile;
  readonly #dma: DmaPort;
  readonly #descriptor = new Uint8Array(Descriptor.BYTES);
  readonly #words = new Uint32Array(this.#descriptor.buffer);
  // The descriptors that the frame in hand takes.
  readonly #places = new Float64Array(RING_LIMIT);
  readonly #buffers = new Float64Array(RING_LIMIT);
  readonly #sizes = new Uint32Array(RING_LIMIT);
  readonly #ends = new Uint32Array(RING_LIMIT);
  /** Descriptor that comes next. */
  index = 0;

  constructor(registers: RegisterFile, dma: DmaPort) {
    this.#registers = registers;
    this.#dma = dma;
  }

  /**
   * @param at where the frame with its FCS begins in `stage`
   * @param status flags of the first word
   * @param tag the second word
   */
  store(stage: Uint8Array, at: number, length: number, status: number, tag: number): number {
    const count = this.#gather(length);
    if (count <= 0) return count < 0 ? Stored.refused : Stored.noRoom;
    let done = 0;
    for (let i = 0; i < count; i++) {
      const piece = Math.min(this.#sizes[i], length - done);
      if (!this.#dma.write(this.#buffers[i], stage, at + done, piece)) return Stored.refused;
      done += piece;
      const last = i === count - 1;
      const position = (i === 0 ? Descriptor.FS : 0) | (last ? Descriptor.LS | status : 0);
      this.#words[0] = this.#ends[i] | position | (last ? length : piece);
      this.#words[1] = last ? tag : 0;
      if (!this.#dma.write(this.#places[i], this.#descriptor, 0, 8)) return Stored.refused;
      this.index = this.#after(this.index, this.#ends[i]);
    }
    return Stored.yes;
  }

  /** Looks for descriptors with room for `length` bytes. @returns how many; 0: there are not enough; −1: refused */
  #gather(length: number): number {
    const base = this.#registers.address(Register.RDSAR);
    let index = this.index;
    let room = 0;
    for (let count = 0; count < RING_LIMIT; ) {
      const place = base + index * Descriptor.BYTES;
      if (!this.#dma.read(place, this.#descriptor, 0, Descriptor.BYTES)) return -1;
      const command = this.#words[0];
      if (command < Descriptor.OWN) return 0;
      this.#places[count] = place;
      this.#buffers[count] = this.#words[2] + this.#words[3] * 0x1_0000_0000;
      this.#sizes[count] = command & RxDescriptor.SIZE;
      this.#ends[count] = command & Descriptor.EOR;
      room += this.#sizes[count];
      count++;
      if (room >= length) return count;
      index = this.#after(index, command);
      // Once round the ring: the first descriptor has been counted already.
      if (index === this.index) return 0;
    }
    return 0;
  }

  #after(index: number, command: number): number {
    return (command & Descriptor.EOR) !== 0 || index + 1 >= RING_LIMIT ? 0 : index + 1;
  }
}
