/**
 * Opcodes of WebAssembly (core specification 2.0, appendix "Index of Instructions", and the tail-call proposal) for
 * instructions that take no operand in the code, and for loads and stores.
 */
const I32 = ["eqz", "eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"] as const; // prettier-ignore
const FLOAT_COMPARISONS = ["eq", "ne", "lt", "gt", "le", "ge"] as const;
const INTEGER_ARITHMETIC = [
  "clz",
  "ctz",
  "popcnt",
  "add",
  "sub",
  "mul",
  "div_s",
  "div_u",
  "rem_s",
  "rem_u",
  "and",
  "or",
  "xor",
  "shl",
  "shr_s",
  "shr_u",
  "rotl",
  "rotr",
] as const; // prettier-ignore
const FLOAT_ARITHMETIC = [
  "abs",
  "neg",
  "ceil",
  "floor",
  "trunc",
  "nearest",
  "sqrt",
  "add",
  "sub",
  "mul",
  "div",
  "min",
  "max",
  "copysign",
] as const; // prettier-ignore
const CONVERSIONS = [
  "i32.wrap_i64",
  "i32.trunc_f32_s",
  "i32.trunc_f32_u",
  "i32.trunc_f64_s",
  "i32.trunc_f64_u",
  "i64.extend_i32_s",
  "i64.extend_i32_u",
  "i64.trunc_f32_s",
  "i64.trunc_f32_u",
  "i64.trunc_f64_s",
  "i64.trunc_f64_u",
  "f32.convert_i32_s",
  "f32.convert_i32_u",
  "f32.convert_i64_s",
  "f32.convert_i64_u",
  "f32.demote_f64",
  "f64.convert_i32_s",
  "f64.convert_i32_u",
  "f64.convert_i64_s",
  "f64.convert_i64_u",
  "f64.promote_f32",
  "i32.reinterpret_f32",
  "i64.reinterpret_f64",
  "f32.reinterpret_i32",
  "f64.reinterpret_i64",
  "i32.extend8_s",
  "i32.extend16_s",
  "i64.extend8_s",
  "i64.extend16_s",
  "i64.extend32_s",
] as const; // prettier-ignore
const MEMORY = [
  "i32.load",
  "i64.load",
  "f32.load",
  "f64.load",
  "i32.load8_s",
  "i32.load8_u",
  "i32.load16_s",
  "i32.load16_u",
  "i64.load8_s",
  "i64.load8_u",
  "i64.load16_s",
  "i64.load16_u",
  "i64.load32_s",
  "i64.load32_u",
  "i32.store",
  "i64.store",
  "f32.store",
  "f64.store",
  "i32.store8",
  "i32.store16",
  "i64.store8",
  "i64.store16",
  "i64.store32",
] as const; // prettier-ignore

type Integer = "i32" | "i64";
type Float = "f32" | "f64";

/** An instruction without operands in the code. */
export type PlainOperation =
  | "unreachable"
  | "nop"
  | "return"
  | "drop"
  | "select"
  | `${Integer}.${(typeof I32)[number]}`
  | `${Float}.${(typeof FLOAT_COMPARISONS)[number]}`
  | `${Integer}.${(typeof INTEGER_ARITHMETIC)[number]}`
  | `${Float}.${(typeof FLOAT_ARITHMETIC)[number]}`
  | (typeof CONVERSIONS)[number];

/** A load or a store: it takes an alignment and an offset. */
export type MemoryOperation = (typeof MEMORY)[number];

/** From one opcode on, in order. */
const run = (first: number, prefix: string, names: readonly string[]): [string, number][] =>
  names.map((name, i) => [`${prefix}${name}`, first + i]);

