import { expect, test } from "vitest";
import { copyBytes, hex } from "./bytes.js";

test.each([0, 1, 7, 8, 9, 15, 16, 17, 95, 96, 97, 103, 104, 5000])(
  "copies %d bytes, and none beside them",
  (length) => {
    const source = Uint8Array.from({ length: length + 7 }, (_, i) => i % 255);
    const target = new Uint8Array(length + 9).fill(0xff);
    copyBytes(target, 4, source, 3, length);
    expect(target.subarray(4, 4 + length)).toEqual(source.subarray(3, 3 + length));
    expect([...target.subarray(0, 4), ...target.subarray(4 + length)]).toEqual(new Array(9).fill(0xff));
  },
);

test("hexadecimal numbers have at least as many digits as asked for", () => {
  expect([hex(0), hex(0xabc), hex(0xab, 4), hex(0x12345, 4), hex(2 ** 40)]).toEqual([
    "0x0",
    "0xabc",
    "0x00ab",
    "0x12345",
    "0x10000000000",
  ]);
});
