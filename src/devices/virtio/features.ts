/** Feature bits that do not depend on the type of device (VIRTIO 1.2, §6). */
export const Feature = {
  /** The driver may pass tables of descriptors. */
  INDIRECT_DESC: 28,
  /** Both sides say at which index they want to be notified. */
  EVENT_IDX: 29,
  VERSION_1: 32,
  /** The driver passes addresses that an I/O MMU translates. */
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  /** Single queues can be reset. */
  RING_RESET: 40,
} as const;

const WORDS = 2;

/** A set of feature bits, as two words of 32. */
export class FeatureSet {
  readonly words = new Uint32Array(WORDS);

  constructor(bits: readonly number[] = []) {
    for (const bit of bits) this.words[bit >>> 5] |= 1 << (bit & 31);
  }

  has(bit: number): boolean {
    return ((this.words[bit >>> 5] >>> (bit & 31)) & 1) !== 0;
  }

  /** The lowest bit that `other` lacks, or −1. */
  firstNotIn(other: FeatureSet): number {
    for (let bit = 0; bit < WORDS * 32; bit++) if (this.has(bit) && !other.has(bit)) return bit;
    return -1;
  }

  clear(): void {
    this.words.fill(0);
  }
}