export const PLAIN: Readonly<Record<PlainOperation, number>> = Object.fromEntries([
  ["unreachable", 0x00],
  ["nop", 0x01],
  ["return", 0x0f],
  ["drop", 0x1a],
  ["select", 0x1b],
  ...run(0x45, "i32.", I32),
  ...run(0x50, "i64.", I32),
  ...run(0x5b, "f32.", FLOAT_COMPARISONS),
  ...run(0x61, "f64.", FLOAT_COMPARISONS),
  ...run(0x67, "i32.", INTEGER_ARITHMETIC),
  ...run(0x79, "i64.", INTEGER_ARITHMETIC),
  ...run(0x8b, "f32.", FLOAT_ARITHMETIC),
  ...run(0x99, "f64.", FLOAT_ARITHMETIC),
  ...run(0xa7, "", CONVERSIONS),
]) as Record<PlainOperation, number>;

export const MEMORY_ACCESS: Readonly<Record<MemoryOperation, number>> = Object.fromEntries(
  run(0x28, "", MEMORY),
) as Record<MemoryOperation, number>;

/** Operations with operands of their own, emitted by the assembler's methods. */
export const CONTROL = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  br_table: 0x0e,
  call: 0x10,
  call_indirect: 0x11,
  return_call: 0x12,
  return_call_indirect: 0x13,
  "local.get": 0x20,
  "local.set": 0x21,
  "local.tee": 0x22,
  "global.get": 0x23,
  "global.set": 0x24,
  "table.get": 0x25,
  "table.set": 0x26,
  "memory.size": 0x3f,
  "memory.grow": 0x40,
  "i32.const": 0x41,
  "i64.const": 0x42,
  "f32.const": 0x43,
  "f64.const": 0x44,
  "ref.null": 0xd0,
  "ref.func": 0xd2,
  prefix: 0xfc,
  vectorPrefix: 0xfd,
} as const;

/** After the prefix 0xfc. */
export const PREFIXED = {
  "memory.init": 8,
  "data.drop": 9,
  "memory.copy": 10,
  "memory.fill": 11,
  "table.init": 12,
} as const;

const COMPARISONS = ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"] as const; // prettier-ignore
const SHIFTS = ["shl", "shr_s", "shr_u"] as const;
const MINIMA = ["min_s", "min_u", "max_s", "max_u"] as const;
const SATURATING = ["add", "add_sat_s", "add_sat_u", "sub", "sub_sat_s", "sub_sat_u"] as const; // prettier-ignore
const BITWISE = ["not", "and", "andnot", "or", "xor", "bitselect", "any_true"] as const; // prettier-ignore

type Halves<Source extends string> = `${"low" | "high"}_${Source}_${"s" | "u"}`;
type Small = "i8x16" | "i16x8";
type VectorInteger = Small | "i32x4" | "i64x2";

/** An operation on vectors of integers. */
export type VectorOperation =
  | "v128.const"
  | `v128.${(typeof BITWISE)[number]}`
  | "i8x16.shuffle"
  | "i8x16.swizzle"
  | "i8x16.popcnt"
  | `${VectorInteger}.${"splat" | "replace_lane" | "abs" | "neg" | "all_true" | "bitmask" | "add" | "sub"}`
  | `${VectorInteger}.${(typeof SHIFTS)[number]}`
  | `${Small}.${"extract_lane_s" | "extract_lane_u" | "avgr_u" | (typeof SATURATING)[number]}`
  | `${"i32x4" | "i64x2"}.extract_lane`
  | `${Small | "i32x4"}.${(typeof COMPARISONS)[number] | (typeof MINIMA)[number]}`
  | `i64x2.${"eq" | "ne" | "lt_s" | "gt_s" | "le_s" | "ge_s"}`
  | `${"i16x8" | "i32x4" | "i64x2"}.mul`
  | `i8x16.narrow_i16x8_${"s" | "u"}`
  | `i16x8.narrow_i32x4_${"s" | "u"}`
  | `i16x8.${"extend" | "extmul"}_${Halves<"i8x16">}`
  | `i32x4.${"extend" | "extmul"}_${Halves<"i16x8">}`
  | `i64x2.${"extend" | "extmul"}_${Halves<"i32x4">}`
  | `i16x8.extadd_pairwise_i8x16_${"s" | "u"}`
  | `i32x4.extadd_pairwise_i16x8_${"s" | "u"}`
  | "i16x8.q15mulr_sat_s"
  | "i32x4.dot_i16x8_s";

