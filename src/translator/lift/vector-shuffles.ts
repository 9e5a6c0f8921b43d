import type { Expr } from "../ir.js";
import { i32 } from "../ir.js";
import type { VectorOperation } from "../wasm-opcodes.js";
import { register } from "./operands.js";
import type { Shape, VectorLifter, VectorTable } from "./vector-operands.js";
import {
  extractLane,
  immediateByte,
  isVector,
  lanesOf,
  loadScalar,
  lowest,
  repeated,
  replaceLane,
  setVector,
  shuffle,
  source,
  storeScalar,
  vector,
  xmm,
  ZERO,
} from "./vector-operands.js";

/** The two-bit fields of an immediate. */
const quarters = (immediate: number): number[] => [0, 2, 4, 6].map((shift) => (immediate >> shift) & 3);

/** The second operand, its lanes of `width` bytes in the order that the immediate says. */
const rearranged =
  (width: number, lanes: (immediate: number) => readonly number[]): VectorLifter =>
  (steps, [to, from, immediate]) => {
    const value = source(steps, from);
    setVector(steps, to, shuffle(value, value, lanesOf(width, lanes(immediateByte(immediate)))));
  };

/** Lanes of the first operand, and of the second, counted on. */
const mixed =
  (width: number, lanes: (immediate: number) => readonly number[]): VectorLifter =>
  (steps, [to, from, immediate]) => {
    const order = lanes(immediate === undefined ? 0 : immediateByte(immediate));
    setVector(steps, to, shuffle(xmm(to), source(steps, from), lanesOf(width, order)));
  };

/** The lanes of both operands in turn, from the low or the high halves. */
function interleaved(width: number, high: boolean): VectorLifter {
  const count = 16 / width;
  const first = high ? count / 2 : 0;
  const lanes = Array.from({ length: count }, (_, i) => first + (i >> 1) + (i & 1) * count);
  return mixed(width, () => lanes);
}

const bytesInOrder: VectorLifter = (steps, [to, from]) => {
  const order = vector("v128.and", source(steps, from), repeated(0x8f));
  setVector(steps, to, vector("i8x16.swizzle", xmm(to), order));
};

/** Sixteen bytes of both operands in a row, the second one below. */
const aligned: VectorLifter = (steps, [to, from, immediate]) => {
  const count = immediateByte(immediate);
  const low = source(steps, from);
  const window = (start: number): number[] => Array.from({ length: 16 }, (_, i) => start + i);
  if (count <= 16) setVector(steps, to, shuffle(low, xmm(to), window(count)));
  else setVector(steps, to, count < 32 ? shuffle(xmm(to), ZERO, window(count - 16)) : ZERO);
};

/** By the bits of the immediate: a lane of the second operand, or of the first. */
const blended = (width: number): VectorLifter =>
  mixed(width, (immediate) => {
    const count = 16 / width;
    return Array.from({ length: count }, (_, i) => (((immediate >> i) & 1) === 0 ? i : i + count));
  });

/** By the top bits of XMM0's lanes. */
const blendedByMask =
  (op: VectorOperation, width: number): VectorLifter =>
  (steps, [to, from]) => {
    const selected = vector(op, XMM0, i32(width - 1));
    setVector(steps, to, vector("v128.bitselect", source(steps, from), xmm(to), selected));
  };

const XMM0: Expr = { kind: "xmm", type: "v128", register: 0 };

type LaneBytes = 1 | 2 | 4 | 8;
const SHAPES: Readonly<Record<LaneBytes, Shape>> = { 1: "i8x16", 2: "i16x8", 4: "i32x4", 8: "i64x2" };

const inserted =
  (bytes: LaneBytes): VectorLifter =>
  (steps, [to, from, immediate]) => {
    const value =
      from.kind === "register" ? register(from.register, bytes === 8 ? 8 : 4) : loadScalar(steps, from, bytes);
    const lane = immediateByte(immediate) % (16 / bytes);
    setVector(steps, to, replaceLane(SHAPES[bytes], xmm(to), lane, value));
  };

const extracted =
  (bytes: LaneBytes): VectorLifter =>
  (steps, [to, from, immediate]) => {
    const value = extractLane(SHAPES[bytes], xmm(from), immediateByte(immediate) % (16 / bytes));
    if (to.kind === "register") steps.set(to.register, bytes === 8 ? 8 : 4, value);
    else storeScalar(steps, to, bytes, value);
  };

