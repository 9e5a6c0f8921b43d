import { expect, test } from "vitest";
import { parseSize } from "./size.js";

test.each([
  ["4096", 4096],
  ["64K", 65536],
  ["256MiB", 2 ** 28],
  ["1 GB", 2 ** 30],
  ["2tib", 2 ** 41],
  [4097, 4097],
  [1e9, 1_000_000_000],
])("%s is %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each([
  ...["", "K", "1.5G", "-1", "0x10", "1e9", "1PB", "10 K B", "12 MiBs", "9007199254740992", `${"9".repeat(400)}T`],
  ...[-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53],
])("'%s' is no size", (size) => {
  expect(() => parseSize(size)).toThrow(expect.objectContaining({ code: "bad-size" }));
});
