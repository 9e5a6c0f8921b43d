import type { MemoryOperand, Operand } from "../instruction.js";
import type { Expr } from "../ir.js";
import { field, i32, i64, op2, vop, wrap } from "../ir.js";
import type { VectorOperation } from "../wasm-opcodes.js";
import type { StepBuilder } from "./builder.js";
import { addressOf, effectiveAddress } from "./operands.js";

/** Writes down what an instruction with these operands does. */
export type VectorLifter = (steps: StepBuilder, operands: readonly Operand[]) => void;
export type VectorTable = Readonly<Record<string, VectorLifter>>;

const XMM: readonly Expr[] = Array.from({ length: 16 }, (_, register) => ({ kind: "xmm", type: "v128", register }));

export const constantBytes = (bytes: readonly number[]): Expr => vop("v128.const", "v128", [], bytes);
export const ZERO = constantBytes(new Array<number>(16).fill(0));
export const repeated = (...bytes: readonly number[]): Expr =>
  constantBytes(Array.from({ length: 16 }, (_, i) => bytes[i % bytes.length]));

/** An operation that leaves a vector. */
export const vector = (op: VectorOperation, ...args: readonly Expr[]): Expr => vop(op, "v128", args);

/** Bytes 0 to 15 of `a` and 16 to 31 of `b`. */
export const shuffle = (a: Expr, b: Expr, lanes: readonly number[]): Expr =>
  vop("i8x16.shuffle", "v128", [a, b], lanes);

/** The bytes of lanes of `width` bytes. */
export const lanesOf = (width: number, lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => Array.from({ length: width }, (_, i) => lane * width + i));

export type Shape = "i8x16" | "i16x8" | "i32x4" | "i64x2";
const typeOf = (shape: Shape): "i32" | "i64" => (shape === "i64x2" ? "i64" : "i32");

export const replaceLane = (shape: Shape, v: Expr, lane: number, value: Expr): Expr =>
  vop(`${shape}.replace_lane`, "v128", [v, value], [lane]);

/** Extended with zeroes. */
export const extractLane = (shape: Shape, v: Expr, lane: number): Expr =>
  vop(`${shape}.extract_lane${shape === "i8x16" || shape === "i16x8" ? "_u" : ""}`, typeOf(shape), [v], [lane]);

export function xmm(operand: Operand): Expr {
  return XMM[vectorNumber(operand)];
}

export const isVector = (operand: Operand): boolean => operand.kind === "vector";

export function vectorNumber(operand: Operand): number {
  if (operand.kind !== "vector") throw new TypeError(`a ${operand.kind} operand is no vector`);
  return operand.register;
}

export function immediateByte(operand: Operand): number {
  if (operand.kind !== "immediate") throw new TypeError(`a ${operand.kind} operand is no immediate`);
  return Number(BigInt.asUintN(8, operand.value));
}

export function registerNumber(operand: Operand): number {
  if (operand.kind !== "register") throw new TypeError(`a ${operand.kind} operand is no general register`);
  return operand.register;
}

export function memory(operand: Operand): MemoryOperand {
  if (operand.kind !== "memory") throw new TypeError(`a ${operand.kind} operand is no memory`);
  return operand;
}

const ALIGNMENT = 15;

/** Operands of 16 bytes must be aligned, unless the instruction says otherwise (Intel SDM volume 2, 2.4). */
export function checkAlignment(steps: StepBuilder, operand: MemoryOperand): void {
  let address = effectiveAddress(operand, "i32");
  if (operand.segment !== "none") address = op2("i32.add", address, wrap(field(`${operand.segment}Base`)));
  if (address.kind === "i32" && (address.value & ALIGNMENT) === 0) return;
  steps.trapIf(op2("i32.and", address, i32(ALIGNMENT)), "general-protection");
}

/** All of a vector, or 16 bytes of memory. */
export function source(steps: StepBuilder, operand: Operand, aligned = true): Expr {
  if (operand.kind === "vector") return xmm(operand);
  if (aligned) checkAlignment(steps, memory(operand));
  return steps.load(addressOf(memory(operand)), 16, "v128");
}

/** Memory of 1, 2, 4 (i32) or 8 bytes (i64), extended with zeroes. */
export const loadScalar = (steps: StepBuilder, operand: Operand, bytes: 1 | 2 | 4 | 8): Expr =>
  steps.load(addressOf(memory(operand)), bytes, bytes === 8 ? "i64" : "i32");

export const storeScalar = (steps: StepBuilder, operand: Operand, bytes: 1 | 2 | 4 | 8, value: Expr): void =>
  steps.store(addressOf(memory(operand)), bytes, value);

/** A vector with `value` (i32 or i64) in its lowest bytes, the others zero. */
export const lowest = (value: Expr): Expr =>
  value.type === "i64" ? replaceLane("i64x2", ZERO, 0, value) : replaceLane("i32x4", ZERO, 0, value);

/** The low 8 bytes of a vector as they are, or 8 bytes of memory, in the low half. The high half does not matter. */
export const sourceOf64 = (steps: StepBuilder, operand: Operand): Expr =>
  operand.kind === "vector" ? xmm(operand) : lowest(loadScalar(steps, operand, 8));

export const store = (steps: StepBuilder, operand: Operand, value: Expr, aligned: boolean): void => {
  if (aligned) checkAlignment(steps, memory(operand));
  steps.store(addressOf(memory(operand)), 16, value);
};

export const setVector = (steps: StepBuilder, operand: Operand, value: Expr): void =>
  steps.setXmm(vectorNumber(operand), value);

export const upperCleared = (value: Expr): Expr => replaceLane("i64x2", value, 1, i64(0n));
