import { RAX } from "../instruction.js";
import type { Expr, Field, Lane } from "../ir.js";
import { AF, CF, extendU, field, i32, i64, laneOf, OF, op1, op2, PF, SF, wrap, ZF } from "../ir.js";
import type { Lifter, LifterTable, StepBuilder } from "./builder.js";
import { operandWidth, read, readRegister, setResult } from "./operands.js";
import { popValue, pushValue } from "./stack.js";

/** Where RFLAGS has the arithmetic flags (Intel SDM volume 1, 3.4.3). */
const PLACES: readonly (readonly [Lane, number])[] = [
  [CF, 0],
  [PF, 2],
  [AF, 4],
  [ZF, 6],
  [SF, 7],
  [OF, 11],
];
const LOW_BYTE = PLACES.filter(([, place]) => place < 8);

const IF_BIT = 9n;
const DF_BIT = 10n;
const AC_BIT = 18n;
/** The bit that always is 1. */
const FIXED = 2;
/** TF, IOPL, NT, AC and ID: what popf changes besides the flags that have a place of their own. */
const SYSTEM_FLAGS = 0x247100n;
/** All but VM and RF, which pushf shows as 0. */
const SHOWN = ~0x30000n;

const shifted = (value: Expr, by: bigint): Expr => op2("i64.shl", value, i64(by));

/** The flags in their places, and the fixed bit. */
const gathered = (lanes: typeof PLACES): Expr =>
  lanes.reduce(
    (sum: Expr, [lane, place]) =>
      op2("i32.or", sum, place === 0 ? laneOf(lane) : op2("i32.shl", laneOf(lane), i32(place))),
    i32(FIXED),
  );

function scatter(steps: StepBuilder, lanes: typeof PLACES, value: Expr): void {
  for (const [lane, place] of lanes) steps.lane(lane, op2("i32.and", op2("i32.shr_u", value, i32(place)), i32(1)));
}

const pushf =
  (width: 2 | 8): Lifter =>
  (steps) => {
    const directions = op2("i64.or", shifted(field("if"), IF_BIT), shifted(field("df"), DF_BIT));
    const system = op2("i64.or", op2("i64.and", field("systemFlags"), i64(SHOWN)), directions);
    const value = op2("i64.or", system, extendU(gathered(PLACES)));
    pushValue(steps, width, width === 8 ? value : wrap(value));
  };

const popf =
  (width: 2 | 8): Lifter =>
  (steps) => {
    const value = extendU(popValue(steps, width));
    const low = steps.let(wrap(value));
    scatter(steps, PLACES, low);
    const bit = (place: bigint): Expr => op2("i64.and", op2("i64.shr_u", value, i64(place)), i64(1n));
    steps.field("df", bit(DF_BIT));
    const changed = width === 8 ? SYSTEM_FLAGS : SYSTEM_FLAGS & 0xffffn;
    const kept = op2("i64.and", field("systemFlags"), i64(~changed));
    steps.field("systemFlags", op2("i64.or", kept, op2("i64.and", value, i64(changed))));
    steps.field("if", bit(IF_BIT));
  };

function lahf(steps: StepBuilder): void {
  steps.set(RAX, 1, gathered(LOW_BYTE), true);
}

function sahf(steps: StepBuilder): void {
  scatter(steps, LOW_BYTE, readRegister({ kind: "register", register: RAX, width: 1, high: true }));
}

const setCarry =
  (value: Expr): Lifter =>
  (steps) =>
    steps.lane(CF, value);

const setBit =
  (name: Field, value: bigint): Lifter =>
  (steps) =>
    steps.field(name, i64(value));

/** stac and clac. */
const setAlignmentCheck =
  (on: boolean): Lifter =>
  (steps) => {
    const bit = 1n << AC_BIT;
    const flags = field("systemFlags");
    steps.field("systemFlags", on ? op2("i64.or", flags, i64(bit)) : op2("i64.and", flags, i64(~bit)));
  };

const readBase =
  (name: Field): Lifter =>
  (steps, { operands: [target] }) =>
    setResult(steps, target, target.kind === "register" && target.width === 8 ? field(name) : wrap(field(name)));

const writeBase =
  (name: Field): Lifter =>
  (steps, instruction) =>
    steps.field(name, extendU(read(steps, instruction.operands[0], operandWidth(instruction))));

export const STATUS: LifterTable = {
  pushf: pushf(2),
  pushfq: pushf(8),
  popf: popf(2),
  popfq: popf(8),
  lahf,
  sahf,
  clc: setCarry(i32(0)),
  stc: setCarry(i32(1)),
  cmc: setCarry(op1("i32.eqz", laneOf(CF))),
  cld: setBit("df", 0n),
  std: setBit("df", 1n),
  cli: setBit("if", 0n),
  sti: setBit("if", 1n),
  stac: setAlignmentCheck(true),
  clac: setAlignmentCheck(false),
  rdfsbase: readBase("fsBase"),
  rdgsbase: readBase("gsBase"),
  wrfsbase: writeBase("fsBase"),
  wrgsbase: writeBase("gsBase"),
};
