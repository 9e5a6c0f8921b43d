import type { VectorOperation } from "./wasm-opcodes.js";

/** A vector of 16 bytes, seen as lanes of every width. */
export class Vector {
  readonly u8 = new Uint8Array(16);
  readonly i8 = new Int8Array(this.u8.buffer);
  readonly u16 = new Uint16Array(this.u8.buffer);
  readonly i16 = new Int16Array(this.u8.buffer);
  readonly u32 = new Uint32Array(this.u8.buffer);
  readonly i32 = new Int32Array(this.u8.buffer);
  readonly u64 = new BigUint64Array(this.u8.buffer);
  readonly i64 = new BigInt64Array(this.u8.buffer);

  copy(from: Vector): void {
    const { i32 } = this;
    i32[0] = from.i32[0];
    i32[1] = from.i32[1];
    i32[2] = from.i32[2];
    i32[3] = from.i32[3];
  }
}

type View = "u8" | "i8" | "u16" | "i16" | "u32" | "i32";
type WideView = "u64" | "i64";

/** Writes the result to `out`, which must be none of the operands. */
export type VectorFunction = (out: Vector, a: Vector, b: Vector, c: Vector) => void;
export type VectorShift = (out: Vector, a: Vector, count: number) => void;
export type VectorReduction = (a: Vector) => number;

/** Operations of vectors that leave a vector. */
export const VECTOR_FUNCTIONS = new Map<VectorOperation, VectorFunction>();
export const VECTOR_SHIFTS = new Map<VectorOperation, VectorShift>();
/** Operations of one vector that leave an i32. */
export const VECTOR_REDUCTIONS = new Map<VectorOperation, VectorReduction>();

/** The lanes that a splat, or an access of one lane, is about. */
export const LANE_VIEWS = new Map<VectorOperation, View | "i64">();

export function shuffle(out: Vector, a: Vector, b: Vector, lanes: readonly number[]): void {
  for (let i = 0; i < 16; i++) out.u8[i] = lanes[i] < 16 ? a.u8[lanes[i]] : b.u8[lanes[i] - 16];
}

const functions = (names: Readonly<Record<string, VectorFunction>>): void => {
  for (const [name, apply] of Object.entries(names)) VECTOR_FUNCTIONS.set(name as VectorOperation, apply);
};

// Stores to typed arrays cut results to the width of a lane.
const one =
  (view: View, f: (a: number) => number): VectorFunction =>
  (out, a) => {
    for (let i = 0; i < out[view].length; i++) out[view][i] = f(a[view][i]);
  };

const two =
  (view: View, f: (a: number, b: number) => number): VectorFunction =>
  (out, a, b) => {
    for (let i = 0; i < out[view].length; i++) out[view][i] = f(a[view][i], b[view][i]);
  };

const relation = (view: View, f: (a: number, b: number) => boolean): VectorFunction =>
  two(view, (a, b) => (f(a, b) ? -1 : 0));

const wideTwo =
  (f: (a: bigint, b: bigint) => bigint): VectorFunction =>
  (out, a, b) => {
    out.i64[0] = f(a.i64[0], b.i64[0]);
    out.i64[1] = f(a.i64[1], b.i64[1]);
  };

const wideRelation = (f: (a: bigint, b: bigint) => boolean): VectorFunction => wideTwo((a, b) => (f(a, b) ? -1n : 0n));

const bits = (f: (a: number, b: number) => number): VectorFunction => two("i32", f);

