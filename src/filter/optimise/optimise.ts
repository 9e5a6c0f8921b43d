import * as bpf from "../bpf.js";
import type { Block, Edge, Statement } from "../flow-graph.js";
import { blocksInPostorder } from "../flow-graph.js";
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

/** Of blocks that do the same, keeps the one with the highest number, and leads all edges to that. */
function shareEqualBlocks({ root }: Analysis): void {
  const classes = new Map<string, Block[]>();
  const classOf = new Map<Block, Block[]>();
  const numbers = new Map<Block[], number>();
  const numberAt = (edge: Edge): number | undefined => {
    const members = edge.to === undefined ? undefined : classOf.get(edge.to);
    return members === undefined ? undefined : numbers.get(members);
  };
  const blocks = blocksInPostorder(root, true);
  for (const block of blocks) {
    const key = `${numberAt(block.whenTrue)},${numberAt(block.whenFalse)} ${contentOf(block)}`;
    const members = classes.get(key) ?? [];
    classes.set(key, members);
    classOf.set(block, members);
    if (members.length === 0) numbers.set(members, numbers.size);
    members.push(block);
  }
  const kept = new Map(
    [...numbers.keys()].map((members) => [members, members.reduce((a, b) => (a.id > b.id ? a : b))]),
  );
  for (const block of blocks)
    for (const edge of [block.whenTrue, block.whenFalse]) {
      const members = edge.to === undefined ? undefined : classOf.get(edge.to);
      if (members !== undefined) edge.to = kept.get(members);
    }
}

function contentOf({ code, k, statements }: Block): string {
  const text = ({ code: c, k: n }: Statement): string => `${c}:${n}`;
  return `${code}:${k} ${statements.filter(isLive).map(text).join(" ")}`;
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
