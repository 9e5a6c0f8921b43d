/** SHA-256 (FIPS 180-4), for the streams of xz that are checked with it. */

const BLOCK = 64;
const ROUNDS = 64;

/** The first 32 bits of the fractional parts of the square (or cube) roots of the first primes. */
function primeRoots(count: number, root: (prime: number) => number): Int32Array {
  const words = new Int32Array(count);
  for (let found = 0, candidate = 2; found < count; candidate++) {
    let divisor = 2;
    while (candidate % divisor !== 0) divisor++;
    if (divisor === candidate) words[found++] = (root(candidate) % 1) * 2 ** 32;
  }
  return words;
}

const INITIAL = primeRoots(8, Math.sqrt);
const CONSTANTS = primeRoots(ROUNDS, Math.cbrt);

export class Sha256 {
  readonly #hash = INITIAL.slice();
  readonly #schedule = new Int32Array(ROUNDS);
  readonly #block = new Uint8Array(BLOCK);
  #filled = 0;
  #length = 0;

  update(bytes: Uint8Array): void {
    this.#length += bytes.length;
    let next = 0;
    if (this.#filled > 0) {
      next = Math.min(BLOCK - this.#filled, bytes.length);
      this.#block.set(bytes.subarray(0, next), this.#filled);
      this.#filled += next;
      if (this.#filled < BLOCK) return;
      this.#compress(this.#block, 0);
    }
    for (; next + BLOCK <= bytes.length; next += BLOCK) this.#compress(bytes, next);
    this.#block.set(bytes.subarray(next));
    this.#filled = bytes.length - next;
  }

  /** Pads, and ends: 32 bytes. */
  digest(): Uint8Array {
    const length = this.#length;
    const padding = new Uint8Array(BLOCK + 8 - ((length + 8) % BLOCK));
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    view.setUint32(padding.length - 8, Math.floor(length / 2 ** 29));
    view.setUint32(padding.length - 4, length << 3);
    this.update(padding);
    const digest = new Uint8Array(32);
    const words = new DataView(digest.buffer);
    for (let i = 0; i < 8; i++) words.setInt32(4 * i, this.#hash[i]);
    return digest;
  }

  #compress(bytes: Uint8Array, at: number): void {
    const w = this.#schedule;
    for (let t = 0; t < 16; t++, at += 4) {
      w[t] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
    }
    for (let t = 16; t < ROUNDS; t++) {
      const x = w[t - 15];
      const y = w[t - 2];
      const sigma0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const sigma1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[t] = sigma1 + w[t - 7] + sigma0 + w[t - 16];
    }
    const hash = this.#hash;
    let [a, b, c, d, e, f, g, h] = hash;
    for (let t = 0; t < ROUNDS; t++) {
      const sum1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const first = (h + sum1 + ((e & f) ^ (~e & g)) + CONSTANTS[t] + w[t]) | 0;
      const sum0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const second = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + first) | 0;
      d = c;
      c = b;
      b = a;
      a = (first + second) | 0;
    }
    hash[0] += a;
    hash[1] += b;
    hash[2] += c;
    hash[3] += d;
    hash[4] += e;
    hash[5] += f;
    hash[6] += g;
    hash[7] += h;
  }
}
