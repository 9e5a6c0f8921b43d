/**
 * One's complement sum (RFC 1071) of `view[at, at + length)`, unfolded, of little-endian words. Sums of parts that start
 * at even distances from each other may be added: 2^32 leaves the remainder 1 when divided by 2^16 − 1, so whole
 * double words can be summed, and 64 KiB of them stay exact in a double.
 */
export function sumWords(view: DataView, at: number, length: number): number {
  let sum = 0;
  const end = at + length;
  for (; at + 16 <= end; at += 16) {
    sum += view.getUint32(at, true) + view.getUint32(at + 4, true);
    sum += view.getUint32(at + 8, true) + view.getUint32(at + 12, true);
  }
  for (; at + 4 <= end; at += 4) sum += view.getUint32(at, true);
  if (at + 2 <= end) {
    sum += view.getUint16(at, true);
    at += 2;
  }
  return at < end ? sum + view.getUint8(at) : sum;
}

/** Folds a sum into 16 bits. */
export function fold(sum: number): number {
  const low = sum >>> 0;
  const high = (sum - low) / 0x1_0000_0000;
  const once = (low & 0xffff) + (low >>> 16) + (high & 0xffff);
  const twice = (once & 0xffff) + (once >>> 16);
  return (twice & 0xffff) + (twice >>> 16);
}

/** A folded little-endian sum as the number that the network's byte order means, and back. */
export function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}
