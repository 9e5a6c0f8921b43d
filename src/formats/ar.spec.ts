import { describe, expect, test } from "vitest";
import { arOf } from "../../test/support/tar-writer.js";
import { arMembers, isAr } from "./ar.js";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

describe("ar", () => {
  test("lists members of odd and even sizes", () => {
    const bytes = arOf([
      ["a", "one"],
      ["b/", "four"],
      ["c", ""],
      ["d", "x"],
    ]);
    expect(arMembers(bytes, "x.a").map(({ name, data }) => [name, text(data)])).toEqual([
      ["a", "one"],
      ["b", "four"],
      ["c", ""],
      ["d", "x"],
    ]);
  });

  test("may be empty", () => expect(arMembers(arOf([]), "x.a")).toEqual([]));

  test("refuses what is something else", () => {
    expect(isAr(new Uint8Array(0))).toBe(false);
    expect(() => arMembers(new Uint8Array(100), "x.a")).toThrow("x.a is no ar archive");
  });

  test("refuses a header that is damaged, and says where", () => {
    for (const at of [48, 58, 59]) {
      const bytes = arOf([
        ["a", "one!"],
        ["b", "two"],
      ]);
      bytes[8 + 64 + at] = 0x2d;
      expect(() => arMembers(bytes, "x.a")).toThrow("x.a is damaged: at byte 72 a member's header is damaged (ar)");
    }
  });

  test("refuses a member that leaves the file", () => {
    const bytes = arOf([["a", "one!"]]);
    expect(() => arMembers(bytes.subarray(0, bytes.length - 1), "x.a")).toThrow("the archive ends too early");
  });
});
