import { describe, expect, test } from "vitest";
import { XxHash32, XxHash64 } from "./xxhash.js";

const text = (value: string) => new TextEncoder().encode(value);
const SENTENCE = text("Nobody inspects the spammish repetition");

describe("xxHash", () => {
  test.each([
    ["", 0x02cc5d05, 0xef46db3751d8e999n],
    ["a", 0x550d7456, 0xd24ec4f1a98c6e5bn],
    ["abc", 0x32d153ff, 0x44bc2cf5ad770999n],
    ["Nobody inspects the spammish repetition", 0xe2293b2f, 0xfbcea83c8a378bf1n],
  ])("of %j is the published one", (given, hash32, hash64) => {
    const narrow = new XxHash32();
    narrow.update(text(given));
    expect(narrow.digest()).toBe(hash32);
    const wide = new XxHash64();
    wide.update(text(given));
    expect(wide.digest()).toBe(hash64);
  });

  test.each([1, 5, 16, 31, 32, 33])("does not depend on pieces of %i bytes", (step) => {
    const narrow = new XxHash32();
    const wide = new XxHash64();
    for (let at = 0; at < SENTENCE.length; at += step) {
      narrow.update(SENTENCE.subarray(at, at + step));
      wide.update(SENTENCE.subarray(at, at + step));
    }
    expect(narrow.digest()).toBe(0xe2293b2f);
    expect(wide.digest()).toBe(0xfbcea83c8a378bf1n);
  });
});
