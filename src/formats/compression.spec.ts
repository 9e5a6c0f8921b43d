import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import seeds from "../../test/fuzz/compressed-seeds.json" with { type: "json" };
import { InputError, UnsupportedError } from "../util/errors.js";
import { compressionOf, decompress, decompressPieces } from "./compression.js";

const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, "base64"));
const plain = bytesOf(seeds.plain);
const archives = Object.entries(seeds)
  .filter(([file]) => file !== "plain" && file !== "p.deb")
  .map(([file, text]) => ({ file, bytes: bytesOf(text) }));
const NAMES: Readonly<Record<string, string>> = { xz: "xz", zst: "zstd", gz: "gzip", lz4: "lz4" };

function joined(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

describe.each(archives)("$file", ({ file, bytes }) => {
  test("is recognised, and unpacks to what was packed", () => {
    expect(compressionOf(bytes)).toBe(NAMES[file.slice(file.indexOf(".") + 1)]);
    expect(decompress(bytes, file)).toEqual(plain);
  });

  test("is refused wherever it is cut", () => {
    for (let length = 6; length < bytes.length; length++) {
      expect(() => decompress(bytes.subarray(0, length), file), `${length} bytes`).toThrow(InputError);
    }
  });

  test("is refused beyond the limit, and not at it", () => {
    expect(decompress(bytes, file, plain.length)).toEqual(plain);
    expect(() => decompress(bytes, file, plain.length - 1)).toThrow(`${file} unpacks to more than 545 bytes`);
  });

  test("lies anywhere in a buffer", () => {
    const inside = joined(Uint8Array.of(1, 2, 3), bytes, Uint8Array.of(4)).subarray(3, 3 + bytes.length);
    expect(decompress(inside, file)).toEqual(plain);
  });

  test("twice in a row unpacks to twice as much", () => {
    expect(decompress(joined(bytes, bytes), file)).toEqual(joined(plain, plain));
  });

  test("goes with nothing but gzip if something else follows", () => {
    const followed = joined(bytes, Uint8Array.of(1, 2, 3, 4));
    if (file.endsWith(".gz")) expect(decompress(followed, file)).toEqual(plain);
    else expect(() => decompress(followed, file)).toThrow(/ is damaged: at byte \d+ /);
  });

  test("in pieces is the same", () => {
    expect(joined(...[...decompressPieces(bytes, file)].map((piece) => piece.slice()))).toEqual(plain);
  });
});

describe.each(archives.filter(({ file }) => file.endsWith(".xz") || file === "c.lz4"))(
  "$file, checked all over",
  ({ file, bytes }) => {
    test("is refused with any bit flipped", () => {
      for (let bit = 8 * 6; bit < 8 * bytes.length; bit++) {
        const flipped = bytes.slice();
        flipped[bit >> 3] ^= 1 << (bit & 7);
        expect(() => decompress(flipped, file), `bit ${bit}`).toThrow(
          /^c?[ab]?\.(xz|lz4) (is damaged: at byte \d+ |needs |uses )/,
        );
      }
    });
  },
);

describe("decompress", () => {
  test("leaves alone what is not compressed", () => {
    for (const bytes of [plain, new Uint8Array(0), Uint8Array.of(0x1f), Uint8Array.of(0xfd, 0x37, 0x7a)]) {
      expect(compressionOf(bytes)).toBeUndefined();
      expect(decompress(bytes, "x")).toBe(bytes);
    }
  });

  test.each([
    ["bzip2", [0x42, 0x5a, 0x68, 0x39, 0x31]],
    ["lzma-alone", [0x5d, 0, 0, 0x80, 0]],
    ["lzop", [0x89, 0x4c, 0x5a, 0x4f, 0, 0x0d]],
  ])("names %s, which it cannot unpack", (method, magic) => {
    const action = () => decompress(Uint8Array.from(magic), "a.ko");
    expect(action).toThrow(UnsupportedError);
    expect(action).toThrow(`a.ko is compressed with ${method}, which is not supported`);
  });

  test("stops a bomb at the limit, however small it is packed", () => {
    const bomb = gzipSync(Buffer.alloc(1 << 26), { level: 9 });
    expect(() => decompress(bomb, "bomb", 1 << 20)).toThrow("bomb unpacks to more than 1048576 bytes");
  });

  test("goes through the header of gzip with all its fields", () => {
    const whole = new Uint8Array(gzipSync(plain));
    const header = Uint8Array.from([0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3, 2, 0, 7, 7, 0x61, 0, 0x62, 0x63, 0, 9, 9]);
    expect(decompress(joined(header, whole.subarray(10)), "x")).toEqual(plain);
  });

  test("passes over frames that are to be skipped", () => {
    const skipped = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
    for (const { file, bytes } of archives.filter(
      ({ file }) => file === "a.zst" || file === "a.lz4" || file === "b.lz4",
    )) {
      expect(decompress(joined(bytes, skipped, bytes), file)).toEqual(joined(plain, plain));
    }
  });

  test("says that a Zstandard frame needs a dictionary, or too large a window", () => {
    const frame = (...header: number[]) => Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, ...header, 1, 0, 0);
    expect(() => decompress(frame(0x01, 0, 7), "x")).toThrow("x needs Zstandard dictionary 7");
    expect(() => decompress(frame(0x00, 0x90), "x")).toThrow("x needs a Zstandard window of 268435456 bytes");
  });

  test("refuses an LZ4 match that reaches into an earlier block of its own", () => {
    const first = [5, 0, 0, 0, 0x40, 0x61, 0x62, 0x63, 0x64];
    const block = (distance: number) => [5, 0, 0, 0, 0x10, 0x65, distance, 0, 0];
    const legacy = (...blocks: number[]) => Uint8Array.from([0x02, 0x21, 0x4c, 0x18, ...blocks]);
    expect(new TextDecoder().decode(decompress(legacy(...first, ...block(1)), "x"))).toBe("abcdeeeee");
    for (const distance of [0, 2]) {
      expect(() => decompress(legacy(...first, ...block(distance)), "x")).toThrow("a match reaches back too far");
    }
  });

  test("verifies the size that gzip stores as it does the CRC", () => {
    const packed = bytesOf(seeds["a.gz"]);
    for (const [at, what] of [
      [8, "CRC"],
      [4, "size"],
    ] as const) {
      const wrong = packed.slice();
      wrong[wrong.length - at] ^= 1;
      expect(() => decompress(wrong, "x")).toThrow(`the ${what} does not agree with the data`);
    }
  });
});
