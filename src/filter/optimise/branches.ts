import * as bpf from "../bpf.js";
import type { Block, Edge } from "../flow-graph.js";
import { CELL_A, CELLS } from "../flow-graph.js";
import type { Analysis } from "./analysis.js";
import { isIn } from "./analysis.js";
import type { Progress } from "./values.js";

/** Something that is used after `to` has another value there than after `from`: `to` cannot be led to directly. */
function conflicts(from: Block, to: Block): boolean {
  for (let cell = 0; cell < CELLS; cell++)
    if (((to.usedOut >>> cell) & 1) !== 0 && from.values[cell] !== to.values[cell]) return true;
  return false;
}

/** Leads an edge past blocks whose outcome is known on it, since an edge that dominates it decided the same test. */
export function shortenEdge(edge: Edge, analysis: Analysis, progress: Progress): void {
  const to = edge.to;
  if (to?.whenTrue.to === undefined) return;
  if (to.whenTrue.to === to.whenFalse.to && !conflicts(edge.from, to.whenTrue.to)) {
    edge.to = to.whenTrue.to;
    progress.rewrote();
  }
  while (shortenOnce(edge, analysis, progress)) {
    // Every step leads further towards a return.
  }
}

/** Takes the first dominator that helps. Returns whether there may be more to gain. */
function shortenOnce(edge: Edge, analysis: Analysis, progress: Progress): boolean {
  for (let word = 0; word < edge.dominators.length; word++) {
    for (let rest = edge.dominators[word]; rest !== 0; rest &= rest - 1) {
      const dominator = analysis.edges[word * 32 + 31 - Math.clz32(rest & -rest)];
      const target = edge.to === undefined ? undefined : knownOutcome(edge.to, dominator);
      if (target === undefined || conflicts(edge.from, target)) continue;
      edge.to = target;
      progress.moved();
      return target.whenTrue.to !== undefined;
    }
  }
  return false;
}

/** Where the block leads on a path that took this edge, if that is known. */
function knownOutcome(block: Block, edge: Edge): Block | undefined {
  const held = edge.decided >= 0;
  const code = held ? edge.decided : -edge.decided;
  if (block.code !== code || block.values[CELL_A] !== edge.from.values[CELL_A]) return undefined;
  if (block.comparand === edge.from.comparand) return held ? block.whenTrue.to : block.whenFalse.to;
  // It equals one constant, hence no other.
  return held && code === (bpf.JMP | bpf.JEQ | bpf.K) ? block.whenFalse.to : undefined;
}

/** The way that a chain of tests goes on, and the way out that all its tests share. */
interface Way {
  readonly on: (block: Block) => Edge;
  readonly out: (block: Block) => Edge;
}
const ALTERNATIVES: Way = { on: (block) => block.whenFalse, out: (block) => block.whenTrue };
const CONJUNCTS: Way = { on: (block) => block.whenTrue, out: (block) => block.whenFalse };

/**
 * In a chain of alternatives (and likewise of conjuncts) whose tests share their way out, moves a test of the value that
 * was in the accumulator before the chain up to the others of it, so that one load serves all.
 */
export function pullUp(block: Block, progress: Progress): void {
  pullUpAlong(block, ALTERNATIVES, progress);
  pullUpAlong(block, CONJUNCTS, progress);
}

function pullUpAlong(block: Block, { on, out }: Way, progress: Progress): void {
  const first = block.into;
  if (first === undefined) return;
  const value = first.from.values[CELL_A];
  for (let edge = first.nextInto; edge !== undefined; edge = edge.nextInto)
    if (edge.from.values[CELL_A] !== value) return;
  const exit = out(block).to;
  const inChain = (candidate: Block | undefined): candidate is Block =>
    candidate !== undefined && out(candidate).to === exit && isIn(candidate.dominators, block.id);

  let different = first.from.whenTrue.to === block ? first.from.whenTrue : first.from.whenFalse;
  let atTop = true;
  for (;;) {
    const candidate = different.to;
    if (!inChain(candidate)) return;
    if (candidate.values[CELL_A] !== value) break;
    different = on(candidate);
    atTop = false;
  }
  const stays = different.to;
  if (stays === undefined) return;
  let same = on(stays);
  for (;;) {
    const candidate = same.to;
    if (!inChain(candidate)) return;
    if (candidate.values[CELL_A] === value) break;
    same = on(candidate);
  }
  const pulled = same.to;
  if (pulled === undefined) return;
  same.to = on(pulled).to;
  on(pulled).to = stays;
  if (atTop) {
    for (let edge: Edge | undefined = first; edge !== undefined; edge = edge.nextInto) {
      const { from } = edge;
      if (from.whenTrue.to === block) from.whenTrue.to = pulled;
      else from.whenFalse.to = pulled;
    }
  } else different.to = pulled;
  progress.moved();
}
