import { expect, test } from "vitest";
import { PieceReader } from "./piece-reader.js";

test("pieces are read across, skipped, and end", () => {
  const reader = new PieceReader([
    Uint8Array.of(1, 2, 3),
    new Uint8Array(0),
    Uint8Array.of(4),
    Uint8Array.of(5, 6, 7, 8),
  ]);
  expect([...reader.read(2)]).toEqual([1, 2]);
  expect([...reader.read(3)]).toEqual([3, 4, 5]);
  expect(reader.skip(2)).toBe(true);
  expect(reader.position).toBe(7);
  expect([...reader.read(0)]).toEqual([]);
  expect([...reader.read(5)]).toEqual([8]);
  expect(reader.skip(0)).toBe(true);
  expect(reader.skip(1)).toBe(false);
});

test("what was read stays, though its piece is written over", () => {
  const piece = Uint8Array.of(1, 2);
  const read = new PieceReader([piece]).read(2);
  piece.fill(9);
  expect([...read]).toEqual([1, 2]);
});
