import type { Expr } from "../ir.js";
import { AF, CF, i32, OF, op1, PF, SF, vop, ZF } from "../ir.js";
import type { VectorOperation } from "../wasm-opcodes.js";
import type { StepBuilder } from "./builder.js";
import type { VectorLifter, VectorTable } from "./vector-operands.js";
import { lanesOf, repeated, setVector, shuffle, source, vector, xmm, ZERO } from "./vector-operands.js";

/** The first operand becomes a function of both. */
const combined =
  (f: (a: Expr, b: Expr, steps: StepBuilder) => Expr): VectorLifter =>
  (steps, [to, from]) =>
    setVector(steps, to, f(xmm(to), source(steps, from), steps));

/** The first operand becomes a function of the second. */
const mapped =
  (f: (b: Expr) => Expr): VectorLifter =>
  (steps, [to, from]) =>
    setVector(steps, to, f(source(steps, from)));

const both = (op: VectorOperation): VectorLifter => combined((a, b) => vector(op, a, b));

/** Operands that are the same register give a constant, which frees the code from what the register held. */
const cancelling =
  (op: VectorOperation, constant: Expr): VectorLifter =>
  (steps, operands) => {
    const [to, from] = operands;
    if (to.kind === "vector" && from.kind === "vector" && to.register === from.register) setVector(steps, to, constant);
    else both(op)(steps, operands);
  };

const ONES = repeated(0xff);

const EVEN_WORDS = lanesOf(2, [0, 2, 4, 6, 8, 10, 12, 14]);
const ODD_WORDS = lanesOf(2, [1, 3, 5, 7, 9, 11, 13, 15]);
const EVEN_DWORDS = lanesOf(4, [0, 2, 4, 6]);
const ODD_DWORDS = lanesOf(4, [1, 3, 5, 7]);
/** The even lanes of 32 bits, in the low half. */
const SPREAD = lanesOf(4, [0, 2, 0, 2]);

/** The high halves of the products of 16 bits. */
const highProducts = (sign: "s" | "u"): VectorLifter =>
  combined((a, b) =>
    shuffle(vector(`i32x4.extmul_low_i16x8_${sign}`, a, b), vector(`i32x4.extmul_high_i16x8_${sign}`, a, b), ODD_WORDS),
  );

/** The products of the even lanes of 32 bits. */
const wideProducts = (sign: "s" | "u"): VectorLifter =>
  combined((a, b) => vector(`i64x2.extmul_low_i32x4_${sign}`, shuffle(a, a, SPREAD), shuffle(b, b, SPREAD)));

const LOWEST_WORDS = repeated(0, 0x80);

/** WebAssembly saturates the one product that does not fit, the square of -1, to 0x7fff instead of letting it be -1. */
const roundedProducts: VectorLifter = combined((a, b) =>
  vector(
    "v128.xor",
    vector("i16x8.q15mulr_sat_s", a, b),
    vector("v128.and", vector("i16x8.eq", a, LOWEST_WORDS), vector("i16x8.eq", b, LOWEST_WORDS)),
  ),
);

/** Products of unsigned bytes of the first and signed ones of the second, neighbours added. */
const mixedProducts: VectorLifter = combined((a, b) =>
  vector(
    "i16x8.add_sat_s",
    vector(
      "i16x8.mul",
      vector("v128.and", a, repeated(0xff, 0)),
      vector("i16x8.shr_s", vector("i16x8.shl", b, i32(8)), i32(8)),
    ),
    vector("i16x8.mul", vector("i16x8.shr_u", a, i32(8)), vector("i16x8.shr_s", b, i32(8))),
  ),
);

/** The sum of the differences of 8 bytes, in each half. */
const differences: VectorLifter = combined((a, b, steps) => {
  const distance = vector("v128.or", vector("i8x16.sub_sat_u", a, b), vector("i8x16.sub_sat_u", b, a));
  const quarters = steps.let(
    vector("i32x4.extadd_pairwise_i16x8_u", vector("i16x8.extadd_pairwise_i8x16_u", distance)),
  );
  return vector(
    "i64x2.add",
    vector("v128.and", quarters, repeated(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)),
    vector("i64x2.shr_u", quarters, i32(32)),
  );
});

const neighbours = (op: VectorOperation, even: readonly number[], odd: readonly number[]): VectorLifter =>
  combined((a, b) => vector(op, shuffle(a, b, even), shuffle(a, b, odd)));

const withSignOf = (shape: "i8x16" | "i16x8" | "i32x4", width: number): VectorLifter =>
  combined((a, b, steps) => {
    const sign = steps.let(vector(`${shape}.shr_s`, b, i32(width - 1)));
    return vector(
      "v128.and",
      vector(`${shape}.sub`, vector("v128.xor", a, sign), sign),
      vector(`${shape}.ne`, b, ZERO),
    );
  });

