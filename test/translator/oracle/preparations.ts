import { RAX, RBP, RCX, RDX, RSP } from "../../../src/translator/instruction.js";
import { randomBelow } from "../../../src/util/random.js";
import { RFLAGS } from "./case.js";
import type { Draft } from "./draft.js";
import type { Form } from "./form.js";
import { stackPointer } from "./targets.js";
import { chance, cornerRegister, cornerValue, littleEndian } from "./values.js";

/** What an instruction needs to do something of interest. */
export interface Preparation {
  /** Slot by slot; what is undefined is chosen freely. */
  readonly values?: readonly (number | bigint | undefined)[];
  readonly registersOnly?: boolean;
  readonly memoryOnly?: boolean;
  readonly target?: bigint;
  /** What the memory operand is to hold. */
  readonly memory?: Uint8Array;
  /** Of a shift, if known. */
  readonly count?: number | null;
  /** A prefix of a string instruction. */
  readonly repeat?: number;
}

const NOTHING: Preparation = {};
/** Always set, and the interrupt flag. */
const RFLAGS_BASE = 0x202;
const SHIFT = /^(shl|sal|shr|sar|shld|shrd|rol|ror|rcl|rcr)$/;

/** Chooses registers before operands are; null if the instruction has no defined effect here. */
export function preparationOf(form: Form, draft: Draft): Preparation | null {
  const { mnemonic } = form;
  if (!form.vex && SHIFT.test(mnemonic)) return shift(form, draft);
  if (/^i?div$/.test(mnemonic)) return divide(form, draft);
  if (/^bt[src]?$/.test(mnemonic)) return bitTest(form, draft);
  if (mnemonic === "cmpxchg") return compareExchange(form, draft);
  if (/^cmpxchg(8|16)b$/.test(mnemonic)) return compareExchangePair(form, draft);
  if (form.string) return repeat(form, draft);
  if (/^popf/.test(mnemonic)) return popFlags(form, draft);
  if (mnemonic === "enter") return enter(draft);
  if (/^(push|pop|call|ret)/.test(mnemonic) && !form.vector && mnemonic !== "popcnt") {
    draft.want(RSP, () => stackPointer(draft.random));
  }
  if (mnemonic === "leave") draft.want(RBP, () => stackPointer(draft.random));
  if (/^(bextr|bzhi|shlx|shrx|sarx)$/.test(mnemonic)) return smallControl(form, draft);
  return wantImplicit(form, draft);
}

/** The accumulator and other registers that are read unasked. */
function wantImplicit(form: Form, draft: Draft): Preparation {
  for (const register of [RAX, RCX, RDX]) {
    if ((form.implicitReads & (1 << register)) === 0) continue;
    draft.want(register, () => cornerRegister(draft.random, Math.min(form.memoryBytes, 8) || 8));
  }
  return NOTHING;
}

/** Shifts of 16 bits by more have no defined result. */
const isDouble16 = (form: Form): boolean => /^sh[lr]d$/.test(form.mnemonic) && form.slots[0].bytes === 2;

function shift(form: Form, draft: Draft): Preparation | null {
  const { random } = draft;
  const slots = form.slots;
  const last = slots[slots.length - 1];
  const double16 = isDouble16(form);
  const choose = (): number => {
    if (double16) return (random() % 17) | (random() & 0xe0);
    return chance(random, 80) ? random() % 70 : random() & 0xff;
  };
  if (last.place === "immediate") {
    const count = choose();
    return { values: [...slots.slice(1).map(() => undefined), count], count };
  }
  if (last.kind === "immediate") return { count: 1 };
  const high = cornerRegister(random, 1) & ~0xffn;
  const value = draft.want(RCX, () => high | BigInt(choose()));
  const count = value === null || draft.inLoop ? null : Number(value & 0xffn);
  if (double16 && (count === null || (count & 31) > 16)) return null;
  return { count };
}

function divide(form: Form, draft: Draft): Preparation {
  const { random } = draft;
  const bits = BigInt(form.slots[0].bytes * 8);
  if (chance(random, 25)) return wantImplicit(form, draft);
  const signed = form.mnemonic === "idiv";
  if (bits === 8n) {
    const low = cornerValue(random, 1);
    const extended =
      signed && chance(random, 60) ? BigInt.asUintN(16, BigInt.asIntN(8, low)) : low | BigInt(random() & 0x1f00);
    draft.want(RAX, () => (cornerRegister(random, 8) & ~0xffffn) | extended);
    return NOTHING;
  }
  const low = draft.want(RAX, () => cornerRegister(random, Number(bits) / 8)) ?? 0n;
  const top = signed && chance(random, 70) ? -((low >> (bits - 1n)) & 1n) : BigInt(random() & 0xf);
  const mask = (1n << bits) - 1n;
  draft.want(RDX, () => (cornerRegister(random, Number(bits) / 8) & ~mask & 0xffffffffffffffffn) | (top & mask));
  return NOTHING;
}

