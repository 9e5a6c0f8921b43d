import * as bpf from "../bpf.js";
import type { Block, Statement } from "../flow-graph.js";
import { blocksFrom } from "../flow-graph.js";
import { Analysis, isLive } from "./analysis.js";
import { optimiseBlock } from "./block.js";
import { pullUp, shortenEdge } from "./branches.js";
import { Progress, Values } from "./values.js";

/** Passes in a row that only move edges, before that is taken for going round in circles. */
const MAXIMUM_SHUFFLES = 100;

/**
 * Makes a flow graph smaller and faster with the methods of McCanne's BPF optimiser: value numbering, dead stores, edges
 * past tests whose outcome is known, and sharing of loads, until nothing changes; first as a whole, then statement by
 * statement. The passes and their order are those of libpcap, since they show: a load that is optimised away cannot
 * reject a short packet, and a filter that is found to accept nothing is an error.
 *
 * @returns the new root
 * @throws FoldingError for a division by a zero that is found while folding, RangeError if the graph is too large
 */
export function optimise(root: Block): Block {
  const analysis = new Analysis(root);
  run(analysis, false);
  run(analysis, true);
  shareEqualBlocks(analysis);
  return skipIdleRoot(root);
}

function run(analysis: Analysis, rewrite: boolean): void {
  for (let shuffles = 0; shuffles < MAXIMUM_SHUFFLES; ) {
    const progress = new Progress();
    analysis.refresh();
    pass(analysis, progress, rewrite);
    if (!progress.changed) return;
    shuffles = progress.changedCode ? 0 : shuffles + 1;
  }
}

function pass(analysis: Analysis, progress: Progress, rewrite: boolean): void {
  const values = new Values();
  analysis.findEdgesInto();
  for (const block of analysis.fromRoot()) optimiseBlock(block, values, progress, rewrite);
  if (rewrite) return;
  for (const block of analysis.fromAboveReturns()) {
    shortenEdge(block.whenTrue, analysis, progress);
    shortenEdge(block.whenFalse, analysis, progress);
  }
  analysis.findEdgesInto();
  for (const block of analysis.fromAboveReturns()) pullUp(block, progress);
}

/** Leads edges to one of several blocks that do the same, until there are no two alike. */
function shareEqualBlocks(analysis: Analysis): void {
  const { blocks, root } = analysis;
  for (let changed = true; changed; ) {
    changed = false;
    const alive = new Set(blocksFrom(root));
    const sharedBy = new Map<Block, Block>();
    const known = new Map<string, Block>();
    for (let i = blocks.length - 1; i >= 0; i--) {
      const block = blocks[i];
      if (!alive.has(block)) continue;
      const key = keyOf(block);
      const twin = known.get(key);
      if (twin === undefined) known.set(key, block);
      else sharedBy.set(block, twin);
    }
    for (const block of blocks) {
      for (const edge of [block.whenTrue, block.whenFalse]) {
        const twin = edge.to === undefined ? undefined : sharedBy.get(edge.to);
        if (twin === undefined) continue;
        edge.to = twin;
        changed = true;
      }
    }
  }
}

function keyOf({ code, k, statements, whenTrue, whenFalse }: Block): string {
  const text = ({ code: c, k: n }: Statement): string => `${c}:${n}`;
  return `${code}:${k} ${whenTrue.to?.id},${whenFalse.to?.id} ${statements.filter(isLive).map(text).join(" ")}`;
}

/** A root whose test decides nothing gives its statements to what follows it; before a return they are pointless. */
function skipIdleRoot(root: Block): Block {
  const statements = root.statements;
  root.statements = [];
  let first = root;
  while (!first.isReturn && first.whenTrue.to !== undefined && first.whenTrue.to === first.whenFalse.to)
    first = first.whenTrue.to;
  first.statements = bpf.classOf(first.code) === bpf.RET ? [] : [...statements, ...first.statements];
  return first;
}
