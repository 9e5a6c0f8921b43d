import { expect, test } from "vitest";
import { nearNames, similarText } from "./near-names.js";

test.each([
  ["netdevice", ["net_device", "sk_buff", "device"], ["net_device", "device"]],
  ["crad", ["card", "bard", "cart"], ["card"]],
  ["ry", ["rx", "tx", "xx"], ["rx"]],
  [
    "kmalloc",
    ["__kmalloc", "kmalloc_trace", "kfree", "__kmalloc_noprof", "kmalloc"],
    ["kmalloc", "__kmalloc", "kmalloc_trace"],
  ],
  ["abcdefgh", ["abcdefgx", "abcdefxy", "abcdexyz"], ["abcdefgx", "abcdefxy"]],
  ["same", ["sane", "sane", "lame"], ["lame", "sane"]],
  ["", ["a"], []],
  ["a".repeat(101), ["a".repeat(101)], []],
  ["abcd", ["a".repeat(101), ""], []],
])("%s is like these", (wanted, names, near) => {
  expect(nearNames(wanted, names)).toEqual(near);
});

test("the end of a message", () => {
  expect([similarText([]), similarText(["a", "b"])]).toEqual(["", "; similar names: a, b"]);
});
