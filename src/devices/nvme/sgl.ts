import type { DmaPort } from "../../bus/io-mmu.js";
import { BIT_BUCKET, type DataMap } from "./data-map.js";
import { wide } from "./registers.js";
import { Status } from "./status.js";

const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = 4;
/** Descriptors that one command may use, segments included; without a limit a chain of empty ones would never end. */
export const MAX_DESCRIPTORS = 1024;
/** Read at a time. */
const BATCH = 256;

/** SGL descriptor type, the high half of the identifier byte (figure 114). */
const Type = { dataBlock: 0, bitBucket: 1, segment: 2, lastSegment: 3 } as const;

/** Scatter gather lists (§4.4): data blocks, bit buckets and segments, with addresses (sub type 0h) only. */
export class SglReader {
  readonly #words = new Uint32Array(BATCH * DESCRIPTOR_WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #first = new Uint32Array(DESCRIPTOR_WORDS);
  #toHost = false;
  /** Set by a descriptor that leads to the next segment. */
  #next = 0;
  #nextCount = 0;
  #nextIsLast = false;

  constructor(readonly dma: DmaPort) {}

  /**
   * Fills `map` with the pieces of exactly `length` bytes.
   * @param sqe SGL descriptor 1 is the four words at `at`
   * @param toHost direction of the data: a bit bucket drops bytes on the way to the host and is empty on the way back
   * @returns a status
   */
  map(sqe: Uint32Array, at: number, length: number, toHost: boolean, map: DataMap): number {
    for (let i = 0; i < DESCRIPTOR_WORDS; i++) this.#first[i] = sqe[at + i];
    this.#toHost = toHost;
    this.#nextCount = 0;
    this.#nextIsLast = false;
    let status = this.#take(this.#first, 0, true, map);
    let budget = MAX_DESCRIPTORS;
    while (status === Status.success && this.#nextCount > 0) {
      budget -= this.#nextCount;
      if (budget < 0) return Status.invalidSglCount;
      status = this.#segment(map);
    }
    if (status !== Status.success) return status;
    return map.total === length ? Status.success : Status.invalidSglDataLength;
  }

  #segment(map: DataMap): number {
    const last = this.#nextIsLast;
    let address = this.#next;
    let left = this.#nextCount;
    this.#nextCount = 0;
    while (left > 0) {
      const batch = Math.min(left, BATCH);
      if (!this.dma.read(address, this.#bytes, 0, batch * DESCRIPTOR_BYTES)) return Status.dataTransferError;
      address += batch * DESCRIPTOR_BYTES;
      left -= batch;
      for (let i = 0; i < batch; i++) {
        const status = this.#take(this.#words, i * DESCRIPTOR_WORDS, left === 0 && i === batch - 1, map);
        if (status !== Status.success) return status;
      }
    }
    // A segment that a segment descriptor led to ends with the way on; a last segment holds data only (§4.4).
    return last === (this.#nextCount === 0) ? Status.success : Status.invalidSglSegment;
  }

  #take(words: Uint32Array, at: number, lastPlace: boolean, map: DataMap): number {
    const identifier = words[at + 3] >>> 24;
    const length = words[at + 2];
    const address = wide(words[at], words[at + 1]);
    if ((identifier & 15) !== 0) return Status.invalidSglType;
    switch (identifier >>> 4) {
      case Type.dataBlock:
        if (length > 0) map.add(address, length);
        return Status.success;
      case Type.bitBucket:
        if (length > 0 && this.#toHost) map.add(BIT_BUCKET, length);
        return Status.success;
      case Type.segment:
      case Type.lastSegment:
        if (!lastPlace) return Status.invalidSglCount;
        if (length === 0 || length % DESCRIPTOR_BYTES !== 0) return Status.invalidSglSegment;
        this.#next = address;
        this.#nextCount = length / DESCRIPTOR_BYTES;
        this.#nextIsLast = identifier >>> 4 === Type.lastSegment;
        return Status.success;
      default:
        return Status.invalidSglType;
    }
  }
}
