import { AF, CF, LANES, OF, PF, SF, ZF } from "../../../src/translator/ir.js";
import { RFLAGS } from "./case.js";
import type { Form } from "./form.js";

const RFLAGS_OF_LANES = new Map<number, number>([
  [OF, RFLAGS.OF],
  [SF, RFLAGS.SF],
  [ZF, RFLAGS.ZF],
  [AF, RFLAGS.AF],
  [CF, RFLAGS.CF],
  [PF, RFLAGS.PF],
]);

/** Lanes as bits of RFLAGS. */
export const rflagsOf = (lanes: number): number =>
  LANES.reduce((sum, lane) => ((lanes & lane) === 0 ? sum : sum | (RFLAGS_OF_LANES.get(lane) ?? 0)), 0);

const SHIFT = /^(shl|sal|shr|sar|shld|shrd)$/;
const ROTATE = /^(rol|ror|rcl|rcr)$/;

/** What is known of an instruction when it is written down. */
export interface Circumstances {
  /** Of a shift, as encoded or in CL; null if CL is not known. */
  readonly count: number | null;
  /** A repeated string instruction may run no time at all. */
  readonly repeated: boolean;
}

/** Which flags are undefined after an instruction, if `before` were before (Intel SDM volume 2, each one's page). */
export function undefinedAfter(form: Form, before: number, { count, repeated }: Circumstances): number {
  if (!form.vex && SHIFT.test(form.mnemonic)) return afterShift(form, before, count);
  if (!form.vex && ROTATE.test(form.mnemonic)) return afterRotate(form, before, count);
  if (repeated) return before;
  return (before & ~form.flagsDefined) | form.flagsUndefined;
}

const operandBytes = (form: Form): number => form.slots[0].bytes;

const masked = (form: Form, count: number): number => count & (operandBytes(form) === 8 ? 63 : 31);

function afterShift(form: Form, before: number, count: number | null): number {
  // The manual leaves CF of counts beyond a small operand open, but for sar.
  const small = operandBytes(form) <= 2 && form.mnemonic !== "sar";
  if (count === null) return before | OF | AF | (small ? CF : 0);
  const places = masked(form, count);
  if (places === 0) return before;
  const carry = small && places >= operandBytes(form) * 8 ? CF : 0;
  const overflow = places === 1 ? 0 : OF;
  return (before & ~(SF | ZF | PF | CF | OF)) | AF | carry | overflow;
}

function afterRotate(form: Form, before: number, count: number | null): number {
  if (count === null) return before | OF;
  const places = masked(form, count);
  if (places === 0) return before;
  // Through the carry, a whole turn of 9 or 17 places leaves CF as it was.
  const carry = form.mnemonic.startsWith("rc") ? 0 : CF;
  return places === 1 ? before & ~(carry | OF) : (before & ~carry) | OF;
}