const halves = (kind: string, source: string): string[] => [
  `${kind}_low_${source}_s`,
  `${kind}_high_${source}_s`,
  `${kind}_low_${source}_u`,
  `${kind}_high_${source}_u`,
];

/** After the prefix 0xfd (core specification 2.0, "Vector Instructions"). */
export const VECTOR: Readonly<Record<VectorOperation, number>> = Object.fromEntries([
  ...run(0x0c, "", ["v128.const", "i8x16.shuffle", "i8x16.swizzle"]),
  ...run(0x0f, "", ["i8x16.splat", "i16x8.splat", "i32x4.splat", "i64x2.splat"]),
  ...run(0x15, "i8x16.", ["extract_lane_s", "extract_lane_u", "replace_lane"]),
  ...run(0x18, "i16x8.", ["extract_lane_s", "extract_lane_u", "replace_lane"]),
  ...run(0x1b, "i32x4.", ["extract_lane", "replace_lane"]),
  ...run(0x1d, "i64x2.", ["extract_lane", "replace_lane"]),
  ...run(0x23, "i8x16.", COMPARISONS),
  ...run(0x2d, "i16x8.", COMPARISONS),
  ...run(0x37, "i32x4.", COMPARISONS),
  ...run(0x4d, "v128.", BITWISE),
  ...run(0x60, "i8x16.", ["abs", "neg", "popcnt", "all_true", "bitmask", "narrow_i16x8_s", "narrow_i16x8_u"]),
  ...run(0x6b, "i8x16.", [...SHIFTS, ...SATURATING]),
  ...run(0x76, "i8x16.", MINIMA),
  ...run(0x7b, "i8x16.", ["avgr_u"]),
  ...run(0x7c, "i16x8.", ["extadd_pairwise_i8x16_s", "extadd_pairwise_i8x16_u"]),
  ...run(0x7e, "i32x4.", ["extadd_pairwise_i16x8_s", "extadd_pairwise_i16x8_u"]),
  ...run(0x80, "i16x8.", ["abs", "neg", "q15mulr_sat_s", "all_true", "bitmask", "narrow_i32x4_s", "narrow_i32x4_u"]),
  ...run(0x87, "i16x8.", halves("extend", "i8x16")),
  ...run(0x8b, "i16x8.", [...SHIFTS, ...SATURATING]),
  ...run(0x95, "i16x8.", ["mul", ...MINIMA]),
  ...run(0x9b, "i16x8.", ["avgr_u", ...halves("extmul", "i8x16")]),
  ...run(0xa0, "i32x4.", ["abs", "neg"]),
  ...run(0xa3, "i32x4.", ["all_true", "bitmask"]),
  ...run(0xa7, "i32x4.", [...halves("extend", "i16x8"), ...SHIFTS, "add"]),
  ...run(0xb1, "i32x4.", ["sub"]),
  ...run(0xb5, "i32x4.", ["mul", ...MINIMA, "dot_i16x8_s"]),
  ...run(0xbc, "i32x4.", halves("extmul", "i16x8")),
  ...run(0xc0, "i64x2.", ["abs", "neg"]),
  ...run(0xc3, "i64x2.", ["all_true", "bitmask"]),
  ...run(0xc7, "i64x2.", [...halves("extend", "i32x4"), ...SHIFTS, "add"]),
  ...run(0xd1, "i64x2.", ["sub"]),
  ...run(0xd5, "i64x2.", ["mul", "eq", "ne", "lt_s", "gt_s", "le_s", "ge_s", ...halves("extmul", "i32x4")]),
]) as Record<VectorOperation, number>;

/** Loads and stores of vectors, after the prefix 0xfd. */
export const VECTOR_ACCESS = { "v128.load": 0x00, "v128.store": 0x0b } as const;
export type VectorAccess = keyof typeof VECTOR_ACCESS;
