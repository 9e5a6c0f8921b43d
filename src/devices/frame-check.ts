/** The CRC-32 of Ethernet (IEEE 802.3, 3.2.9), eight bytes at a time. */
const TABLES = new Int32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (-(value & 1) & 0xedb8_8320);
  TABLES[byte] = value;
}
for (let byte = 0; byte < 256; byte++) {
  for (let table = 1; table < 8; table++) {
    const previous = TABLES[(table - 1) * 256 + byte];
    TABLES[table * 256 + byte] = (previous >>> 8) ^ TABLES[previous & 0xff];
  }
}

/** @returns the frame check sequence of `view[at, at + length)`; its bytes follow the frame least significant first */
export function frameCheckSequence(view: DataView, at: number, length: number): number {
  let crc = -1;
  const end = at + length;
  for (; at + 8 <= end; at += 8) {
    const low = crc ^ view.getInt32(at, true);
    const high = view.getInt32(at + 4, true);
    crc =
      TABLES[0x700 + (low & 0xff)] ^
      TABLES[0x600 + ((low >>> 8) & 0xff)] ^
      TABLES[0x500 + ((low >>> 16) & 0xff)] ^
      TABLES[0x400 + (low >>> 24)] ^
      TABLES[0x300 + (high & 0xff)] ^
      TABLES[0x200 + ((high >>> 8) & 0xff)] ^
      TABLES[0x100 + ((high >>> 16) & 0xff)] ^
      TABLES[high >>> 24];
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ TABLES[(crc ^ view.getUint8(at)) & 0xff];
  return ~crc >>> 0;
}
