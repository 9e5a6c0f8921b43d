import { type Random, randomBelow } from "../../../src/util/random.js";

export const chance = (random: Random, percent: number): boolean => random() % 100 < percent;

export const pick = <T>(random: Random, list: readonly T[]): T => list[randomBelow(random, list.length)];

export const random64 = (random: Random): bigint => (BigInt(random()) << 32n) | BigInt(random());

/** Of 1, 2, 4 or 8 bytes, unsigned: half of them values where carries, signs and overflows turn over. */
export function cornerValue(random: Random, bytes: number): bigint {
  const bits = bytes * 8;
  const top = 1n << BigInt(bits - 1);
  switch (random() % 16) {
    case 0:
      return 0n;
    case 1:
      return 1n;
    case 2:
      return 2n * top - 1n;
    case 3:
      return top - 1n;
    case 4:
      return top;
    case 5:
      return 1n << BigInt(randomBelow(random, bits));
    case 6:
      return (1n << BigInt(randomBelow(random, bits))) - 1n;
    case 7:
      return BigInt.asUintN(bits, ~(1n << BigInt(randomBelow(random, bits))));
    case 8:
      return BigInt(random() % 0x80);
    case 9:
      return BigInt.asUintN(bits, -BigInt(random() % 0x80));
    default:
      return BigInt.asUintN(bits, random64(random));
  }
}

/** A register whose low bytes are a corner value; the rest is zero, ones or noise. */
export function cornerRegister(random: Random, bytes: number): bigint {
  const low = cornerValue(random, bytes);
  if (bytes === 8) return low;
  const mask = (1n << BigInt(bytes * 8)) - 1n;
  const kind = random() % 4;
  const high = kind === 0 ? 0n : kind === 1 ? ~0n : random64(random);
  return BigInt.asUintN(64, (high & ~mask) | low);
}

export function littleEndian(value: bigint, bytes: number): Uint8Array {
  const result = new Uint8Array(bytes);
  for (let i = 0, rest = value; i < bytes; i++, rest >>= 8n) result[i] = Number(rest & 0xffn);
  return result;
}

/** 16 bytes of lanes of one width. */
export function cornerVector(random: Random, to: Uint8Array, offset: number): void {
  const kind = random() % 8;
  if (kind < 4) {
    for (let i = 0; i < 16; i += 4) {
      const word = random();
      for (let k = 0; k < 4; k++) to[offset + i + k] = word >>> (8 * k);
    }
    return;
  }
  const width = 1 << (kind - 4);
  const same = chance(random, 25) ? cornerValue(random, width) : null;
  for (let i = 0; i < 16; i += width) to.set(littleEndian(same ?? cornerValue(random, width), width), offset + i);
}
