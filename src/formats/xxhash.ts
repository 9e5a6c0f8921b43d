/** xxHash of 32 and 64 bits with seed 0 (its specification's version 0.2), as LZ4 and Zstandard use it. */

const A32 = 0x9e3779b1;
const B32 = 0x85ebca77;
const C32 = 0xc2b2ae3d;
const D32 = 0x27d4eb2f;
const E32 = 0x165667b1;

const A64 = 0x9e3779b185ebca87n;
const B64 = 0xc2b2ae3d27d4eb4fn;
const C64 = 0x165667b19e3779f9n;
const D64 = 0x85ebca77c2b2ae63n;
const E64 = 0x27d4eb2f165667c5n;

/** Gathers stripes of what comes in pieces of any length. */
abstract class Striped {
  protected length = 0;
  readonly #stripe: Uint8Array;
  #filled = 0;

  constructor(size: number) {
    this.#stripe = new Uint8Array(size);
  }

  update(bytes: Uint8Array): void {
    const size = this.#stripe.length;
    this.length += bytes.length;
    let next = 0;
    if (this.#filled > 0) {
      next = Math.min(size - this.#filled, bytes.length);
      this.#stripe.set(bytes.subarray(0, next), this.#filled);
      this.#filled += next;
      if (this.#filled < size) return;
      this.stripes(this.#stripe, 0, size);
    }
    const end = bytes.length - ((bytes.length - next) % size);
    this.stripes(bytes, next, end);
    this.#stripe.set(bytes.subarray(end));
    this.#filled = bytes.length - end;
  }

  /** What is left over: less than a stripe. */
  protected rest(): DataView {
    return new DataView(this.#stripe.buffer, 0, this.#filled);
  }

  protected abstract stripes(bytes: Uint8Array, from: number, to: number): void;
}

export class XxHash32 extends Striped {
  readonly #lanes = Int32Array.of(A32 + B32, B32, 0, -A32);

  constructor() {
    super(16);
  }

  protected stripes(bytes: Uint8Array, from: number, to: number): void {
    const lanes = this.#lanes;
    for (let at = from; at < to; at += 16) {
      for (let lane = 0; lane < 4; lane++) {
        const i = at + 4 * lane;
        const word = bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
        lanes[lane] = Math.imul(rotate(lanes[lane] + Math.imul(word, B32), 13), A32);
      }
    }
  }

  digest(): number {
    const [a, b, c, d] = this.#lanes;
    let hash = this.length < 16 ? E32 : rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
    hash = (hash + this.length) | 0;
    const rest = this.rest();
    let i = 0;
    for (; i + 4 <= rest.byteLength; i += 4) {
      hash = Math.imul(rotate(hash + Math.imul(rest.getInt32(i, true), C32), 17), D32);
    }
    for (; i < rest.byteLength; i++) hash = Math.imul(rotate(hash + Math.imul(rest.getUint8(i), E32), 11), A32);
    hash = Math.imul(hash ^ (hash >>> 15), B32);
    hash = Math.imul(hash ^ (hash >>> 13), C32);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** The four 64-bit lanes are kept as halves: only what is done once a stream is done with BigInt. */
export class XxHash64 extends Striped {
  readonly #low = new Int32Array(4);
  readonly #high = new Int32Array(4);

  constructor() {
    super(32);
    [A64 + B64, B64, 0n, -A64].forEach((lane, i) => {
      this.#low[i] = Number(BigInt.asIntN(32, lane));
      this.#high[i] = Number(BigInt.asIntN(32, lane >> 32n));
    });
  }

  protected stripes(bytes: Uint8Array, from: number, to: number): void {
    for (let lane = 0; lane < 4; lane++) {
      let low = this.#low[lane];
      let high = this.#high[lane];
      for (let i = from + 8 * lane; i < to; i += 32) {
        const wordLow = bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
        const wordHigh = bytes[i + 4] | (bytes[i + 5] << 8) | (bytes[i + 6] << 16) | (bytes[i + 7] << 24);
        const productLow = Math.imul(wordLow, B64_LOW);
        const productHigh = (upper(wordLow, B64_LOW) + Math.imul(wordLow, B64_HIGH) + Math.imul(wordHigh, B64_LOW)) | 0;
        const sumLow = (low + productLow) | 0;
        const sumHigh = (high + productHigh + (sumLow >>> 0 < productLow >>> 0 ? 1 : 0)) | 0;
        const turnedLow = (sumLow << 31) | (sumHigh >>> 1);
        const turnedHigh = (sumHigh << 31) | (sumLow >>> 1);
        low = Math.imul(turnedLow, A64_LOW);
        high = (upper(turnedLow, A64_LOW) + Math.imul(turnedLow, A64_HIGH) + Math.imul(turnedHigh, A64_LOW)) | 0;
      }
      this.#low[lane] = low;
      this.#high[lane] = high;
    }
  }

  digest(): bigint {
    let hash = E64;
    if (this.length >= 32) {
      const lanes = [0, 1, 2, 3].map((i) => wrap((BigInt(this.#high[i]) << 32n) | BigInt(this.#low[i] >>> 0)));
      hash = wrap(rotate64(lanes[0], 1n) + rotate64(lanes[1], 7n) + rotate64(lanes[2], 12n) + rotate64(lanes[3], 18n));
      for (const lane of lanes) hash = wrap((hash ^ round64(lane)) * A64 + D64);
    }
    hash = wrap(hash + BigInt(this.length));
    const rest = this.rest();
    let i = 0;
    for (; i + 8 <= rest.byteLength; i += 8) {
      hash = wrap(rotate64(hash ^ round64(rest.getBigUint64(i, true)), 27n) * A64 + D64);
    }
    for (; i + 4 <= rest.byteLength; i += 4) {
      hash = wrap(rotate64(hash ^ wrap(BigInt(rest.getUint32(i, true)) * A64), 23n) * B64 + C64);
    }
    for (; i < rest.byteLength; i++) hash = wrap(rotate64(hash ^ wrap(BigInt(rest.getUint8(i)) * E64), 11n) * A64);
    hash = wrap((hash ^ (hash >> 33n)) * B64);
    hash = wrap((hash ^ (hash >> 29n)) * C64);
    return hash ^ (hash >> 32n);
  }
}

const A64_LOW = Number(BigInt.asIntN(32, A64));
const A64_HIGH = Number(BigInt.asIntN(32, A64 >> 32n));
const B64_LOW = Number(BigInt.asIntN(32, B64));
const B64_HIGH = Number(BigInt.asIntN(32, B64 >> 32n));

/** The upper half of the product of two unsigned 32-bit numbers. */
function upper(a: number, b: number): number {
  const low = a & 0xffff;
  const high = a >>> 16;
  const otherLow = b & 0xffff;
  const otherHigh = b >>> 16;
  const carry = (Math.imul(high, otherLow) >>> 0) + (Math.imul(low, otherLow) >>> 16);
  const middle = (Math.imul(low, otherHigh) >>> 0) + (carry & 0xffff);
  return (Math.imul(high, otherHigh) + (carry >>> 16) + (middle >>> 16)) | 0;
}

function round64(word: bigint): bigint {
  return wrap(rotate64(wrap(word * B64), 31n) * A64);
}

function rotate64(value: bigint, bits: bigint): bigint {
  return wrap(value << bits) | (value >> (64n - bits));
}

function wrap(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}
