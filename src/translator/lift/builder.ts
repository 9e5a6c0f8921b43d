import type { Instruction } from "../instruction.js";
import type { Address, Bytes, Expr, Field, FlagsOperation, Lane, Step, TrapName, Type } from "../ir.js";
import { i32, LANES, tmp } from "../ir.js";

/** Writes down what one instruction does. */
export type Lifter = (steps: StepBuilder, instruction: Instruction) => void;
export type LifterTable = Readonly<Record<string, Lifter>>;

const ZERO = i32(0);
const ONE = i32(1);

/** Collects steps and numbers temporaries. */
export class StepBuilder {
  #steps: Step[] = [];
  #temporaries = 0;

  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** A temporary with the value. */
  let(value: Expr): Expr {
    const index = this.#temporaries++;
    this.#steps.push({ kind: "let", index, value });
    return temporary(index, value.type);
  }

  /** The value in a form that may be used several times: itself if it is a constant or a temporary. */
  keep(value: Expr): Expr {
    return value.kind === "tmp" || value.kind === "i32" || value.kind === "i64" ? value : this.let(value);
  }

  load(address: Address, bytes: Bytes, type: Type, signed = false, forWrite = false): Expr {
    const index = this.#temporaries++;
    this.#steps.push({ kind: "load", index, type, bytes, signed, address, forWrite });
    return temporary(index, type);
  }

  store(address: Address, bytes: Bytes, value: Expr, checked = false): void {
    this.#steps.push({ kind: "store", bytes, address, value, checked });
  }

  probe(address: Address, bytes: Bytes, write: boolean): void {
    this.#steps.push({ kind: "probe", bytes, address, write });
  }

  set(register: number, width: 1 | 2 | 4 | 8, value: Expr, high = false): void {
    this.#steps.push({ kind: "set", register, width, high, value });
  }

  setXmm(register: number, value: Expr): void {
    this.#steps.push({ kind: "setXmm", register, value });
  }

  flags(op: FlagsOperation, bytes: 1 | 2 | 4 | 8, a: Expr, b: Expr, r: Expr): void {
    this.#steps.push({ kind: "flags", flags: { op, bytes, a, b, r } });
  }

  lane(lane: Lane, value: Expr): void {
    this.#steps.push({ kind: "setLane", lane, value });
  }

  /** Flags that the manual leaves undefined: a constant, so that what was there before need not be computed. */
  undefined(lanes: number): void {
    for (const lane of LANES) if ((lanes & lane) !== 0) this.lane(lane, ZERO);
  }

  /** All flags 0, in one step: the result 1 is neither zero nor negative nor of even parity. */
  clearFlags(): void {
    this.flags("logic", 4, ONE, ONE, ONE);
  }

  field(field: Field, value: Expr): void {
    this.#steps.push({ kind: "setField", field, value });
  }

  trap(trap: TrapName): void {
    this.#steps.push({ kind: "trap", trap });
  }

  trapIf(condition: Expr, trap: TrapName): void {
    this.#steps.push(onlyIf(condition, [{ kind: "trap", trap }]));
  }

  /** The steps that `write` adds, repeated until one of them leaves. */
  loop(write: () => void): void {
    const outer = this.#steps;
    this.#steps = [];
    write();
    const body = this.#steps;
    this.#steps = outer;
    outer.push({ kind: "loop", body });
  }

  leaveIf(condition: Expr): void {
    this.#steps.push(onlyIf(condition, LEAVE));
  }

  /** A step that ends the instruction or stands alone. */
  end(step: Step): void {
    this.#steps.push(step);
  }
}

const NOTHING: readonly Step[] = [];
const LEAVE: readonly Step[] = [{ kind: "leave" }];

const onlyIf = (condition: Expr, steps: readonly Step[]): Step => ({
  kind: "if",
  condition,
  // biome-ignore lint/suspicious/noThenProperty: steps are never awaited
  then: steps,
  otherwise: NOTHING,
});

const SHARED: Readonly<Record<Type, Expr[]>> = { i32: [], i64: [], v128: [] };

function temporary(index: number, type: Type): Expr {
  const shared = SHARED[type];
  shared[index] ??= tmp(index, type);
  return shared[index];
}
