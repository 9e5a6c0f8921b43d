import { expect, test } from "vitest";
import { pageSweep } from "./page-sweep.js";

const memory = new WebAssembly.Memory({ initial: 1 });
const bytes = new Uint8Array(memory.buffer);
const sweep = pageSweep(memory);

test("bytes of one value become another's, nothing else changes", () => {
  const before = Uint8Array.from({ length: 96 }, (_, i) => (i % 3 === 0 ? 0xff : i));
  bytes.set(before, 32);
  sweep.turn(48, 112, 0xff, 0x82);
  const expected = before.map((value, i) => (value === 0xff && i >= 16 && i < 80 ? 0x82 : value));
  expect(bytes.slice(32, 128)).toEqual(expected);
});

test("bytes are all alike only if the last is like the first", () => {
  bytes.fill(7, 256, 512);
  expect(sweep.isUniform(256, 512)).toBe(true);
  for (const odd of [256, 300, 511]) {
    bytes[odd] = 8;
    expect(sweep.isUniform(256, 512)).toBe(false);
    bytes[odd] = 7;
  }
});

test("a range of any length that begins anywhere is filled, and nothing beside it", () => {
  for (const length of [0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 100, 511, 512, 513, 4096]) {
    for (const start of [0, 1, 15, 16, 4099]) {
      bytes.fill(1, 0, 16_384);
      sweep.fill(start, start + length, 0x84);
      const expected = new Uint8Array(16_384).fill(1).fill(0x84, start, start + length);
      expect(
        bytes.subarray(0, 16_384).every((byte, i) => byte === expected[i]),
        `${length} at ${start}`,
      ).toBe(true);
    }
  }
  sweep.fill(65_500, 65_536, 9);
  expect([...bytes.subarray(65_498)]).toEqual([0, 0, ...Array(36).fill(9)]);
});
