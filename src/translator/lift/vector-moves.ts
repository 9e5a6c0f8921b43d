import type { Operand } from "../instruction.js";
import { i32, vop } from "../ir.js";
import type { VectorOperation } from "../wasm-opcodes.js";
import type { StepBuilder } from "./builder.js";
import { addressOf, register } from "./operands.js";
import type { VectorLifter, VectorTable } from "./vector-operands.js";
import {
  extractLane,
  isVector,
  lanesOf,
  loadScalar,
  lowest,
  memory,
  registerNumber,
  replaceLane,
  setVector,
  shuffle,
  source,
  sourceOf64,
  store,
  storeScalar,
  upperCleared,
  vector,
  xmm,
} from "./vector-operands.js";

const whole =
  (aligned: boolean): VectorLifter =>
  (steps, [to, from]) => {
    if (isVector(to)) setVector(steps, to, source(steps, from, aligned));
    else store(steps, to, xmm(from), aligned);
  };

/** One lane: between registers the others stay, from memory they become zero. */
const scalar =
  (bytes: 4 | 8): VectorLifter =>
  (steps, [to, from]) => {
    const shape = bytes === 8 ? "i64x2" : "i32x4";
    if (!isVector(to)) storeScalar(steps, to, bytes, extractLane(shape, xmm(from), 0));
    else if (isVector(from)) {
      const lanes = Array.from({ length: 16 }, (_, i) => (i < bytes ? 16 + i : i));
      setVector(steps, to, shuffle(xmm(to), xmm(from), lanes));
    } else setVector(steps, to, lowest(loadScalar(steps, from, bytes)));
  };

/** One half, to or from memory; the other stays. */
const half =
  (lane: 0 | 1): VectorLifter =>
  (steps, [to, from]) => {
    if (isVector(to)) setVector(steps, to, replaceLane("i64x2", xmm(to), lane, loadScalar(steps, from, 8)));
    else storeScalar(steps, to, 8, extractLane("i64x2", xmm(from), lane));
  };

const halves =
  (...lanes: readonly [number, number]): VectorLifter =>
  (steps, [to, from]) =>
    setVector(steps, to, shuffle(xmm(to), xmm(from), lanesOf(8, lanes)));

const rearranged =
  (...lanes: readonly number[]): VectorLifter =>
  (steps, [to, from]) => {
    const value = source(steps, from);
    setVector(steps, to, shuffle(value, value, lanesOf(16 / lanes.length, lanes)));
  };

/** Between a vector's lowest bytes and a general register or memory. */
function lowestBytes(steps: StepBuilder, to: Operand, from: Operand, bytes: 4 | 8): void {
  if (isVector(to)) {
    const value = from.kind === "register" ? register(from.register, bytes) : loadScalar(steps, from, bytes);
    setVector(steps, to, lowest(value));
    return;
  }
  const value = extractLane(bytes === 8 ? "i64x2" : "i32x4", xmm(from), 0);
  if (to.kind === "register") steps.set(to.register, bytes, value);
  else storeScalar(steps, to, bytes, value);
}

const movq: VectorLifter = (steps, [to, from]) => {
  if (isVector(to) && isVector(from)) setVector(steps, to, upperCleared(xmm(from)));
  else lowestBytes(steps, to, from, 8);
};

const mask =
  (op: VectorOperation): VectorLifter =>
  (steps, [to, from]) =>
    steps.set(registerNumber(to), 4, vop(op, "i32", [xmm(from)]));

/** The bytes whose mask has no top bit are written as they were. */
const maskedStore: VectorLifter = (steps, [to, from, selection]) => {
  const address = addressOf(memory(to));
  const before = steps.load(address, 16, "v128", false, true);
  const selected = vector("i8x16.shr_s", xmm(selection), i32(7));
  steps.store(address, 16, vector("v128.bitselect", xmm(from), before, selected), true);
};

// biome-ignore format: a table
export const VECTOR_MOVES: VectorTable = {
  movaps:     whole(true),
  movapd:     whole(true),
  movdqa:     whole(true),
  movntps:    whole(true),
  movntpd:    whole(true),
  movntdq:    whole(true),
  movntdqa:   whole(true),
  movups:     whole(false),
  movupd:     whole(false),
  movdqu:     whole(false),
  lddqu:      whole(false),
  movss:      scalar(4),
  movsd:      scalar(8),
  movlps:     half(0),
  movlpd:     half(0),
  movhps:     half(1),
  movhpd:     half(1),
  movhlps:    halves(3, 1),
  movlhps:    halves(0, 2),
  movddup:    (steps, [to, from]) => {
    const value = sourceOf64(steps, from);
    setVector(steps, to, shuffle(value, value, lanesOf(8, [0, 0])));
  },
  movsldup:   rearranged(0, 0, 2, 2),
  movshdup:   rearranged(1, 1, 3, 3),
  movd:       (steps, [to, from]) => lowestBytes(steps, to, from, 4),
  movq,
  movmskps:   mask("i32x4.bitmask"),
  movmskpd:   mask("i64x2.bitmask"),
  pmovmskb:   mask("i8x16.bitmask"),
  maskmovdqu: maskedStore,
};
