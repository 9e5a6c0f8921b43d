import { describe, expect, test } from "vitest";
import { formatGuestAddress, guestAddress } from "./guest-address.js";

describe("a guest address", () => {
  test.each([
    [0xffffffff, 0x81000000, -0x7f000000, "0xffffffff81000000"],
    [0xffffffff, 0xffffffff, -1, "0xffffffffffffffff"],
    [0xffff8000, 0x00000000, -(2 ** 47), "0xffff800000000000"],
    [0x00007fff, 0xffffffff, 2 ** 47 - 1, "0x00007fffffffffff"],
    [0x00000000, 0xffffffff, 2 ** 32 - 1, "0x00000000ffffffff"],
    [0x00000000, 0x00401000, 0x401000, "0x0000000000401000"],
  ])("of the halves %i and %i is %i, written %s", (high, low, address, text) => {
    expect(guestAddress(high, low)).toBe(address);
    expect(guestAddress(high | 0, low | 0)).toBe(address);
    expect(formatGuestAddress(guestAddress(high, low))).toBe(text);
  });

  test("in the top 2 GiB is its own low half as a signed integer", () => {
    expect(guestAddress(0xffffffff, 0x80000000) | 0).toBe(guestAddress(0xffffffff, 0x80000000));
  });
});
