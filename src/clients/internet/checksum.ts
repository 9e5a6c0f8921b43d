/** Adds the 16-bit words, big-endian, of a range to a sum; an odd last byte counts as if a zero followed (RFC 1071). */
export function addWords(sum: number, bytes: Uint8Array, offset: number, length: number): number {
  let total = sum;
  const end = offset + length;
  let at = offset;
  for (; at + 1 < end; at += 2) total += (bytes[at] << 8) | bytes[at + 1];
  if (at < end) total += bytes[at] << 8;
  return total;
}

/** The checksum of what was summed up: 0 if the sum contains a checksum that is right. */
export function checksum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}
