// What the usual tools pack, with many options, unpacks to what they packed.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decompress } from "../../src/formats/compression.js";
import { KorralError } from "../../src/util/errors.js";
import { seededRandom } from "../../src/util/random.js";
import { isInstalled } from "../support/binutils.js";

const MOST_OUTPUT = 1 << 28;

const machineCode = readFileSync(process.execPath).subarray(0x1000000, 0x1000000 + 600_000);
const random = seededRandom(7);
const noise = Uint8Array.from({ length: 300_000 }, () => random() & 0xff);
const words = ["dma", "map", "register", "netdev", " ", "\n", "e1000_", "(", ")", "struct "];
const text = new TextEncoder().encode(Array.from({ length: 100_000 }, () => words[random() % words.length]).join(""));
/** Calls, half calls and opcodes close to each other: what the x86 filter has to tell apart. */
const opcodes = Uint8Array.from(
  { length: 200_000 },
  () => [0xe8, 0xe9, 0x00, 0xff, 0x01, random() & 0xff][random() % 6],
);

const INPUTS: Readonly<Record<string, Uint8Array>> = {
  nothing: new Uint8Array(0),
  "one byte": Uint8Array.of(0xe8),
  "four bytes": Uint8Array.of(0xe8, 1, 2, 3),
  zeroes: new Uint8Array(5_000_000),
  noise: noise,
  text: text,
  opcodes: opcodes,
  "machine code": machineCode,
};

interface Tool {
  readonly name: string;
  readonly options: readonly string[];
}

// biome-ignore format: a table
const TOOLS: readonly Tool[] = [
  { name: "xz", options: [
    "-0", "-1", "-2", "-3", "-4", "-5", "-6", "-7", "-8", "-9", "-3e", "-6e", "-9e",
    "--check=none", "--check=crc32", "--check=crc64", "--check=sha256",
    "-0 --block-size=65536", "-T2 -0 --block-size=1000000 --check=sha256",
    "--x86 --lzma2=preset=6", "--x86=start=4096 --lzma2=preset=0", "--x86 --lzma2=preset=1 -T2 --block-size=70000",
    "--lzma2=preset=1,dict=4KiB", "--lzma2=preset=6,dict=96KiB", "--lzma2=preset=6,dict=64MiB",
    "--lzma2=lc=0,lp=4,pb=0", "--lzma2=lc=4,lp=0,pb=4", "--lzma2=lc=1,lp=2,pb=1,nice=8", "--lzma2=mode=fast,mf=hc3",
  ] },
  { name: "zstd", options: [
    "--fast=5", "-1", "-3", "-5", "-9", "-12", "-15", "-19", "--ultra -22", "-3 --no-check", "-3 --long=27", "-19 --long=24",
    "-1 --no-compress-literals", "-3 -T2 -B100000",
  ] },
  { name: "gzip", options: ["-1", "-2", "-5", "-6", "-9"] },
  { name: "lz4", options: [
    "-1", "-9", "-12", "-l", "-l -9", "-B4", "-B5", "-B7 -BD", "-B4 -BD -9", "-BX", "--no-frame-crc", "-B4 -BX -BD --no-frame-crc",
  ] },
];

describe.each(TOOLS)("$name", ({ name, options }) => {
  describe.skipIf(!isInstalled(name)).each(Object.entries(INPUTS))("%s", (_, input) => {
    test(`with ${options.length} sets of options`, () => {
      for (const given of options) {
        const packed = execFileSync(name, [...given.split(" "), "-c"], {
          input,
          maxBuffer: MOST_OUTPUT,
          stdio: "pipe",
        });
        const unpacked = decompress(packed, given);
        // A comparison of megabytes item by item would take minutes to fail.
        expect(Buffer.compare(unpacked, input), `${name} ${given}`).toBe(0);
      }
    });
  });
});

describe.skipIf(!isInstalled("xz"))("xz", () => {
  test("refuses the delta filter and other machines' by name", () => {
    for (const [option, filter] of [
      ["--delta=dist=4", "delta"],
      ["--powerpc", "PowerPC"],
      ["--arm", "ARM"],
      ["--sparc", "SPARC"],
    ]) {
      const packed = execFileSync("xz", [option, "--lzma2=preset=0", "-c"], { input: text, stdio: "pipe" });
      expect(() => decompress(packed, "a.xz")).toThrow(
        `a.xz uses a chain of xz filters that is not supported: ${filter} at`,
      );
    }
  });

  test("takes streams one after the other, with padding in fours", () => {
    const one = execFileSync("xz", ["-0", "-c"], { input: opcodes, stdio: "pipe" });
    const two = execFileSync("xz", ["--x86", "--lzma2=preset=1", "-c"], { input: text, stdio: "pipe" });
    const joined = Buffer.concat([one, Buffer.alloc(8), two, Buffer.alloc(4)]);
    expect(Buffer.compare(decompress(joined, "x"), Buffer.concat([opcodes, text]))).toBe(0);
    expect(() => decompress(Buffer.concat([one, Buffer.alloc(6), two]), "x")).toThrow(
      "the padding is not zeroes in fours",
    );
    expect(() => decompress(Buffer.concat([one, Buffer.alloc(6)]), "x")).toThrow("the data ends too early");
  });

  test("notices flipped bits all over a long stream", () => {
    const packed = execFileSync("xz", ["-6", "--x86", "--lzma2=preset=6", "-c"], { input: opcodes, stdio: "pipe" });
    for (let i = 0; i < 200; i++) {
      const flipped = Uint8Array.from(packed);
      flipped[random() % packed.length] ^= 1 << (random() % 8);
      let outcome: unknown;
      try {
        outcome = Buffer.compare(decompress(flipped, "x"), opcodes);
      } catch (error) {
        outcome = error instanceof KorralError ? 0 : error;
      }
      expect(outcome).toBe(0);
    }
  });
});
