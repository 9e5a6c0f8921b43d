import type { Expr } from "../ir.js";
import { i32, i64, op1, op2, select, vop } from "../ir.js";
import type { VectorOperation } from "../wasm-opcodes.js";
import type { StepBuilder } from "./builder.js";
import type { VectorLifter, VectorTable } from "./vector-operands.js";
import { immediateByte, setVector, shuffle, source, vector, xmm, ZERO } from "./vector-operands.js";

/** Counts beyond the width leave zeroes, or the sign: WebAssembly takes them modulo the width. */
const shifted =
  (shape: "i16x8" | "i32x4" | "i64x2", width: number, kind: "shl" | "shr_u" | "shr_s"): VectorLifter =>
  (steps, [to, by]) => {
    const op: VectorOperation = `${shape}.${kind}`;
    if (by.kind !== "immediate") {
      setVector(steps, to, shiftedByVector(steps, op, xmm(to), source(steps, by), width));
      return;
    }
    const count = immediateByte(by);
    const gone = count >= width && kind !== "shr_s";
    setVector(steps, to, gone ? ZERO : vector(op, xmm(to), i32(Math.min(count, width - 1))));
  };

/** By the low 64 bits of a vector. */
function shiftedByVector(steps: StepBuilder, op: VectorOperation, value: Expr, by: Expr, width: number): Expr {
  const count = steps.let(vop("i64x2.extract_lane", "i64", [by], [0]));
  const fits = op2("i64.lt_u", count, i64(BigInt(width)));
  const narrow = op1("i32.wrap_i64", count);
  if (op.endsWith("shr_s")) return vector(op, value, select(fits, narrow, i32(width - 1)));
  return vector("v128.and", vector(op, value, narrow), vector("i32x4.splat", op2("i32.sub", i32(0), fits)));
}

/** By bytes. */
const shiftedWhole =
  (left: boolean): VectorLifter =>
  (steps, [to, by]) => {
    const count = Math.min(immediateByte(by), 16);
    const lanes = Array.from({ length: 16 }, (_, i) => (left ? 16 - count : count) + i);
    setVector(steps, to, left ? shuffle(ZERO, xmm(to), lanes) : shuffle(xmm(to), ZERO, lanes));
  };

// biome-ignore format: a table
export const VECTOR_SHIFTS: VectorTable = {
  psllw:  shifted("i16x8", 16, "shl"),
  pslld:  shifted("i32x4", 32, "shl"),
  psllq:  shifted("i64x2", 64, "shl"),
  psrlw:  shifted("i16x8", 16, "shr_u"),
  psrld:  shifted("i32x4", 32, "shr_u"),
  psrlq:  shifted("i64x2", 64, "shr_u"),
  psraw:  shifted("i16x8", 16, "shr_s"),
  psrad:  shifted("i32x4", 32, "shr_s"),
  pslldq: shiftedWhole(true),
  psrldq: shiftedWhole(false),
};