const test: VectorLifter = (steps, [first, second]) => {
  const a = xmm(first);
  const b = source(steps, second);
  const isZero = (v: Expr): Expr => op1("i32.eqz", vop("v128.any_true", "i32", [v]));
  for (const lane of [OF, SF, AF, PF] as const) steps.lane(lane, i32(0));
  steps.lane(ZF, isZero(vector("v128.and", b, a)));
  steps.lane(CF, isZero(vector("v128.andnot", b, a)));
};

// biome-ignore format: a table
export const VECTOR_ARITHMETIC: VectorTable = {
  pand:       both("v128.and"),
  andps:      both("v128.and"),
  andpd:      both("v128.and"),
  pandn:      combined((a, b) => vector("v128.andnot", b, a)),
  andnps:     combined((a, b) => vector("v128.andnot", b, a)),
  andnpd:     combined((a, b) => vector("v128.andnot", b, a)),
  por:        both("v128.or"),
  orps:       both("v128.or"),
  orpd:       both("v128.or"),
  pxor:       cancelling("v128.xor", ZERO),
  xorps:      cancelling("v128.xor", ZERO),
  xorpd:      cancelling("v128.xor", ZERO),
  paddb:      both("i8x16.add"),
  paddw:      both("i16x8.add"),
  paddd:      both("i32x4.add"),
  paddq:      both("i64x2.add"),
  paddsb:     both("i8x16.add_sat_s"),
  paddsw:     both("i16x8.add_sat_s"),
  paddusb:    both("i8x16.add_sat_u"),
  paddusw:    both("i16x8.add_sat_u"),
  psubb:      both("i8x16.sub"),
  psubw:      both("i16x8.sub"),
  psubd:      both("i32x4.sub"),
  psubq:      both("i64x2.sub"),
  psubsb:     both("i8x16.sub_sat_s"),
  psubsw:     both("i16x8.sub_sat_s"),
  psubusb:    both("i8x16.sub_sat_u"),
  psubusw:    both("i16x8.sub_sat_u"),
  pmullw:     both("i16x8.mul"),
  pmulld:     both("i32x4.mul"),
  pmulhw:     highProducts("s"),
  pmulhuw:    highProducts("u"),
  pmuludq:    wideProducts("u"),
  pmuldq:     wideProducts("s"),
  pmulhrsw:   roundedProducts,
  pmaddwd:    both("i32x4.dot_i16x8_s"),
  pmaddubsw:  mixedProducts,
  psadbw:     differences,
  pavgb:      both("i8x16.avgr_u"),
  pavgw:      both("i16x8.avgr_u"),
  pcmpeqb:    cancelling("i8x16.eq", ONES),
  pcmpeqw:    cancelling("i16x8.eq", ONES),
  pcmpeqd:    cancelling("i32x4.eq", ONES),
  pcmpeqq:    cancelling("i64x2.eq", ONES),
  pcmpgtb:    both("i8x16.gt_s"),
  pcmpgtw:    both("i16x8.gt_s"),
  pcmpgtd:    both("i32x4.gt_s"),
  pcmpgtq:    both("i64x2.gt_s"),
  pminsb:     both("i8x16.min_s"),
  pminsw:     both("i16x8.min_s"),
  pminsd:     both("i32x4.min_s"),
  pminub:     both("i8x16.min_u"),
  pminuw:     both("i16x8.min_u"),
  pminud:     both("i32x4.min_u"),
  pmaxsb:     both("i8x16.max_s"),
  pmaxsw:     both("i16x8.max_s"),
  pmaxsd:     both("i32x4.max_s"),
  pmaxub:     both("i8x16.max_u"),
  pmaxuw:     both("i16x8.max_u"),
  pmaxud:     both("i32x4.max_u"),
  pabsb:      mapped((b) => vector("i8x16.abs", b)),
  pabsw:      mapped((b) => vector("i16x8.abs", b)),
  pabsd:      mapped((b) => vector("i32x4.abs", b)),
  psignb:     withSignOf("i8x16", 8),
  psignw:     withSignOf("i16x8", 16),
  psignd:     withSignOf("i32x4", 32),
  phaddw:     neighbours("i16x8.add", EVEN_WORDS, ODD_WORDS),
  phaddd:     neighbours("i32x4.add", EVEN_DWORDS, ODD_DWORDS),
  phaddsw:    neighbours("i16x8.add_sat_s", EVEN_WORDS, ODD_WORDS),
  phsubw:     neighbours("i16x8.sub", EVEN_WORDS, ODD_WORDS),
  phsubd:     neighbours("i32x4.sub", EVEN_DWORDS, ODD_DWORDS),
  phsubsw:    neighbours("i16x8.sub_sat_s", EVEN_WORDS, ODD_WORDS),
  packsswb:   both("i8x16.narrow_i16x8_s"),
  packuswb:   both("i8x16.narrow_i16x8_u"),
  packssdw:   both("i16x8.narrow_i32x4_s"),
  packusdw:   both("i16x8.narrow_i32x4_u"),
  ptest:      test,
};
