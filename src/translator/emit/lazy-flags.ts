import { LAZY_OPERATIONS } from "../cpu.js";
import { CPU } from "../cpu-state.js";
import { conditionFromFlags, conditionFromLanes, conditionLanes, definedLanes, laneFromFlags } from "../flags.js";
import type { ConditionCode } from "../instruction.js";
import { type Expr, type Flags, LANES, type Lane, laneOf, tmp } from "../ir.js";
import type { FunctionBody } from "../wasm-assembler.js";
import { FLAG_OPERANDS, type Locals } from "./locals.js";

/** The flags at one point: each lane comes from operands that are at hand, from a local of its own, or from memory. */
export interface FlagsState {
  readonly lazy: Flags | null;
  /** The lanes that `lazy` stands for. */
  readonly lazyMask: number;
  /** The lanes that are in locals. The others are in memory, if they are needed at all. */
  readonly locals: number;
}

export const NO_FLAGS: FlagsState = { lazy: null, lazyMask: 0, locals: 0 };

/** The flags while a function is written: computed where they are read, not where they are set. */
export class LazyFlags {
  state: FlagsState = NO_FLAGS;

  constructor(
    private readonly body: FunctionBody,
    private readonly locals: Locals,
    private readonly emit: (e: Expr) => void,
  ) {}

  /** Leaves a lane on the stack. */
  lane(lane: Lane): void {
    const { lazy, lazyMask, locals } = this.state;
    if (lazy !== null && (lazyMask & lane) !== 0) this.emit(laneFromFlags(lazy, lane));
    else if ((locals & lane) !== 0) this.body.get(this.locals.lane(lane));
    else {
      this.body.i32(0);
      this.body.memory("i32.load", laneOffset(lane), 2);
    }
  }

  /** Leaves a condition on the stack. */
  condition(code: ConditionCode): void {
    this.emit(this.conditionExpr(code));
  }

  conditionExpr(code: ConditionCode): Expr {
    const { lazy, lazyMask } = this.state;
    const fused = lazy === null ? null : conditionFromFlags(lazy, code);
    const wanted = conditionLanes(code);
    if (fused !== null && (wanted & ~lazyMask) === 0) return fused;
    return conditionFromLanes(code, laneOf);
  }

  /**
   * New flags.
   * @param needed the lanes that are read later
   * @param capture keep the operands beyond the instruction
   */
  set(flags: Flags, needed: number, capture: boolean): void {
    const defined = definedLanes(flags.op);
    this.materialize(needed & ~defined & this.state.lazyMask);
    const mask = defined & needed;
    const lazy = capture ? this.#captured(flags) : flags;
    this.state = { lazy, lazyMask: mask, locals: this.state.locals & ~mask };
  }

  /** Takes a lane off the stack. */
  setLane(lane: Lane): void {
    this.body.set(this.locals.lane(lane));
    const { lazy, lazyMask, locals } = this.state;
    this.state = { lazy, lazyMask: lazyMask & ~lane, locals: locals | lane };
  }

  /** Brings lanes into locals. */
  materialize(mask: number): void {
    for (const lane of LANES) {
      if ((mask & lane & ~this.state.locals) === 0) continue;
      this.lane(lane);
      this.setLane(lane);
    }
  }

  /** Writes lanes to memory, those that are lazy as their operands; for the way out. */
  store(needed: number, state: FlagsState): void {
    const { lazy, lazyMask, locals } = state;
    for (const lane of LANES) {
      if ((needed & locals & ~lazyMask & lane) === 0) continue;
      this.body.i32(0);
      this.body.get(this.locals.lane(lane));
      this.body.memory("i32.store", laneOffset(lane), 2);
    }
    const mask = needed & lazyMask;
    if (lazy === null || mask === 0) return;
    const words = [1 + LAZY_OPERATIONS.indexOf(lazy.op), lazy.bytes, mask];
    words.forEach((word, i) => {
      this.body.i32(0);
      this.body.i32(word);
      this.body.memory("i32.store", CPU.lazyOperation + 4 * i, 2);
    });
    [lazy.a, lazy.b, lazy.r].forEach((operand, i) => {
      this.body.i32(0);
      this.emit(operand);
      if (operand.type === "i32") this.body.op("i64.extend_i32_u");
      this.body.memory("i64.store", CPU.lazyA + 8 * i, 3);
    });
  }

  #captured(flags: Flags): Flags {
    const resultOnly = flags.op === "logic" || flags.op === "result";
    const r = this.#keep(flags.r, FLAG_OPERANDS + 2);
    if (resultOnly) return { ...flags, a: r, b: r, r };
    return { ...flags, a: this.#keep(flags.a, FLAG_OPERANDS), b: this.#keep(flags.b, FLAG_OPERANDS + 1), r };
  }

  #keep(e: Expr, index: number): Expr {
    if (e.kind === "i32" || e.kind === "i64") return e;
    this.emit(e);
    this.body.set(this.locals.temporary(index, e.type));
    return tmp(index, e.type);
  }
}

const laneOffset = (lane: Lane): number => CPU.lanes + 4 * LANES.indexOf(lane);
