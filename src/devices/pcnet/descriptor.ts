import type { DmaPort } from "../../bus/io-mmu.js";
import { Bcr, Csr, Sws } from "./registers.js";

const WIDE_BYTES = 16;
const NARROW_BYTES = 8;
/** Style 3 has the buffer address last, for bursts. */
const SWAPPED = 3;

/** A descriptor of either ring in any software style (BCR20), as it was read last. */
export class RingDescriptor {
  address = 0;
  /** Bytes of the buffer: 1 to 4096. */
  count = 0;
  /** {@link DescriptorStatus}. */
  status = 0;
  /** Third word: errors of transmit, length of receive descriptors. */
  detail = 0;
  readonly #csr: Uint16Array;
  readonly #bcr: Uint16Array;
  readonly #dma: DmaPort;
  readonly #bytes = new Uint8Array(WIDE_BYTES);
  readonly #words = new Uint32Array(this.#bytes.buffer);
  #place = 0;

  constructor(csr: Uint16Array, bcr: Uint16Array, dma: DmaPort) {
    this.#csr = csr;
    this.#bcr = bcr;
    this.#dma = dma;
  }

  get owned(): boolean {
    return (this.status & 0x8000) !== 0;
  }

  get #wide(): boolean {
    return (this.#bcr[Bcr.SWS] & Sws.SSIZE32) !== 0;
  }

  /** @returns whether the bus let it pass */
  load(base: number, index: number): boolean {
    const words = this.#words;
    if (!this.#wide) {
      this.#place = base + index * NARROW_BYTES;
      if (!this.#dma.read(this.#place, this.#bytes, 0, NARROW_BYTES)) return false;
      // The upper byte of 24-bit addresses is IADR's.
      this.address = (words[0] & 0xff_ffff) + (this.#csr[Csr.IADR_HIGH] >>> 8) * 0x100_0000;
      this.status = (words[0] >>> 16) & 0xff00;
      this.count = bufferBytes(words[1]);
      this.detail = words[1] & 0xffff_0000;
      return true;
    }
    this.#place = base + index * WIDE_BYTES;
    if (!this.#dma.read(this.#place, this.#bytes, 0, WIDE_BYTES)) return false;
    const swapped = this.#swapped;
    this.address = words[swapped ? 2 : 0];
    this.status = words[1] >>> 16;
    this.count = bufferBytes(words[1]);
    this.detail = words[swapped ? 0 : 2];
    return true;
  }

  /**
   * Writes status and the third word back, as they are now.
   * @param length of a received frame: takes the third word's place
   * @returns whether the bus let it pass
   */
  store(length = -1): boolean {
    const words = this.#words;
    if (!this.#wide) {
      words[0] = (words[0] & 0x00ff_ffff) | ((this.status & 0xff00) << 16);
      words[1] = (words[1] & 0xffff) | (length >= 0 ? length << 16 : this.detail & 0xffff_0000);
      return this.#dma.write(this.#place, this.#bytes, 0, NARROW_BYTES);
    }
    const swapped = this.#swapped;
    words[1] = (words[1] & 0xffff) | (this.status << 16);
    words[swapped ? 0 : 2] = length >= 0 ? length : this.detail;
    return this.#dma.write(this.#place + (swapped ? 0 : 4), this.#bytes, swapped ? 0 : 4, 8);
  }

  get #swapped(): boolean {
    return (this.#bcr[Bcr.SWS] & Sws.STYLE) === SWAPPED;
  }
}

/** Counts are negative, in twelve bits. */
function bufferBytes(word: number): number {
  return 4096 - (word & 0xfff);
}
