import { describe, expect, test } from "vitest";
import { safePath, safeTarget } from "./tar-path.js";

describe("safePath", () => {
  test.each([
    ["./lib/modules/", "lib/modules"],
    ["a//b/./c", "a/b/c"],
    ["./", ""],
    ["..a/b..", "..a/b.."],
  ])("%j is %j", (name, path) => expect(safePath(name)).toBe(path));

  test.each(["/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"])("%j is refused", (name) => {
    expect(safePath(name)).toBeUndefined();
  });
});

describe("safeTarget", () => {
  test.each([
    ["lib/link", "../boot/x", "boot/x"],
    ["lib/modules/build", "/usr/src/headers", "usr/src/headers"],
    ["link", "./a", "a"],
    ["a/b/link", "..", "a"],
  ])("%j to %j leads to %j", (path, target, expected) => expect(safeTarget(path, target)).toBe(expected));

  test.each([
    ["link", "../x"],
    ["a/link", "../../x"],
    ["a/link", "/.."],
    ["a/link", ""],
    ["a/link", "x\0"],
  ])("%j to %j is refused", (path, target) => expect(safeTarget(path, target)).toBeUndefined());
});