functions({
  "v128.not": one("i32", (a) => ~a),
  "v128.and": bits((a, b) => a & b),
  "v128.andnot": bits((a, b) => a & ~b),
  "v128.or": bits((a, b) => a | b),
  "v128.xor": bits((a, b) => a ^ b),
  "v128.bitselect": (out, a, b, c) => {
    for (let i = 0; i < 4; i++) out.i32[i] = (a.i32[i] & c.i32[i]) | (b.i32[i] & ~c.i32[i]);
  },
  "i8x16.swizzle": (out, a, b) => {
    for (let i = 0; i < 16; i++) out.u8[i] = b.u8[i] < 16 ? a.u8[b.u8[i]] : 0;
  },
  "i8x16.popcnt": one("u8", (a) => {
    let count = 0;
    for (let rest = a; rest !== 0; rest &= rest - 1) count++;
    return count;
  }),
  "i16x8.mul": two("i16", (a, b) => a * b),
  "i32x4.mul": two("i32", Math.imul),
  "i8x16.avgr_u": two("u8", (a, b) => (a + b + 1) >> 1),
  "i16x8.avgr_u": two("u16", (a, b) => (a + b + 1) >> 1),
  "i16x8.q15mulr_sat_s": two("i16", (a, b) => Math.min((a * b + 0x4000) >> 15, 0x7fff)),
  "i32x4.dot_i16x8_s": (out, a, b) => {
    for (let i = 0; i < 4; i++) out.i32[i] = a.i16[2 * i] * b.i16[2 * i] + a.i16[2 * i + 1] * b.i16[2 * i + 1];
  },
  "i64x2.add": wideTwo((a, b) => a + b),
  "i64x2.sub": wideTwo((a, b) => a - b),
  "i64x2.mul": wideTwo((a, b) => a * b),
  "i64x2.neg": wideTwo((a) => -a),
  "i64x2.abs": wideTwo((a) => (a < 0n ? -a : a)),
  "i64x2.eq": wideRelation((a, b) => a === b),
  "i64x2.ne": wideRelation((a, b) => a !== b),
  "i64x2.lt_s": wideRelation((a, b) => a < b),
  "i64x2.gt_s": wideRelation((a, b) => a > b),
  "i64x2.le_s": wideRelation((a, b) => a <= b),
  "i64x2.ge_s": wideRelation((a, b) => a >= b),
});

VECTOR_REDUCTIONS.set("v128.any_true", (a) => (a.i32.some((lane) => lane !== 0) ? 1 : 0));

function reductions(shape: "i8x16" | "i16x8" | "i32x4", view: View): void {
  VECTOR_REDUCTIONS.set(`${shape}.all_true`, (a) => (a[view].includes(0) ? 0 : 1));
  VECTOR_REDUCTIONS.set(`${shape}.bitmask`, (a) => {
    let mask = 0;
    for (let lane = 0; lane < a[view].length; lane++) if (a[view][lane] < 0) mask |= 1 << lane;
    return mask;
  });
}

VECTOR_REDUCTIONS.set("i64x2.all_true", (a) => (a.i64.includes(0n) ? 0 : 1));
VECTOR_REDUCTIONS.set("i64x2.bitmask", (a) => Number(a.i64[0] < 0n) | (Number(a.i64[1] < 0n) << 1));

const saturate =
  (low: number, high: number) =>
  (value: number): number =>
    value < low ? low : value > high ? high : value;

function arithmetic(shape: "i8x16" | "i16x8" | "i32x4", width: number, i: View, u: View): void {
  functions({
    [`${shape}.abs`]: one(i, Math.abs),
    [`${shape}.neg`]: one(i, (a) => -a),
    [`${shape}.add`]: two(i, (a, b) => a + b),
    [`${shape}.sub`]: two(i, (a, b) => a - b),
    [`${shape}.min_s`]: two(i, Math.min),
    [`${shape}.min_u`]: two(u, Math.min),
    [`${shape}.max_s`]: two(i, Math.max),
    [`${shape}.max_u`]: two(u, Math.max),
    [`${shape}.eq`]: relation(i, (a, b) => a === b),
    [`${shape}.ne`]: relation(i, (a, b) => a !== b),
    [`${shape}.lt_s`]: relation(i, (a, b) => a < b),
    [`${shape}.lt_u`]: relation(u, (a, b) => a < b),
    [`${shape}.gt_s`]: relation(i, (a, b) => a > b),
    [`${shape}.gt_u`]: relation(u, (a, b) => a > b),
    [`${shape}.le_s`]: relation(i, (a, b) => a <= b),
    [`${shape}.le_u`]: relation(u, (a, b) => a <= b),
    [`${shape}.ge_s`]: relation(i, (a, b) => a >= b),
    [`${shape}.ge_u`]: relation(u, (a, b) => a >= b),
  });
  const shift =
    (view: View, f: (a: number, count: number) => number): VectorShift =>
    (out, a, count) => {
      for (let lane = 0; lane < out[view].length; lane++) out[view][lane] = f(a[view][lane], count & (width - 1));
    };
  VECTOR_SHIFTS.set(
    `${shape}.shl`,
    shift(i, (a, count) => a << count),
  );
  VECTOR_SHIFTS.set(
    `${shape}.shr_s`,
    shift(i, (a, count) => a >> count),
  );
  VECTOR_SHIFTS.set(
    `${shape}.shr_u`,
    shift(u, (a, count) => a >>> count),
  );
  LANE_VIEWS.set(`${shape}.splat`, i).set(`${shape}.replace_lane`, i);
  reductions(shape, i);
}

