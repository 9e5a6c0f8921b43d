/**
 * One's complement sum (RFC 1071) of `view[at, at + length)`, unfolded, of little-endian words. Sums of parts that start
 * at even distances from each other may be added: 2^32 leaves the remainder 1 when divided by 2^16 − 1, so whole
 * double words can be summed, and 64 KiB of them stay exact in a double.
 */
export function sumWords(view: DataView, at: number, length: number): number {
  // Two sums that do not wait for each other: measured, half the time of one.
  let sum = 0;
  let other = 0;
  const end = at + length;
  for (; at + 32 <= end; at += 32) {
    const first = view.getUint32(at, true) + view.getUint32(at + 4, true);
    const second = view.getUint32(at + 8, true) + view.getUint32(at + 12, true);
    const third = view.getUint32(at + 16, true) + view.getUint32(at + 20, true);
    const fourth = view.getUint32(at + 24, true) + view.getUint32(at + 28, true);
    sum += first + second;
    other += third + fourth;
  }
  sum += other;
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
