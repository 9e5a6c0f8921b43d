import type { GuestAddress } from "../../util/guest-address.js";
import type { Convention } from "../flow/convention.js";
import { GENERAL_MASK } from "../flow/effects.js";
import { isCall } from "../flow/liveness.js";
import type { Block, Node } from "../flow/region.js";
import type { Heights } from "../flow/stack-height.js";
import { RBP } from "../instruction.js";
import { EPOCH_BIT } from "./facts.js";
import type { ClosedFunction, Linkage } from "./linkage.js";

export const ALL_VARIABLES = GENERAL_MASK | EPOCH_BIT;

/** What the calls in a function, and its ways out, do to registers: what the analyses ask. */
export class CallEffects {
  constructor(
    private readonly linkage: Linkage,
    private readonly convention: Convention | null,
  ) {}

  /** What a node calls, if that takes registers in parameters. */
  closed(node: Node): ClosedFunction | null {
    if (!isCall(node)) return null;
    const { last } = node.lifted.effects;
    return last?.kind === "call" ? this.linkage.closed(last.target) : null;
  }

  /** The conventions of what a node calls for sure, or may well call; none if it must be a call with all in memory. */
  callees(node: Node): readonly Convention[] {
    if (!isCall(node)) return [];
    if (node.lifted.effects.last?.kind === "callIndirect") {
      return this.linkage.likely.map(({ target }) => target.convention);
    }
    const closed = this.closed(node);
    return closed === null ? [] : [closed.convention];
  }

  returned(node: Node): number {
    return this.callees(node).reduce((mask, c) => mask | c.results, 0);
  }

  /** Variables that a node gives new versions. */
  defines(node: Node): number {
    const { writes } = node.lifted.effects;
    if (!isCall(node)) return writes & GENERAL_MASK;
    const callee = this.closed(node);
    return callee === null ? ALL_VARIABLES : (writes | callee.convention.changes) & GENERAL_MASK;
  }

  heightsAfterCall(node: Node, at: Heights): Heights {
    const callee = this.closed(node);
    if (callee === null) return { sp: null, bp: null };
    const keepsFrame = (callee.convention.changes & (1 << RBP)) === 0;
    return { sp: at.sp === null ? null : at.sp + 8, bp: keepsFrame ? at.bp : null };
  }

  readsLeaving(block: Block): number {
    const convention = this.convention;
    if (convention === null) return 0;
    const kept = convention.changes & GENERAL_MASK;
    if (block.ending.kind === "return") return kept;
    let registers = 0;
    for (const target of tailTargets(block)) {
      registers |= kept | (this.linkage.closed(target)?.convention.parameters ?? 0);
    }
    return registers;
  }
}

/** Where a block jumps to another function. */
export const tailTargets = (block: Block): readonly GuestAddress[] =>
  block.ending.kind === "tail"
    ? [block.ending.target]
    : block.ending.kind === "branch"
      ? block.outside.filter((_, i) => block.successors[i] === null)
      : [];