/** A bit's number in a register reaches far beyond the operand in memory. */
function bitTest(form: Form, draft: Draft): Preparation {
  const { random } = draft;
  if (form.slots[1].kind === "immediate" || chance(random, 20)) return NOTHING;
  for (let tries = 0; tries < 4; tries++) {
    const register = randomBelow(random, 16);
    if (register === RSP || !draft.isOpen(register)) continue;
    const number = (random() % 1024) - 512;
    const bits = form.slots[1].bytes * 8;
    const high = cornerRegister(random, 8);
    draft.want(register, () =>
      BigInt.asUintN(
        64,
        bits === 64 ? BigInt(number) : (high & ~((1n << BigInt(bits)) - 1n)) | BigInt.asUintN(bits, BigInt(number)),
      ),
    );
    return { values: [undefined, register] };
  }
  return NOTHING;
}

function compareExchange(form: Form, draft: Draft): Preparation {
  const { random } = draft;
  const value = draft.want(RAX, () => cornerRegister(random, form.memoryBytes));
  if (value === null || chance(random, 40)) return NOTHING;
  const memory = littleEndian(value, form.memoryBytes);
  const register = randomBelow(random, 16);
  // The same value in the destination, be it a register or memory.
  if (register !== RSP && draft.isOpen(register) && (draft.untouchable & (1 << register)) === 0) {
    const mask = (1n << BigInt(form.memoryBytes * 8)) - 1n;
    draft.want(register, () => (cornerRegister(random, 8) & ~mask & 0xffffffffffffffffn) | (value & mask));
    return { values: [register], memory };
  }
  return { memory };
}

function compareExchangePair(form: Form, draft: Draft): Preparation {
  const { random } = draft;
  const half = form.memoryBytes / 2;
  const low = draft.want(RAX, () => cornerRegister(random, half));
  const high = draft.want(RDX, () => cornerRegister(random, half));
  draft.want(RCX, () => cornerRegister(random, half));
  if (low === null || high === null || chance(random, 40)) return NOTHING;
  const memory = new Uint8Array(2 * half);
  memory.set(littleEndian(low, half));
  memory.set(littleEndian(high, half), half);
  return { memory };
}

function repeat(form: Form, draft: Draft): Preparation {
  if ((draft.untouchable & (1 << RCX)) !== 0 || chance(draft.random, 35)) return wantAccumulator(form, draft, {});
  const repne = form.repeats === "repe-repne" && chance(draft.random, 50);
  return wantAccumulator(form, draft, { repeat: repne ? 0xf2 : 0xf3 });
}

function wantAccumulator(form: Form, draft: Draft, prepared: Preparation): Preparation {
  if ((form.implicitReads & (1 << RAX)) !== 0) draft.want(RAX, () => cornerRegister(draft.random, form.memoryBytes));
  return prepared;
}

/** Pops none of the flags that programs may not change or that stop them: TF, AC, NT, IF, IOPL. */
function popFlags(form: Form, draft: Draft): Preparation | null {
  const { random } = draft;
  const stack = draft.want(RSP, () => stackPointer(random));
  if (stack === null || draft.inLoop || draft.length > 0) return null;
  const flags =
    (random() & (RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF | RFLAGS.DF)) | RFLAGS_BASE;
  draft.patch(stack, littleEndian(BigInt(flags), form.operandSizePrefix ? 2 : 8));
  return NOTHING;
}

function enter(draft: Draft): Preparation {
  const { random } = draft;
  draft.want(RSP, () => stackPointer(random));
  draft.want(RBP, () => stackPointer(random));
  const size = chance(random, 90) ? random() & 0x7f : random() & 0xffff;
  const level = chance(random, 50) ? 0 : chance(random, 80) ? random() & 3 : random() & 0xff;
  return { values: [size, level] };
}

function smallControl(form: Form, draft: Draft): Preparation {
  const { random } = draft;
  const register = randomBelow(random, 16);
  if (register === RSP || !draft.isOpen(register) || chance(random, 25)) return NOTHING;
  draft.want(
    register,
    () => BigInt(random() % 80) | (BigInt(random() % 80) << 8n) | (cornerRegister(random, 8) & ~0xffffn),
  );
  return { values: form.slots.map((_, i) => (i === 2 ? register : undefined)) };
}
