import { describe, expect, test } from "vitest";
import { X86Filter } from "./bcj-x86.js";

function undo(bytes: readonly number[], start = 0, step = bytes.length): number[] {
  const filter = new X86Filter(start);
  const found: number[] = [];
  for (let at = 0; at < bytes.length; at += step)
    found.push(...filter.push(Uint8Array.from(bytes.slice(at, at + step))));
  return [...found, ...filter.finish()];
}

const NOP = 0x90;

describe("the x86 filter", () => {
  test.each<[string, number[], number, number[]]>([
    // A call at 2 of 0x107: 0x107 − (2 + 5) = 0x100.
    ["makes a call's target relative", [NOP, NOP, 0xe8, 0x07, 1, 0, 0], 0, [NOP, NOP, 0xe8, 0, 1, 0, 0]],
    ["counts from the start offset", [0xe9, 0x05, 0x11, 0, 0], 0x1000, [0xe9, 0, 1, 0, 0]],
    ["extends the sign of 25 bits", [0xe8, 0x04, 0, 0, 0], 0, [0xe8, 0xff, 0xff, 0xff, 0xff]],
    ["leaves far targets alone", [0xe8, 5, 0, 0, 1, NOP], 0, [0xe8, 5, 0, 0, 1, NOP]],
    ["leaves the last four bytes alone", [NOP, 0xe8, 6, 0, 0], 0, [NOP, 0xe8, 6, 0, 0]],
    ["leaves other opcodes alone", [0xe7, 5, 0, 0, 0, 0xea, 5, 0, 0, 0], 0, [0xe7, 5, 0, 0, 0, 0xea, 5, 0, 0, 0]],
  ])("%s", (_, filtered, start, plain) => {
    expect(undo(filtered, start)).toEqual(plain);
  });

  test.each([1, 2, 3, 4, 5, 6, 7])("does not depend on pieces of %i bytes", (step) => {
    const bytes = Array.from({ length: 4000 }, (_, i) => [0xe8, 0xe9, 0, 0xff, 1, i & 0xff][(i * 7919 + (i >> 3)) % 6]);
    expect(undo(bytes, 64, step)).toEqual(undo(bytes, 64));
  });
});
