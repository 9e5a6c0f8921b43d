import { expect, test } from "vitest";
import { type Kept, keptAs, PackedArrays, packArrays } from "./packed-arrays.js";

const arrays = [
  Int32Array.of(-1, 2, 3),
  Float64Array.of(0.5, -(2 ** 40)),
  new Uint32Array(0),
  Uint32Array.of(2 ** 32 - 1),
];

test("arrays come back as they were, wherever the bytes lie", () => {
  const packed = packArrays(7, arrays);
  const moved = new Uint8Array(packed.length + 3);
  moved.set(packed, 3);
  for (const bytes of [packed, moved.subarray(3)]) {
    const unpacked = PackedArrays.of(bytes, 7, 4);
    expect(unpacked?.int32(0)).toEqual(arrays[0]);
    expect(unpacked?.float64(1)).toEqual(arrays[1]);
    expect(unpacked?.uint32(2)).toEqual(arrays[2]);
    expect(unpacked?.uint32(3)).toEqual(arrays[3]);
  }
});

test("what is of another format, or cut off, is nothing", () => {
  const packed = packArrays(7, arrays);
  expect(PackedArrays.of(packed, 8, 4)).toBeNull();
  expect(PackedArrays.of(packed, 7, 5)).toBeNull();
  for (let length = 0; length < packed.length - 8; length++) {
    expect(PackedArrays.of(packed.slice(0, length), 7, 4), `${length} bytes`).toBeNull();
  }
});

test("what was kept is read once, and made anew if it cannot be read", () => {
  const done: string[] = [];
  const read = (bytes: Uint8Array): number | null => {
    done.push("read");
    return bytes[0] === 0 ? null : bytes[0];
  };
  const make = (): readonly [Uint8Array, number] => {
    done.push("made");
    return [Uint8Array.of(9), 9];
  };
  const holding =
    (held: number): Kept =>
    (_, anew, isUsable) =>
      isUsable(Uint8Array.of(held)) ? Uint8Array.of(held) : anew();
  expect(keptAs(holding(5), "k", { read, make })).toBe(5);
  expect(keptAs(holding(0), "k", { read, make })).toBe(9);
  expect(keptAs((_, anew) => anew(), "k", { read, make })).toBe(9);
  expect(done).toEqual(["read", "read", "made", "made"]);
  const heedless = (held: number): Kept => {
    return () => Uint8Array.of(held);
  };
  expect([keptAs(heedless(5), "k", { read, make }), keptAs(heedless(0), "k", { read, make })]).toEqual([5, 9]);
});
