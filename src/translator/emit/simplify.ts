import { definedLanes } from "../flags.js";
import type { Lifted } from "../flow/effects.js";
import type { Expr, Step } from "../ir.js";

/** The steps of an instruction that matter, and the temporaries that are written where they are used. */
export interface Simplified {
  readonly steps: readonly Step[];
  /** By temporary: the expression that stands for its only use. */
  readonly inlined: readonly (Expr | undefined)[];
}

interface Counts {
  readonly uses: number[];
  readonly lets: number[];
}

function count(e: Expr, counts: Counts): void {
  switch (e.kind) {
    case "tmp":
      counts.uses[e.index] = (counts.uses[e.index] ?? 0) + 1;
      return;
    case "op":
      count(e.a, counts);
      if (e.b !== null) count(e.b, counts);
      return;
    case "vop":
    case "pure":
      for (const a of e.args) count(a, counts);
      return;
    case "select":
      count(e.c, counts);
      count(e.a, counts);
      count(e.b, counts);
      return;
    default:
      return;
  }
}

/** The expressions of a step, those of nested steps left out. */
function expressions(step: Step): readonly Expr[] {
  switch (step.kind) {
    case "let":
    case "set":
    case "setXmm":
    case "setLane":
    case "setField":
      return [step.value];
    case "load":
    case "probe":
      return [step.address.base, step.address.index].filter((e) => e !== null);
    case "store":
      return [step.address.base, step.address.index, step.value].filter((e) => e !== null);
    case "flags":
      return [step.flags.a, step.flags.b, step.flags.r];
    case "if":
    case "branch":
      return [step.condition];
    case "jumpIndirect":
    case "callIndirect":
    case "return":
      return [step.target];
    default:
      return [];
  }
}

function tally(steps: readonly Step[], counts: Counts, nested: boolean): void {
  for (const step of steps) {
    for (const e of expressions(step)) count(e, counts);
    // A temporary that is written twice, or on some ways only, is left alone.
    if (step.kind === "let" || step.kind === "load") {
      counts.lets[step.index] = (counts.lets[step.index] ?? 0) + (nested ? 2 : 1);
    }
    if (step.kind === "if") {
      tally(step.then, counts, true);
      tally(step.otherwise, counts, true);
    }
    if (step.kind === "loop") tally(step.body, counts, true);
  }
}

/** Reads registers, flags or fields, so that it may only move as far as these stay. */
function readsState(e: Expr): { registers: number; other: boolean } {
  switch (e.kind) {
    case "reg":
      return { registers: 1 << e.register, other: false };
    case "lane":
    case "condition":
    case "field":
    case "xmm":
      return { registers: 0, other: true };
    case "op": {
      const a = readsState(e.a);
      const b = e.b === null ? NOTHING : readsState(e.b);
      return { registers: a.registers | b.registers, other: a.other || b.other };
    }
    case "vop":
    case "pure":
      return e.args.map(readsState).reduce(joined, NOTHING);
    case "select":
      return [e.c, e.a, e.b].map(readsState).reduce(joined, NOTHING);
    // A temporary of another's: it may be written again.
    case "tmp":
      return NOTHING;
    default:
      return NOTHING;
  }
}

const NOTHING = { registers: 0, other: false };
const joined = (a: typeof NOTHING, b: typeof NOTHING): typeof NOTHING => ({
  registers: a.registers | b.registers,
  other: a.other || b.other,
});

const changes = (step: Step, reads: typeof NOTHING): boolean =>
  (step.kind === "set" && (reads.registers & (1 << step.register)) !== 0) ||
  (reads.other &&
    (step.kind === "flags" || step.kind === "setLane" || step.kind === "setField" || step.kind === "setXmm"));

const uses = (step: Step, index: number): number => {
  const counts: Counts = { uses: [], lets: [] };
  for (const e of expressions(step)) count(e, counts);
  return counts.uses[index] ?? 0;
};

/** The steps of an instruction; what was found out is kept with it. @param lanes the flags that are needed after it */
export function simplified({ steps, effects }: Lifted, lanes: number): Simplified {
  const { simplified: known } = effects;
  const wanted = lanes & effects.lanesWritten;
  known[wanted] ??= simplify(steps, wanted);
  return known[wanted];
}

/** @param lanes the flags that are needed after the instruction */
export function simplify(steps: readonly Step[], lanes: number): Simplified {
  if (steps.length === 1 || steps.some((step) => step.kind === "if" || step.kind === "loop")) {
    return { steps, inlined: [] };
  }
  let kept = steps.filter((step) => {
    if (step.kind === "flags") return (definedLanes(step.flags.op) & lanes) !== 0;
    return step.kind !== "setLane" || (step.lane & lanes) !== 0;
  });
  const inlined: (Expr | undefined)[] = [];
  // Once: what uses a temporary of its own is looked at from the end, so that chains fold.
  const counts: Counts = { uses: [], lets: [] };
  tally(kept, counts, false);
  const result: Step[] = [];
  for (let i = kept.length - 1; i >= 0; i--) {
    const step = kept[i];
    if (step.kind === "let" && counts.lets[step.index] === 1) {
      const used = counts.uses[step.index] ?? 0;
      if (used === 0) {
        const dropped: Counts = { uses: [], lets: [] };
        count(step.value, dropped);
        dropped.uses.forEach((n, index) => {
          counts.uses[index] -= n;
        });
        continue;
      }
      if (used === 1 && canMove(step.index, step.value, result, inlined)) {
        inlined[step.index] = step.value;
        continue;
      }
    }
    result.push(step);
  }
  kept = result.reverse();
  return { steps: kept, inlined };
}

/**
 * Whether a value may be computed where it is used instead.
 * @param after the steps that follow, the last first
 */
function canMove(index: number, value: Expr, after: readonly Step[], inlined: readonly (Expr | undefined)[]): boolean {
  const reads = readsState(value);
  // It may be used by a temporary that was itself moved.
  let wanted = index;
  for (let moved = true; moved; ) {
    moved = false;
    inlined.forEach((e, of) => {
      if (e === undefined || of === wanted) return;
      const counts: Counts = { uses: [], lets: [] };
      count(e, counts);
      if ((counts.uses[wanted] ?? 0) > 0) {
        wanted = of;
        moved = true;
      }
    });
  }
  for (let i = after.length - 1; i >= 0; i--) {
    if (uses(after[i], wanted) > 0) return after[i].kind !== "flags";
    if (changes(after[i], reads)) return false;
  }
  return false;
}
