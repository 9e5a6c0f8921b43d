import { describe, expect, it } from "vitest";
import { seededRandom } from "../util/random.js";
import type { PureName } from "./ir.js";
import { emitPure, PURE_SIGNATURES, pureValue } from "./pure.js";
import { ModuleAssembler } from "./wasm-assembler.js";

const NAMES = Object.keys(PURE_SIGNATURES) as PureName[];

function compile(): (name: PureName, ...args: bigint[]) => bigint {
  const module = new ModuleAssembler();
  for (const name of NAMES) module.export(name, "function", emitPure(module, name).index);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()));
  return (name, ...args) => {
    const { parameters } = PURE_SIGNATURES[name];
    const cast = parameters.map((type, i) => (type === "i32" ? Number(args[i]) : args[i]));
    return BigInt((exports[name] as (...args: unknown[]) => number | bigint)(...cast));
  };
}

const random = seededRandom(1);
const random64 = (): bigint => BigInt.asIntN(64, (BigInt(random()) << 32n) | BigInt(random()));
/** Of any length, to meet all ratios of length in divisions. */
const randomSized = (): bigint => {
  const value = BigInt.asUintN(1 + (random() & 63), random64());
  return BigInt.asIntN(64, (random() & 1) === 0 ? value : -value);
};

const MINIMUM = -(2n ** 63n);
const BOUNDARIES = [
  0n,
  1n,
  2n,
  -1n,
  -2n,
  MINIMUM,
  MINIMUM + 1n,
  ~MINIMUM,
  ~MINIMUM - 1n,
  0xffffffffn,
  0x100000000n,
  -0x100000000n,
  -0xffffffffn,
];

describe("functions that WebAssembly has no operation for", () => {
  const wasm = compile();
  const operands = (): bigint[] => [...BOUNDARIES, random64(), randomSized(), randomSized()];

  it("are the same in both forms", () => {
    const wrong: string[] = [];
    for (const name of ["mulhu", "mulhs", "pdep", "pext", "bswap64", "divFitsU", "divFitsS"] as const)
      for (const a of operands())
        for (const b of operands())
          for (const c of operands())
            if (wasm(name, a, b, c) !== pureValue(name, a, b, c)) wrong.push(`${name} of ${a}, ${b}, ${c}`);
    expect(wrong).toEqual([]);
  });

  it("divide 128 bits by 64 the same, where the quotient fits", () => {
    const wrong: string[] = [];
    let divided = 0;
    const check = (a: bigint, b: bigint, c: bigint): void => {
      for (const kind of ["U", "S"] as const) {
        if (pureValue(`divFits${kind}`, a, b, c) === 0n) continue;
        divided++;
        for (const name of [`divQuotient${kind}`, `divRemainder${kind}`] as const)
          if (wasm(name, a, b, c) !== pureValue(name, a, b, c)) wrong.push(`${name} of ${a}, ${b}, ${c}`);
      }
    };
    for (const a of operands()) for (const b of operands()) for (const c of operands()) check(a, b, c);
    for (let i = 0; i < 20_000; i++) {
      const c = random64();
      const remainder = BigInt.asUintN(64, random64()) % BigInt.asUintN(64, c | 1n);
      check((random() & 1) === 0 ? remainder : remainder >> BigInt(random() & 63), random64(), c);
      check(randomSized(), random64(), randomSized());
    }
    expect(wrong).toEqual([]);
    expect(divided).toBeGreaterThan(20_000);
  });

  it("never trap, even where nothing fits", () => {
    for (const name of NAMES.filter((n) => n.startsWith("div")))
      for (const a of operands()) for (const b of operands()) for (const c of operands()) wasm(name, a, b, c);
    expect(pureValue("divQuotientU", 1n, 2n, 0n)).toBe(0n);
    expect(pureValue("divFitsS", 0n, 1n, 0n)).toBe(0n);
  });

  it("check exactly the quotients that a register holds", () => {
    expect(pureValue("divFitsS", -1n, MINIMUM, 1n)).toBe(1n);
    expect(pureValue("divFitsS", -1n, MINIMUM, -1n)).toBe(0n);
    expect(pureValue("divFitsS", 0n, MINIMUM, -1n)).toBe(1n);
    expect(pureValue("divFitsS", 0n, MINIMUM, 1n)).toBe(0n);
    expect(pureValue("divFitsU", 5n, 0n, 5n)).toBe(0n);
    expect(pureValue("divFitsU", 4n, -1n, 5n)).toBe(1n);
  });

  it("sum up by Castagnoli's polynomial", () => {
    // RFC 3720, B.4: 32 bytes of zeroes, and 32 of ones, have these sums.
    for (const [data, expected] of [
      [0n, 0x8a9136aa],
      [-1n, 0x62a8ab43],
    ] as const) {
      for (const run of [pureValue, (name: PureName, ...args: bigint[]) => wasm(name, ...args)]) {
        let crc = -1n;
        for (let i = 0; i < 4; i++) crc = run("crc32c", crc, data, 8n);
        expect(Number(~crc) >>> 0).toBe(expected);
      }
    }
    for (let i = 0; i < 200; i++) {
      const crc = BigInt(random() | 0);
      const data = random64();
      const bytes = 1n << BigInt(i & 3);
      expect(wasm("crc32c", crc, data, bytes)).toBe(pureValue("crc32c", crc, data, bytes));
    }
  });

  it("deposit, extract and swap", () => {
    expect(pureValue("pdep", 0b1011n, 0x8008_0001_0000_0010n, 0n)).toBe(BigInt.asIntN(64, 0x8000_0001_0000_0010n));
    expect(pureValue("pext", -1n, 0x00ff_0000_0000_ff00n, 0n)).toBe(0xffffn);
    expect(pureValue("bswap64", 0x0102030405060708n, 0n, 0n)).toBe(0x0807060504030201n);
  });
});
