import { describe, expect, test } from "vitest";
import { faultOf } from "./fault.js";
import { Lzma2Decoder } from "./lzma2.js";

const STORED_AND_RESET = [1, 0, 1, 0x61, 0x62];
const STORED = [2, 0, 0, 0x63];
/** A chunk of LZMA symbols whose header is all that gets looked at. */
const symbols = (control: number, ...properties: number[]) => [control, 0, 0, 0, 4, ...properties, 0, 0, 0, 0, 0];

function decode(...bytes: number[]): string {
  const decoder = new Lzma2Decoder(Uint8Array.from(bytes), 0, 4096, faultOf("xz", "x"));
  let text = "";
  for (let chunk = decoder.chunk(); chunk !== undefined; chunk = decoder.chunk())
    text += new TextDecoder().decode(chunk);
  expect(decoder.next).toBe(bytes.length);
  return text;
}

describe("LZMA2", () => {
  test("takes stored chunks", () => {
    expect(decode(0)).toBe("");
    expect(decode(...STORED_AND_RESET, ...STORED, 0)).toBe("abc");
  });

  test.each<[string, number[], string]>([
    ["a first chunk without a reset", [...STORED, 0], "at byte 0 the first LZMA2 chunk does not reset the dictionary"],
    ["symbols without a reset", [...symbols(0xc0, 0), 0], "at byte 0 the first LZMA2 chunk does not reset"],
    [
      "symbols before properties",
      [...STORED_AND_RESET, ...symbols(0xa0), 0],
      "at byte 5 an LZMA2 chunk comes before the properties",
    ],
    ["properties out of range", [...symbols(0xe0, 225), 0], "at byte 5 the LZMA properties are out of range"],
    ["lc + lp above four", [...symbols(0xe0, 9 + 4), 0], "at byte 5 the LZMA properties are out of range"],
    ["a byte that begins no chunk", [3], "at byte 0 no LZMA2 chunk begins with this byte"],
    ["no end", STORED_AND_RESET, "at byte 5 the LZMA2 data ends too early"],
    ["a cut chunk", STORED_AND_RESET.slice(0, 4), "at byte 4 the LZMA2 data ends too early"],
  ])("refuses %s", (_, bytes, message) => {
    expect(() => decode(...bytes)).toThrow(message);
  });
});
