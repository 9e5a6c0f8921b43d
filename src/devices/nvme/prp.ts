import type { DmaPort } from "../../bus/io-mmu.js";
import type { DataMap } from "./data-map.js";
import { wide } from "./registers.js";
import { Status } from "./status.js";

const ENTRY_BYTES = 8;
/** A list page of the smallest memory page size has this many entries; a transfer of MDTS never needs more at once. */
const MOST_ENTRIES = 512;

/**
 * Physical region pages (§4.3): PRP1 may start anywhere in its page, all others start a page; PRP2 is the second page,
 * or the list when there are more than two. Only the list entries that the length asks for are read, so a chain
 * that leads back to itself ends with the transfer.
 */
export class PrpReader {
  readonly #words = new Uint32Array(MOST_ENTRIES * 2);
  readonly #bytes = new Uint8Array(this.#words.buffer);

  constructor(readonly dma: DmaPort) {}

  /**
   * Fills `map` with the pieces of `length` bytes (at least one).
   * @param dptr the four words of the data pointer, at `at` in `sqe`
   * @param pageSize bytes of a memory page (CC.MPS)
   * @returns a status
   */
  map(sqe: Uint32Array, at: number, length: number, pageSize: number, map: DataMap): number {
    const mask = pageSize - 1;
    const low1 = sqe[at];
    if ((low1 & 3) !== 0) return Status.invalidPrpOffset;
    const first = Math.min(length, pageSize - (low1 & mask));
    map.add(wide(low1, sqe[at + 1]), first);
    const left = length - first;
    if (left === 0) return Status.success;
    const low2 = sqe[at + 2];
    const address2 = wide(low2, sqe[at + 3]);
    if (left > pageSize) return this.#mapList(address2, low2 & mask, left, pageSize, map);
    if ((low2 & mask) !== 0) return Status.invalidPrpOffset;
    map.add(address2, left);
    return Status.success;
  }

  #mapList(list: number, offset: number, length: number, pageSize: number, map: DataMap): number {
    const mask = pageSize - 1;
    const words = this.#words;
    let left = length;
    let address = list;
    let at = offset;
    if ((at & (ENTRY_BYTES - 1)) !== 0) return Status.invalidPrpOffset;
    for (;;) {
      const pages = Math.ceil(left / pageSize);
      const places = (pageSize - at) / ENTRY_BYTES;
      const chained = pages > places;
      const entries = chained ? places - 1 : pages;
      if (!this.dma.read(address, this.#bytes, 0, (chained ? places : pages) * ENTRY_BYTES))
        return Status.dataTransferError;
      for (let i = 0; i < entries; i++) {
        const low = words[2 * i];
        if ((low & mask) !== 0) return Status.invalidPrpOffset;
        const piece = Math.min(left, pageSize);
        map.add(wide(low, words[2 * i + 1]), piece);
        left -= piece;
      }
      if (!chained) return Status.success;
      const low = words[2 * entries];
      if ((low & mask) !== 0) return Status.invalidPrpOffset;
      address = wide(low, words[2 * entries + 1]);
      at = 0;
    }
  }
}
