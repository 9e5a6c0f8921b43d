import { describe, expect, test } from "vitest";
import { Crc64, crc32 } from "./crc.js";

const DIGITS = new TextEncoder().encode("123456789");

function crc64(...pieces: Uint8Array[]): string {
  const crc = new Crc64();
  for (const piece of pieces) crc.update(piece);
  return Buffer.from(crc.digest()).toString("hex");
}

/** Bit by bit, from the definition. */
function slowCrc32(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let i = 0; i < 8; i++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}

describe("CRC", () => {
  test("of the digits is the catalogue's", () => {
    expect(crc32(DIGITS)).toBe(0xcbf43926);
    // 0x995dc9bbdf1939fa, least significant byte first.
    expect(crc64(DIGITS)).toBe("fa3919dfbbc95d99");
  });

  test("of nothing is zero", () => {
    expect(crc32(new Uint8Array(0))).toBe(0);
    expect(crc64(new Uint8Array(0))).toBe("0000000000000000");
  });

  test.each([1, 3, 4, 5, 8, 31])("of a text cut at byte %i is that of the whole", (cut) => {
    const bytes = Uint8Array.from({ length: 37 }, (_, i) => (i * 89) ^ 0xa5);
    const head = bytes.subarray(0, cut);
    const tail = bytes.subarray(cut);
    expect(crc32(tail, crc32(head))).toBe(slowCrc32(bytes));
    expect(crc64(head, tail)).toBe(crc64(bytes));
  });
});
