import { describe, expect, it } from "vitest";
import { I32_OF_I32, I32_OF_I64, I64_OF_I32, I64_OF_I64 } from "./plain-values.js";
import { ModuleAssembler } from "./wasm-assembler.js";
import type { PlainOperation } from "./wasm-opcodes.js";
import { PLAIN } from "./wasm-opcodes.js";

const ALL = [...I32_OF_I32.keys(), ...I32_OF_I64.keys(), ...I64_OF_I64.keys(), ...I64_OF_I32.keys()];
const unary = (name: string): boolean => /\.(eqz|clz|ctz|popcnt|extend.*|wrap.*)$/.test(name);
const divides = (name: string): boolean => /\.(div|rem)_/.test(name);

function compile(): Record<string, (a: unknown, b: unknown) => number | bigint> {
  const module = new ModuleAssembler();
  for (const name of ALL) {
    const from = I32_OF_I32.has(name) || I64_OF_I32.has(name) ? "i32" : "i64";
    const to = I32_OF_I32.has(name) || I32_OF_I64.has(name) ? "i32" : "i64";
    const body = module.function([from, from], [to]);
    body.get(0);
    if (!unary(name)) body.get(1);
    body.op(name as PlainOperation);
    module.export(name, "function", body.index);
  }
  return new WebAssembly.Instance(new WebAssembly.Module(module.finish())).exports as ReturnType<typeof compile>;
}

const NUMBERS = [0, 1, 2, 7, 31, 32, 33, 100, 0xff, 0x80, 0xffff, 0x8000, 0x12345678, 0x7fffffff].flatMap((n) => [
  n,
  -n | 0,
  ~n,
]);
const BIGINTS = [0n, 1n, 5n, 63n, 64n, 65n, 0x80n, 0x8000n, 0x80000000n, 0xffffffffn, 0x123456789abcdefn, ~(-1n << 63n)]
  .flatMap((n) => [n, -n, ~n])
  .map((n) => BigInt.asIntN(64, n));

describe("operations on integers", () => {
  it("are all that WebAssembly has", () => {
    const integers = Object.keys(PLAIN).filter((name) => /^i(32|64)\./.test(name) && !/trunc|reinterpret/.test(name));
    expect([...ALL].sort()).toEqual(integers.sort());
  });

  it("are those of WebAssembly", () => {
    const wasm = compile();
    const wrong: string[] = [];
    const check = <T>(tables: ReadonlyMap<string, (a: T, b: T) => unknown>, values: readonly T[], least: T): void => {
      for (const [name, apply] of tables)
        for (const a of values)
          for (const b of values) {
            if (divides(name) && (Number(b) === 0 || (a === least && Number(b) === -1))) continue;
            const expected = wasm[name](a, b);
            const actual = apply(a, b);
            if (!Object.is(actual, expected)) wrong.push(`${name}(${a}, ${b}) is ${actual}, not ${expected}`);
          }
    };
    check(I32_OF_I32, NUMBERS, -0x80000000);
    check(I64_OF_I32, NUMBERS, -0x80000000);
    check(I32_OF_I64, BIGINTS, -(2n ** 63n));
    check(I64_OF_I64, BIGINTS, -(2n ** 63n));
    expect(wrong).toEqual([]);
  });
});
