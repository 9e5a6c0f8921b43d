import { WireEnd } from "./wire-end.js";

/**
 * Mixes `length` bytes into a 32-bit hash, four at a time: cheap enough for every frame of a benchmark, and no byte can
 * be skipped or exchanged unnoticed. Not for use against anybody who wants a collision.
 */
export function mixFrame(hash: number, view: DataView, offset: number, length: number): number {
  let mixed = Math.imul(hash ^ length, 0x9e3779b1);
  const end = offset + length;
  let at = offset;
  if (length >= LANED) {
    // Four at once do not wait for each other.
    let a = mixed;
    let b = mixed ^ 0x2545f491;
    let c = ~mixed;
    let d = mixed ^ 0x6c078965;
    for (; at + 16 <= end; at += 16) {
      a = Math.imul(a ^ view.getInt32(at, true), 0x85ebca6b);
      b = Math.imul(b ^ view.getInt32(at + 4, true), 0xc2b2ae35);
      c = Math.imul(c ^ view.getInt32(at + 8, true), 0x27d4eb2f);
      d = Math.imul(d ^ view.getInt32(at + 12, true), 0x165667b1);
      a ^= a >>> 15;
      b ^= b >>> 15;
      c ^= c >>> 15;
      d ^= d >>> 15;
    }
    mixed = Math.imul(Math.imul(Math.imul(a ^ (b >>> 7), 0x85ebca6b) ^ c, 0xc2b2ae35) ^ d, 0x9e3779b1);
  }
  for (; at + 4 <= end; at += 4) {
    mixed = Math.imul(mixed ^ view.getInt32(at, true), 0x85ebca6b);
    mixed ^= mixed >>> 15;
  }
  for (; at < end; at++) mixed = Math.imul(mixed ^ view.getUint8(at), 0x01000193);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}

/** Frames from this length on are mixed in four lanes. */
const LANED = 64;

/** A far end that hashes every frame it gets, so that a benchmark can prove that each was really sent. */
export class HashWire extends WireEnd {
  frames = 0;
  bytes = 0;
  /** Over all frames, in their order. */
  digest = 0;
  #view: DataView = new DataView(new ArrayBuffer(0));

  override send(bytes: Uint8Array, offset: number, length: number): void {
    if (!this.carrier) return;
    if (this.#view.buffer !== bytes.buffer) this.#view = new DataView(bytes.buffer);
    this.digest = mixFrame(this.digest, this.#view, bytes.byteOffset + offset, length);
    this.frames++;
    this.bytes += length;
  }
}
