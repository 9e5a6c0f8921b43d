import type { PlainOperation } from "./wasm-opcodes.js";

/**
 * WebAssembly's operations on integers, on numbers (i32) and bigints (i64), both signed. Operations of one operand get
 * a second one, which does not matter. Divisions by zero are the business of whoever emits one.
 */
export type Of32 = (a: number, b: number) => number;
export type Of64 = (a: bigint, b: bigint) => bigint;
export type Compare64 = (a: bigint, b: bigint) => number;

type Table<F> = ReadonlyMap<string, F>;
const table = <F>(names: Partial<Record<PlainOperation, F>>): Table<F> => new Map(Object.entries(names)) as Table<F>;

const bit = (value: boolean): number => (value ? 1 : 0);

function popcount(value: number): number {
  let count = 0;
  for (let rest = value; rest !== 0; rest &= rest - 1) count++;
  return count;
}

const trailingZeroes = (value: number): number => (value === 0 ? 32 : 31 - Math.clz32(value & -value));

// biome-ignore format: a table
/** i32 from i32. */
export const I32_OF_I32 = table<Of32>({
  "i32.eqz":       (a) => bit(a === 0),
  "i32.eq":        (a, b) => bit(a === b),
  "i32.ne":        (a, b) => bit(a !== b),
  "i32.lt_s":      (a, b) => bit(a < b),
  "i32.lt_u":      (a, b) => bit(a >>> 0 < b >>> 0),
  "i32.gt_s":      (a, b) => bit(a > b),
  "i32.gt_u":      (a, b) => bit(a >>> 0 > b >>> 0),
  "i32.le_s":      (a, b) => bit(a <= b),
  "i32.le_u":      (a, b) => bit(a >>> 0 <= b >>> 0),
  "i32.ge_s":      (a, b) => bit(a >= b),
  "i32.ge_u":      (a, b) => bit(a >>> 0 >= b >>> 0),
  "i32.clz":       (a) => Math.clz32(a),
  "i32.ctz":       (a) => trailingZeroes(a),
  "i32.popcnt":    (a) => popcount(a),
  "i32.add":       (a, b) => (a + b) | 0,
  "i32.sub":       (a, b) => (a - b) | 0,
  "i32.mul":       (a, b) => Math.imul(a, b),
  "i32.div_s":     (a, b) => (a / b) | 0,
  "i32.div_u":     (a, b) => ((a >>> 0) / (b >>> 0)) | 0,
  "i32.rem_s":     (a, b) => (a % b) | 0,
  "i32.rem_u":     (a, b) => ((a >>> 0) % (b >>> 0)) | 0,
  "i32.and":       (a, b) => a & b,
  "i32.or":        (a, b) => a | b,
  "i32.xor":       (a, b) => a ^ b,
  "i32.shl":       (a, b) => a << b,
  "i32.shr_s":     (a, b) => a >> b,
  "i32.shr_u":     (a, b) => (a >>> b) | 0,
  "i32.rotl":      (a, b) => (a << b) | (a >>> -b),
  "i32.rotr":      (a, b) => (a >>> b) | (a << -b),
  "i32.extend8_s": (a) => (a << 24) >> 24,
  "i32.extend16_s": (a) => (a << 16) >> 16,
});

const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);
const signed = (value: bigint): bigint => BigInt.asIntN(64, value);
const low = (value: bigint): number => Number(BigInt.asIntN(32, value));
const high = (value: bigint): number => Number(value >> 32n);

// biome-ignore format: a table
/** i32 from i64. */
export const I32_OF_I64 = table<Compare64>({
  "i64.eqz":      (a) => bit(a === 0n),
  "i64.eq":       (a, b) => bit(a === b),
  "i64.ne":       (a, b) => bit(a !== b),
  "i64.lt_s":     (a, b) => bit(a < b),
  "i64.lt_u":     (a, b) => bit(unsigned(a) < unsigned(b)),
  "i64.gt_s":     (a, b) => bit(a > b),
  "i64.gt_u":     (a, b) => bit(unsigned(a) > unsigned(b)),
  "i64.le_s":     (a, b) => bit(a <= b),
  "i64.le_u":     (a, b) => bit(unsigned(a) <= unsigned(b)),
  "i64.ge_s":     (a, b) => bit(a >= b),
  "i64.ge_u":     (a, b) => bit(unsigned(a) >= unsigned(b)),
  "i32.wrap_i64": (a) => low(a),
});

const rotate = (a: bigint, count: bigint): bigint => signed((a << count) | (unsigned(a) >> (64n - count)));

function leadingZeroes64(value: bigint): bigint {
  const upper = high(value);
  return BigInt(upper === 0 ? 32 + Math.clz32(low(value)) : Math.clz32(upper));
}

function trailingZeroes64(value: bigint): bigint {
  const lower = low(value);
  return BigInt(lower === 0 ? 32 + trailingZeroes(high(value)) : trailingZeroes(lower));
}

// biome-ignore format: a table
/** i64 from i64. */
export const I64_OF_I64 = table<Of64>({
  "i64.clz":        (a) => leadingZeroes64(a),
  "i64.ctz":        (a) => trailingZeroes64(a),
  "i64.popcnt":     (a) => BigInt(popcount(low(a)) + popcount(high(a))),
  "i64.add":        (a, b) => signed(a + b),
  "i64.sub":        (a, b) => signed(a - b),
  "i64.mul":        (a, b) => signed(a * b),
  "i64.div_s":      (a, b) => signed(a / b),
  "i64.div_u":      (a, b) => signed(unsigned(a) / unsigned(b)),
  "i64.rem_s":      (a, b) => a % b,
  "i64.rem_u":      (a, b) => signed(unsigned(a) % unsigned(b)),
  "i64.and":        (a, b) => a & b,
  "i64.or":         (a, b) => a | b,
  "i64.xor":        (a, b) => a ^ b,
  "i64.shl":        (a, b) => signed(a << (b & 63n)),
  "i64.shr_s":      (a, b) => a >> (b & 63n),
  "i64.shr_u":      (a, b) => signed(unsigned(a) >> (b & 63n)),
  "i64.rotl":       (a, b) => rotate(a, b & 63n),
  "i64.rotr":       (a, b) => rotate(a, -b & 63n),
  "i64.extend8_s":  (a) => BigInt.asIntN(8, a),
  "i64.extend16_s": (a) => BigInt.asIntN(16, a),
  "i64.extend32_s": (a) => BigInt.asIntN(32, a),
});

// biome-ignore format: a table
/** i64 from i32. */
export const I64_OF_I32 = table<(a: number) => bigint>({
  "i64.extend_i32_s": (a) => BigInt(a),
  "i64.extend_i32_u": (a) => BigInt(a >>> 0),
});
