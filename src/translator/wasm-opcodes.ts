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
} as const;

/** After the prefix 0xfc. */
export const PREFIXED = {
  "memory.init": 8,
  "data.drop": 9,
  "memory.copy": 10,
  "memory.fill": 11,
} as const;