/** The operations of 8 and 16 bits whose results stay between the least and the greatest number of a lane. */
function saturating(
  shape: "i8x16" | "i16x8",
  width: number,
  i: View,
  u: View,
  wider: "i16x8" | "i32x4",
  w: View,
): void {
  const s = saturate(-(2 ** (width - 1)), 2 ** (width - 1) - 1);
  const z = saturate(0, 2 ** width - 1);
  const narrow =
    (view: View, f: (value: number) => number): VectorFunction =>
    (out, a, b) => {
      const half = a[w].length;
      for (let lane = 0; lane < half; lane++) {
        out[view][lane] = f(a[w][lane]);
        out[view][lane + half] = f(b[w][lane]);
      }
    };
  functions({
    [`${shape}.add_sat_s`]: two(i, (a, b) => s(a + b)),
    [`${shape}.add_sat_u`]: two(u, (a, b) => z(a + b)),
    [`${shape}.sub_sat_s`]: two(i, (a, b) => s(a - b)),
    [`${shape}.sub_sat_u`]: two(u, (a, b) => z(a - b)),
    [`${shape}.narrow_${wider}_s`]: narrow(i, s),
    [`${shape}.narrow_${wider}_u`]: narrow(u, z),
  });
  LANE_VIEWS.set(`${shape}.extract_lane_s`, i).set(`${shape}.extract_lane_u`, u);
}

/** The operations that read narrow lanes and leave wide ones. */
function widening(wide: "i16x8" | "i32x4", w: View, narrow: "i8x16" | "i16x8", views: readonly [View, View]): void {
  for (const [sign, view] of [["s", views[0]] as const, ["u", views[1]] as const]) {
    functions({
      [`${wide}.extadd_pairwise_${narrow}_${sign}`]: (out, a) => {
        for (let i = 0; i < out[w].length; i++) out[w][i] = a[view][2 * i] + a[view][2 * i + 1];
      },
    });
    for (const half of ["low", "high"] as const)
      functions({
        [`${wide}.extend_${half}_${narrow}_${sign}`]: (out, a) => {
          const from = half === "low" ? 0 : out[w].length;
          for (let i = 0; i < out[w].length; i++) out[w][i] = a[view][from + i];
        },
        [`${wide}.extmul_${half}_${narrow}_${sign}`]: (out, a, b) => {
          const from = half === "low" ? 0 : out[w].length;
          for (let i = 0; i < out[w].length; i++) out[w][i] = a[view][from + i] * b[view][from + i];
        },
      });
  }
}

for (const [sign, view] of [["s", "i32"] as const, ["u", "u32"] as const])
  for (const [half, from] of [["low", 0] as const, ["high", 2] as const])
    functions({
      [`i64x2.extend_${half}_i32x4_${sign}`]: (out, a) => {
        for (let i = 0; i < 2; i++) out.i64[i] = BigInt(a[view][from + i]);
      },
      [`i64x2.extmul_${half}_i32x4_${sign}`]: (out, a, b) => {
        for (let i = 0; i < 2; i++) out.i64[i] = BigInt(a[view][from + i]) * BigInt(b[view][from + i]);
      },
    });

const wideShift =
  (view: WideView, f: (a: bigint, count: bigint) => bigint): VectorShift =>
  (out, a, count) => {
    for (let i = 0; i < 2; i++) out[view][i] = f(a[view][i], BigInt(count & 63));
  };
VECTOR_SHIFTS.set(
  "i64x2.shl",
  wideShift("i64", (a, count) => a << count),
);
VECTOR_SHIFTS.set(
  "i64x2.shr_s",
  wideShift("i64", (a, count) => a >> count),
);
VECTOR_SHIFTS.set(
  "i64x2.shr_u",
  wideShift("u64", (a, count) => a >> count),
);
LANE_VIEWS.set("i64x2.splat", "i64").set("i64x2.replace_lane", "i64").set("i64x2.extract_lane", "i64");
LANE_VIEWS.set("i32x4.extract_lane", "i32");

arithmetic("i8x16", 8, "i8", "u8");
arithmetic("i16x8", 16, "i16", "u16");
arithmetic("i32x4", 32, "i32", "u32");
saturating("i8x16", 8, "i8", "u8", "i16x8", "i16");
saturating("i16x8", 16, "i16", "u16", "i32x4", "i32");
widening("i16x8", "i16", "i8x16", ["i8", "u8"]);
widening("i32x4", "i32", "i16x8", ["i16", "u16"]);
