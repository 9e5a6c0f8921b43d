import { describe, expect, test } from "vitest";
import { seededRandom } from "../util/random.js";
import { makeFseTable, readFseTable } from "./fse.js";

/** Describes a distribution as RFC 8878, 4.1.1 says. */
function described(probabilities: readonly number[], accuracy: number): Uint8Array {
  let bits = "";
  const put = (value: number, width: number) => {
    for (let i = 0; i < width; i++) bits += (value >> i) & 1;
  };
  put(accuracy - 5, 4);
  let left = 1 << accuracy;
  for (let i = 0; i < probabilities.length; i++) {
    const value = probabilities[i] + 1;
    const width = 32 - Math.clz32(left + 1);
    const lower = (1 << width) - 2 - left;
    if (value < lower) put(value, width - 1);
    else put(value >= 1 << (width - 1) ? value + lower : value, width);
    left -= Math.abs(probabilities[i]);
    if (probabilities[i] !== 0) continue;
    let zeroes = 0;
    while (probabilities[i + 1] === 0) {
      zeroes++;
      i++;
    }
    for (; zeroes >= 3; zeroes -= 3) put(3, 2);
    put(zeroes, 2);
  }
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  for (let i = 0; i < bits.length; i++) bytes[i >> 3] |= Number(bits[i]) << (i & 7);
  return bytes;
}

describe("FSE", () => {
  test("descriptions of any distribution are read", () => {
    const random = seededRandom(5);
    for (let round = 0; round < 2000; round++) {
      const accuracy = 5 + (random() % 5);
      const probabilities: number[] = [];
      for (let left = 1 << accuracy; left > 0; ) {
        const kind = random() % 4;
        const probability =
          kind === 0 ? 0 : kind === 1 || probabilities.length > 48 ? left : kind === 2 ? -1 : 1 + (random() % left);
        if (probability === left && probabilities.length < 3 && random() % 4 !== 0) continue;
        probabilities.push(probability);
        left -= Math.abs(probability);
      }
      const bytes = described(probabilities, accuracy);
      expect(readFseTable(bytes, 0, bytes.length, 9, 52)).toEqual({
        table: makeFseTable(probabilities, accuracy),
        end: bytes.length,
      });
      expect(readFseTable(bytes, 0, bytes.length - 1, 9, 52)).toBeUndefined();
      expect(readFseTable(bytes, 0, bytes.length, accuracy - 1, 52)).toBeUndefined();
      expect(readFseTable(bytes, 0, bytes.length, 9, probabilities.length - 2)).toBeUndefined();
    }
  });

  test("each symbol has as many states as its probability", () => {
    const { symbols } = makeFseTable([20, -1, 0, 7, 4], 5);
    expect([0, 1, 2, 3, 4].map((symbol) => symbols.filter((one) => one === symbol).length)).toEqual([20, 1, 0, 7, 4]);
    expect(symbols[31]).toBe(1);
  });
});