/** A lane of a vector, or memory, into a lane; then some lanes become zero. */
const insertps: VectorLifter = (steps, [to, from, immediate]) => {
  const control = immediateByte(immediate);
  const value = isVector(from) ? extractLane("i32x4", xmm(from), control >> 6) : loadScalar(steps, from, 4);
  const filled = replaceLane("i32x4", xmm(to), (control >> 4) & 3, value);
  const lanes = [0, 1, 2, 3].map((lane) => (((control >> lane) & 1) === 0 ? lane : 4));
  setVector(steps, to, (control & 15) === 0 ? filled : shuffle(filled, ZERO, lanesOf(4, lanes)));
};

/** Lanes of `bytes` bytes, extended to wider ones by one operation after the other. */
const extended =
  (bytes: 2 | 4 | 8, ...operations: readonly VectorOperation[]): VectorLifter =>
  (steps, [to, from]) => {
    const low = isVector(from) ? xmm(from) : lowest(loadScalar(steps, from, bytes));
    setVector(
      steps,
      to,
      operations.reduce((value, op) => vector(op, value), low),
    );
  };

// biome-ignore format: a table
export const VECTOR_SHUFFLES: VectorTable = {
  pshufd:     rearranged(4, quarters),
  pshuflw:    rearranged(2, (immediate) => [...quarters(immediate), 4, 5, 6, 7]),
  pshufhw:    rearranged(2, (immediate) => [0, 1, 2, 3, ...quarters(immediate).map((lane) => 4 + lane)]),
  shufps:     mixed(4, (immediate) => quarters(immediate).map((lane, i) => (i < 2 ? lane : 4 + lane))),
  shufpd:     mixed(8, (immediate) => [immediate & 1, 2 + ((immediate >> 1) & 1)]),
  pshufb:     bytesInOrder,
  palignr:    aligned,
  punpcklbw:  interleaved(1, false),
  punpcklwd:  interleaved(2, false),
  punpckldq:  interleaved(4, false),
  punpcklqdq: interleaved(8, false),
  punpckhbw:  interleaved(1, true),
  punpckhwd:  interleaved(2, true),
  punpckhdq:  interleaved(4, true),
  punpckhqdq: interleaved(8, true),
  unpcklps:   interleaved(4, false),
  unpcklpd:   interleaved(8, false),
  unpckhps:   interleaved(4, true),
  unpckhpd:   interleaved(8, true),
  pblendw:    blended(2),
  blendps:    blended(4),
  blendpd:    blended(8),
  pblendvb:   blendedByMask("i8x16.shr_s", 8),
  blendvps:   blendedByMask("i32x4.shr_s", 32),
  blendvpd:   blendedByMask("i64x2.shr_s", 64),
  pinsrb:     inserted(1),
  pinsrw:     inserted(2),
  pinsrd:     inserted(4),
  pinsrq:     inserted(8),
  pextrb:     extracted(1),
  pextrw:     extracted(2),
  pextrd:     extracted(4),
  pextrq:     extracted(8),
  insertps,
  extractps:  extracted(4),
  pmovsxbw:   extended(8, "i16x8.extend_low_i8x16_s"),
  pmovsxbd:   extended(4, "i16x8.extend_low_i8x16_s", "i32x4.extend_low_i16x8_s"),
  pmovsxbq:   extended(2, "i16x8.extend_low_i8x16_s", "i32x4.extend_low_i16x8_s", "i64x2.extend_low_i32x4_s"),
  pmovsxwd:   extended(8, "i32x4.extend_low_i16x8_s"),
  pmovsxwq:   extended(4, "i32x4.extend_low_i16x8_s", "i64x2.extend_low_i32x4_s"),
  pmovsxdq:   extended(8, "i64x2.extend_low_i32x4_s"),
  pmovzxbw:   extended(8, "i16x8.extend_low_i8x16_u"),
  pmovzxbd:   extended(4, "i16x8.extend_low_i8x16_u", "i32x4.extend_low_i16x8_u"),
  pmovzxbq:   extended(2, "i16x8.extend_low_i8x16_u", "i32x4.extend_low_i16x8_u", "i64x2.extend_low_i32x4_u"),
  pmovzxwd:   extended(8, "i32x4.extend_low_i16x8_u"),
  pmovzxwq:   extended(4, "i32x4.extend_low_i16x8_u", "i64x2.extend_low_i32x4_u"),
  pmovzxdq:   extended(8, "i64x2.extend_low_i32x4_u"),
};
