/**
 * LZ4: frames (frame format 1.6.4), and the legacy format that kernels are packed in, whose blocks unpack to 8 MiB each.
 */

import { UnsupportedError } from "../util/errors.js";
import { type Fault, faultOf } from "./fault.js";
import { HistoryWindow } from "./history-window.js";
import { XxHash32 } from "./xxhash.js";

export const LZ4_MAGIC = [0x04, 0x22, 0x4d, 0x18];
export const LZ4_LEGACY_MAGIC = [0x02, 0x21, 0x4c, 0x18];
const FRAME = 0x184d2204;
const LEGACY = 0x184c2102;
const SKIPPABLE = 0x184d2a50;
const LEGACY_BLOCK = 8 << 20;
/** How far back a match may reach. */
const REACH = 0xffff;
const SHORTEST_MATCH = 4;

/**
 * @param name of the file, for messages
 * @returns pieces that are valid until the next one is asked for
 * @throws InputError where the file is damaged, UnsupportedError for what needs a dictionary
 */
export function* lz4Pieces(bytes: Uint8Array, name: string): Generator<Uint8Array, void> {
  const reader = new Lz4Reader(bytes, name);
  while (!reader.ended) yield* reader.frame();
}

class Lz4Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #name: string;
  readonly #fault: Fault;
  #next = 0;

  constructor(bytes: Uint8Array, name: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#name = name;
    this.#fault = faultOf("lz4", name);
  }

  get ended(): boolean {
    return this.#next === this.#bytes.length;
  }

  *frame(): Generator<Uint8Array, void> {
    const start = this.#next;
    const magic = this.#word();
    if (magic === FRAME) yield* this.#modern();
    else if (magic === LEGACY) yield* this.#legacy();
    else if ((magic & ~0xf) >>> 0 === SKIPPABLE) this.#skip(this.#word());
    else throw this.#fault(start, "no frame begins");
  }

  *#modern(): Generator<Uint8Array, void> {
    const start = this.#next;
    this.#need(2);
    const flags = this.#bytes[start];
    const independent = (flags & 0x20) !== 0;
    const blockChecks = (flags & 0x10) !== 0;
    const hasSize = (flags & 0x08) !== 0;
    const check = (flags & 0x04) !== 0 ? new XxHash32() : undefined;
    const sizeCode = (this.#bytes[start + 1] >> 4) & 7;
    if (flags >> 6 !== 1 || (flags & 2) !== 0 || (this.#bytes[start + 1] & 0x8f) !== 0 || sizeCode < 4) {
      throw this.#fault(start, "the frame's header has a version or size that is not known");
    }
    if (flags & 1)
      throw new UnsupportedError("lz4-dictionary", `${this.#name} needs an LZ4 dictionary: none is supported`);
    this.#skip(2);
    const low = hasSize ? this.#word() : 0;
    const size = hasSize ? low + this.#word() * 2 ** 32 : undefined;
    this.#need(1);
    if (this.#bytes[this.#next] !== ((hash(this.#bytes.subarray(start, this.#next)) >>> 8) & 0xff)) {
      throw this.#fault(start, "the check of the frame's header does not agree");
    }
    this.#next++;
    const most = 1 << (8 + 2 * sizeCode);
    const window = new HistoryWindow(REACH);
    let total = 0;
    for (;;) {
      const at = this.#next;
      const word = this.#word();
      if (word === 0) break;
      const from = this.#next;
      this.#skip(word & 0x7fffffff);
      const data = this.#bytes.subarray(from, this.#next);
      if (blockChecks && this.#word() !== hash(data)) throw this.#fault(from, "the block's check does not agree");
      if (independent) window.forget();
      let piece: Uint8Array;
      if (word >>> 31 === 0) piece = this.#block(from, this.#next - (blockChecks ? 4 : 0), window, most);
      else {
        if (data.length > most) throw this.#fault(at, "the block is longer than the frame allows");
        window.room(data.length);
        window.bytes.set(data, window.end);
        piece = window.take(data.length);
      }
      check?.update(piece);
      total += piece.length;
      yield piece;
    }
    if (size !== undefined && size !== total) throw this.#fault(start, `the content's size is ${size}, not ${total}`);
    if (check !== undefined && this.#word() !== check.digest()) {
      throw this.#fault(this.#next - 4, "the content's check does not agree");
    }
  }

  /** Blocks up to the end, or to where another frame begins. */
  *#legacy(): Generator<Uint8Array, void> {
    const window = new HistoryWindow(REACH);
    while (!this.ended) {
      const size = this.#word();
      if (size === LEGACY || size === FRAME || (size & ~0xf) >>> 0 === SKIPPABLE) {
        this.#next -= 4;
        return;
      }
      const from = this.#next;
      this.#skip(size);
      window.forget();
      yield this.#block(from, this.#next, window, LEGACY_BLOCK);
    }
  }

  /** @param most bytes that may come out */
  #block(from: number, to: number, window: HistoryWindow, most: number): Uint8Array {
    const input = this.#bytes;
    // A byte of input yields 255 at most: what a small block cannot fill need not be there.
    const room = Math.min(most, (to - from) * 255);
    window.room(room);
    const { bytes, end: start } = window;
    const end = start + room;
    const oldest = start - window.history;
    let next = from;
    let out = start;
    while (next < to) {
      const token = input[next++];
      let literals = token >> 4;
      if (literals === 15) {
        let more = 255;
        while (more === 255 && next < to) {
          more = input[next++];
          literals += more;
        }
      }
      if (literals > to - next || literals > end - out) throw this.#fault(next, "a run of literals leaves the block");
      if (literals > 32) {
        bytes.set(input.subarray(next, next + literals), out);
        out += literals;
        next += literals;
      } else for (let i = 0; i < literals; i++) bytes[out++] = input[next++];
      if (next === to) {
        if ((token & 15) !== 0) throw this.#fault(next, "the block ends in a match");
        return window.take(out - start);
      }
      if (next + 2 > to) break;
      const distance = input[next] | (input[next + 1] << 8);
      next += 2;
      let length = (token & 15) + SHORTEST_MATCH;
      if ((token & 15) === 15) {
        let more = 255;
        while (more === 255 && next < to) {
          more = input[next++];
          length += more;
        }
      }
      let source = out - distance;
      if (distance === 0 || source < oldest) throw this.#fault(next, "a match reaches back too far");
      if (length > end - out) throw this.#fault(next, "a match leaves the block");
      for (const stop = out + length; out < stop; ) bytes[out++] = bytes[source++];
    }
    throw this.#fault(to, "the block ends too early");
  }

  #word(): number {
    this.#need(4);
    this.#next += 4;
    return this.#view.getUint32(this.#next - 4, true);
  }

  #skip(count: number): void {
    this.#need(count);
    this.#next += count;
  }

  #need(count: number): void {
    if (this.#next + count > this.#bytes.length) throw this.#fault(this.#bytes.length, "the data ends too early");
  }
}

function hash(bytes: Uint8Array): number {
  const hash = new XxHash32();
  hash.update(bytes);
  return hash.digest();
}
