import { expect, test } from "vitest";
import { flavourOf, grants, kernelWish, newestFirst } from "./kernel-reference.js";

test("newest first", () => {
  const names = ["6.1.0-9", "6.12.3", "6.1.0-10", "6.1.0-10-rt", "6.2", "6.1.0", "6.02"];
  expect(names.sort(newestFirst)).toEqual(["6.12.3", "6.2", "6.02", "6.1.0-10-rt", "6.1.0-10", "6.1.0-9", "6.1.0"]);
});

test.each<[string, string | null, string | null, string | null]>([
  ["6.12", "6.12", "amd64", null],
  ["6.1-cloud", "6.1", "cloud-amd64", null],
  ["6.1-rt-amd64", "6.1", "rt-amd64", null],
  ["rt", null, "rt-amd64", null],
  ["linux-image-cloud-amd64", null, "cloud-amd64", null],
  ["linux-image-6.1.0-56-amd64", null, null, "linux-image-6.1.0-56-amd64"],
  ["6.1.0-56-amd64", null, null, "6.1.0-56-amd64"],
])("%s is a wish", (ref, series, flavour, exact) => {
  expect(kernelWish(ref)).toEqual({ series, flavour, exact });
});

test.each<[string, string, boolean]>([
  ["6.1", "linux-image-6.1.0-56-amd64", true],
  ["6.1", "linux-image-6.12.3+deb12-amd64", false],
  ["6.12", "linux-image-6.12.3+deb12-amd64", true],
  ["6.1", "linux-image-6.1.0-56-cloud-amd64", false],
  ["6.1", "linux-image-6.1.0-56-amd64-dbg", false],
  ["6.1", "linux-image-6.1.0-56-amd64-unsigned", false],
  ["linux-image-6.1.0-56-amd64-unsigned", "linux-image-6.1.0-56-amd64-unsigned", true],
  ["6.1.0-56-amd64", "linux-image-6.1.0-56-amd64", true],
  ["6.1", "something else", false],
])("%s is granted by %s: %s", (ref, name, expected) => {
  expect(grants(kernelWish(ref), name)).toBe(expected);
});

test("flavours", () => {
  expect(["6.12.115+deb12-cloud-amd64", "6.1.0-56-amd64", "6.8.0-45-generic", "1.2.3"].map(flavourOf)).toEqual([
    "cloud-amd64",
    "amd64",
    "generic",
    null,
  ]);
});
