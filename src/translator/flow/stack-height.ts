import { RBP, RSP } from "../instruction.js";
import type { Expr, Step } from "../ir.js";
import { isCall } from "./liveness.js";
import type { Order } from "./order.js";
import type { Node } from "./region.js";

/** Distances of RSP and RBP from RSP at the entry; null where they are not known. */
export interface Heights {
  readonly sp: number | null;
  readonly bp: number | null;
}

/**
 * How far from where it was at the entry the stack pointer is, by place at the start of a block.
 *
 * @param afterCall what is known after a call, from what is known when its return address has been pushed
 */
export function stackHeights(order: Order, afterCall: (node: Node, at: Heights) => Heights): StackHeights {
  const starts = new Array<Heights | undefined>(order.blocks.length);
  starts[0] = { sp: 0, bp: null };
  let balanced = true;
  for (let changed = true; changed; ) {
    changed = false;
    balanced = true;
    for (let place = 0; place < order.blocks.length; place++) {
      let at = starts[place];
      if (at === undefined) continue;
      const block = order.blocks[place];
      for (const node of block.nodes) {
        at = after(at, node.lifted.steps, node.inlining === "return");
        if (isCall(node)) at = afterCall(node, at);
      }
      if (block.ending.kind === "return" && at.sp !== 8) balanced = false;
      // On a jump to another function the return address is on top.
      const leaves = block.ending.kind === "tail" || block.successors.includes(null);
      if (leaves && at.sp !== 0) balanced = false;
      for (const target of block.successors) {
        if (target === null) continue;
        const to = order.place[target.id];
        const met = meet(starts[to], at);
        if (met === starts[to]) continue;
        starts[to] = met;
        changed = true;
      }
    }
  }
  return { balanced, starts: starts.map((at) => at?.sp ?? null) };
}

export interface StackHeights {
  /** Wherever the region returns, RSP is as it was before the return address was pushed. */
  readonly balanced: boolean;
  readonly starts: readonly (number | null)[];
}

/** Calls are taken to give RSP and RBP back. */
export const wellBehaved = (_node: Node, at: Heights): Heights => ({ ...at, sp: at.sp === null ? null : at.sp + 8 });

function meet(known: Heights | undefined, other: Heights): Heights {
  if (known === undefined) return other;
  const sp = known.sp === other.sp ? known.sp : null;
  const bp = known.bp === other.bp ? known.bp : null;
  return sp === known.sp && bp === known.bp ? known : { sp, bp };
}

function after(at: Heights, steps: readonly Step[], onlySets: boolean): Heights {
  let { sp, bp } = at;
  const temporaries: (number | null)[] = [];
  const value = (e: Expr): number | null => {
    switch (e.kind) {
      case "reg":
        if (e.type !== "i64") return null;
        return e.register === RSP ? sp : e.register === RBP ? bp : null;
      case "tmp":
        return temporaries[e.index] ?? null;
      case "op": {
        if ((e.op !== "i64.add" && e.op !== "i64.sub") || e.b?.kind !== "i64") return null;
        const from = value(e.a);
        return from === null ? null : e.op === "i64.add" ? from + Number(e.b.value) : from - Number(e.b.value);
      }
      default:
        return null;
    }
  };
  const walk = (list: readonly Step[], conditional: boolean): void => {
    for (const step of list) {
      if (step.kind === "let" && !onlySets) temporaries[step.index] = conditional ? null : value(step.value);
      else if (step.kind === "set") {
        const result = conditional || step.width !== 8 ? null : value(step.value);
        if (step.register === RSP) sp = result;
        if (step.register === RBP) bp = result;
      } else if (step.kind === "if") {
        walk(step.then, true);
        walk(step.otherwise, true);
      } else if (step.kind === "loop") walk(step.body, true);
    }
  };
  walk(steps, false);
  return { sp, bp };
}
