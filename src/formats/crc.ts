/** CRC-32 (IEEE 802.3) and CRC-64 (ECMA-182), reflected, as xz and gzip use them; four bytes a step. */

const CRC32_POLYNOMIAL = 0xedb88320;
/** The reflected ECMA-182 polynomial, upper and lower half. */
const CRC64_HIGH = 0xc96c5795;
const CRC64_LOW = 0xd7870f42;
const SLICES = 4;

interface Crc64Tables {
  readonly high: Int32Array;
  readonly low: Int32Array;
}

let crc32Table: Int32Array | undefined;
let crc64Tables: Crc64Tables | undefined;

/**
 * @param crc the value over what came before, 0 at the start
 * @returns an unsigned 32-bit number
 */
export function crc32(bytes: Uint8Array, crc = 0): number {
  crc32Table ??= makeCrc32Table();
  const table = crc32Table;
  const whole = bytes.length & ~3;
  let value = ~crc;
  let i = 0;
  for (; i < whole; i += 4) {
    value ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    value =
      table[768 | (value & 0xff)] ^
      table[512 | ((value >>> 8) & 0xff)] ^
      table[256 | ((value >>> 16) & 0xff)] ^
      table[value >>> 24];
  }
  for (; i < bytes.length; i++) value = table[(value ^ bytes[i]) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
}

/** A running CRC-64: its two halves, for want of 64-bit integers that are fast. */
export class Crc64 {
  #high = -1;
  #low = -1;

  update(bytes: Uint8Array): void {
    crc64Tables ??= makeCrc64Tables();
    const { high: highs, low: lows } = crc64Tables;
    const whole = bytes.length & ~3;
    let high = this.#high;
    let low = this.#low;
    let i = 0;
    for (; i < whole; i += 4) {
      const x = low ^ (bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24));
      const a = 768 | (x & 0xff);
      const b = 512 | ((x >>> 8) & 0xff);
      const c = 256 | ((x >>> 16) & 0xff);
      const d = x >>> 24;
      low = high ^ lows[a] ^ lows[b] ^ lows[c] ^ lows[d];
      high = highs[a] ^ highs[b] ^ highs[c] ^ highs[d];
    }
    for (; i < bytes.length; i++) {
      const a = (low ^ bytes[i]) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ lows[a];
      high = (high >>> 8) ^ highs[a];
    }
    this.#high = high;
    this.#low = low;
  }

  /** Eight bytes, least significant first, as xz stores it. */
  digest(): Uint8Array {
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    view.setInt32(0, ~this.#low, true);
    view.setInt32(4, ~this.#high, true);
    return bytes;
  }
}

/** Slice k: what a byte contributes once k zero bytes have followed it. */
function makeCrc32Table(): Int32Array {
  const table = new Int32Array(SLICES * 256);
  for (let i = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? CRC32_POLYNOMIAL : 0);
    table[i] = value;
  }
  for (let i = 256; i < table.length; i++) table[i] = (table[i - 256] >>> 8) ^ table[table[i - 256] & 0xff];
  return table;
}

function makeCrc64Tables(): Crc64Tables {
  const high = new Int32Array(SLICES * 256);
  const low = new Int32Array(SLICES * 256);
  for (let i = 0; i < 256; i++) {
    let upper = 0;
    let lower = i;
    for (let bit = 0; bit < 8; bit++) {
      const odd = lower & 1;
      lower = ((lower >>> 1) | (upper << 31)) ^ (odd ? CRC64_LOW : 0);
      upper = (upper >>> 1) ^ (odd ? CRC64_HIGH : 0);
    }
    high[i] = upper;
    low[i] = lower;
  }
  for (let i = 256; i < high.length; i++) {
    const a = low[i - 256] & 0xff;
    low[i] = ((low[i - 256] >>> 8) | (high[i - 256] << 24)) ^ low[a];
    high[i] = (high[i - 256] >>> 8) ^ high[a];
  }
  return { high, low };
}
