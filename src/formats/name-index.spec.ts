import { expect, test } from "vitest";
import { hashName, NAME_HASH_START, NameIndex } from "./name-index.js";

function entries(index: NameIndex, hash: number): number[] {
  const found: number[] = [];
  for (let entry = index.first(hash); entry >= 0; entry = index.after(entry)) found.push(entry);
  return found;
}

test("entries of one hash come out ascending", () => {
  const index = NameIndex.forEntries(6);
  for (const [entry, hash] of [
    [5, 7],
    [4, 9],
    [3, 7],
    [1, 9],
    [0, 7],
  ])
    index.put(entry, hash);
  expect([entries(index, 7), entries(index, 9), entries(index, 8)]).toEqual([[0, 3, 5], [1, 4], []]);
});

test("an index of nothing", () => {
  expect(NameIndex.forEntries(0).first(1)).toBe(-1);
});

test("a hash is FNV-1a, and can be taken piece by piece", () => {
  const bytes = new TextEncoder().encode("foobar");
  const whole = hashName(NAME_HASH_START, bytes, 0, 6);
  expect(whole >>> 0).toBe(0xbf9cf968);
  expect(hashName(hashName(NAME_HASH_START, bytes, 0, 2), bytes, 2, 6)).toBe(whole);
});
