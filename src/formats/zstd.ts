/** Zstandard (RFC 8878), without dictionaries. */

import { UnsupportedError } from "../util/errors.js";
import { type Fault, faultOf } from "./fault.js";
import { HistoryWindow } from "./history-window.js";
import { XxHash64 } from "./xxhash.js";
import { ZstdBlockDecoder } from "./zstd-block.js";

export const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const FRAME = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
/** As the zstd tool does unless it is told to take more. */
const MOST_WINDOW = 1 << 27;
const MOST_IN_BLOCK = 1 << 17;

/**
 * @param name of the file, for messages
 * @returns pieces that are valid until the next one is asked for
 * @throws InputError where the file is damaged, UnsupportedError for what needs a dictionary or too large a window
 */
export function* zstdPieces(bytes: Uint8Array, name: string): Generator<Uint8Array, void> {
  const reader = new ZstdReader(bytes, name);
  while (!reader.ended) yield* reader.frame();
}

class ZstdReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #name: string;
  readonly #fault: Fault;
  #next = 0;

  constructor(bytes: Uint8Array, name: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#name = name;
    this.#fault = faultOf("zstd", name);
  }

  get ended(): boolean {
    return this.#next === this.#bytes.length;
  }

  /** 3.1 */
  *frame(): Generator<Uint8Array, void> {
    const start = this.#next;
    const magic = this.#number(4);
    if ((magic & ~0xf) >>> 0 === SKIPPABLE) {
      this.#skip(this.#number(4));
      return;
    }
    if (magic !== FRAME) throw this.#fault(start, "no frame begins");
    const descriptor = this.#number(1);
    if (descriptor & 0x08) throw this.#fault(start + 4, "the frame's header has unknown flags");
    const single = (descriptor & 0x20) !== 0;
    const windowByte = single ? 0 : this.#number(1);
    const dictionary = this.#number([0, 1, 2, 4][descriptor & 3]);
    if (dictionary !== 0) {
      throw new UnsupportedError(
        "zstd-dictionary",
        `${this.#name} needs Zstandard dictionary ${dictionary}: none is supported`,
      );
    }
    const sizeCode = descriptor >> 6;
    const sizeWidth = sizeCode === 0 ? Number(single) : 1 << sizeCode;
    const size = sizeWidth === 0 ? undefined : this.#number(sizeWidth) + (sizeWidth === 2 ? 256 : 0);
    const reach = single ? (size ?? 0) : (8 + (windowByte & 7)) * 2 ** (7 + (windowByte >> 3));
    if (reach > MOST_WINDOW) {
      throw new UnsupportedError(
        "zstd-window",
        `${this.#name} needs a Zstandard window of ${reach} bytes: ${MOST_WINDOW} (--long=27) is the most`,
      );
    }
    const check = (descriptor & 0x04) !== 0 ? new XxHash64() : undefined;
    const total = yield* this.#blocks(new HistoryWindow(reach), Math.min(reach, MOST_IN_BLOCK), check);
    if (size !== undefined && size !== total) throw this.#fault(start, `the content's size is ${size}, not ${total}`);
    if (check !== undefined && BigInt(this.#number(4)) !== BigInt.asUintN(32, check.digest())) {
      throw this.#fault(this.#next - 4, "the content's check does not agree");
    }
  }

  /** 3.1.1.2; @returns how many bytes came out */
  *#blocks(window: HistoryWindow, most: number, check: XxHash64 | undefined): Generator<Uint8Array, number> {
    const decoder = new ZstdBlockDecoder(this.#bytes, window, this.#fault);
    let total = 0;
    for (let last = false; !last; ) {
      const start = this.#next;
      const header = this.#number(3);
      last = (header & 1) !== 0;
      const type = (header >> 1) & 3;
      const size = header >> 3;
      const from = this.#next;
      if (size > most || type === 3) throw this.#fault(start, "the block has an unknown type or is too long");
      this.#skip(type === 1 ? 1 : size);
      let produced = size;
      if (type === 2) produced = decoder.decode(from, this.#next, most);
      else {
        window.room(size);
        if (type === 0) window.bytes.set(this.#bytes.subarray(from, this.#next), window.end);
        else window.bytes.fill(this.#bytes[from], window.end, window.end + size);
      }
      const piece = window.take(produced);
      check?.update(piece);
      total += piece.length;
      yield piece;
    }
    return total;
  }

  /** Of up to eight bytes, least significant first. */
  #number(width: number): number {
    this.#skip(width);
    let value = 0;
    for (let i = 1; i <= width; i++) value = value * 256 + this.#view.getUint8(this.#next - i);
    return value;
  }

  #skip(count: number): void {
    if (this.#next + count > this.#bytes.length) throw this.#fault(this.#bytes.length, "the data ends too early");
    this.#next += count;
  }
}
