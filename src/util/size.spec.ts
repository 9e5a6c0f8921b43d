import { expect, test } from "vitest";
import { parseSize } from "./size.js";

test.each([
  ["4096", 4096],
  ["64K", 65536],
  ["256MiB", 2 ** 28],
  ["1 GB", 2 ** 30],
  ["2tib", 2 ** 41],
  [4097, 4097],
])("%s is %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(["", "K", "1.5G", "-1", "0x10", "1PB", "10 K B", "12 MiBs"])("'%s' is no size", (text) => {
  expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: "bad-size" }));
});
