import type { BpfInstruction, BpfProgram } from "./bpf.js";
import * as bpf from "./bpf.js";
import type { Block, Statement } from "./flow-graph.js";
import { blocksInPostorder, DELETED } from "./flow-graph.js";

const FARTHEST = 255;

/** Instructions that a block needs behind its comparison, to jump farther than the comparison itself can. */
interface LongJumps {
  whenTrue: boolean;
  whenFalse: boolean;
}

/** Lays the blocks out one after the other, each before all that follow it, and resolves the jumps. */
export function flatten(root: Block): BpfProgram {
  const blocks = blocksInPostorder(root, false).reverse();
  for (const block of blocks) block.statements = block.statements.filter(({ code }) => code !== DELETED);
  const long = new Map<Block, LongJumps>(blocks.map((block) => [block, { whenTrue: false, whenFalse: false }]));
  for (;;) {
    const starts = placeBlocks(blocks, long);
    if (!lengthen(blocks, starts, long)) return blocks.flatMap((block) => instructionsOf(block, starts, long));
  }
}

const longOf = (long: Map<Block, LongJumps>, block: Block): LongJumps =>
  long.get(block) ?? { whenTrue: false, whenFalse: false };

const lengthOf = (block: Block, { whenTrue, whenFalse }: LongJumps): number =>
  block.statements.length + 1 + Number(whenTrue) + Number(whenFalse);

function placeBlocks(blocks: readonly Block[], long: Map<Block, LongJumps>): Map<Block, number> {
  const starts = new Map<Block, number>();
  let at = 0;
  for (const block of blocks) {
    starts.set(block, at);
    at += lengthOf(block, longOf(long, block));
  }
  return starts;
}

/** Instructions between the comparison of `from` and the start of `to`. */
function distance(from: Block, to: Block, starts: Map<Block, number>): number {
  return (starts.get(to) ?? 0) - ((starts.get(from) ?? 0) + from.statements.length) - 1;
}

/** Gives a long jump to all that are too far; says whether there were any. That makes others longer, never shorter. */
function lengthen(blocks: readonly Block[], starts: Map<Block, number>, long: Map<Block, LongJumps>): boolean {
  let any = false;
  for (const block of blocks) {
    const jumps = longOf(long, block);
    for (const way of ["whenTrue", "whenFalse"] as const) {
      const to = block[way].to;
      if (to === undefined || jumps[way] || distance(block, to, starts) <= FARTHEST) continue;
      jumps[way] = true;
      any = true;
    }
  }
  return any;
}

function instructionsOf(block: Block, starts: Map<Block, number>, long: Map<Block, LongJumps>): BpfInstruction[] {
  const statements = block.statements.map((statement, i) => instructionOf(statement, i, block.statements));
  const [yes, no] = [block.whenTrue.to, block.whenFalse.to];
  if (yes === undefined || no === undefined) return [...statements, { code: block.code, jt: 0, jf: 0, k: block.k }];
  const jumps = longOf(long, block);
  const extra: BpfInstruction[] = [];
  const reach = (to: Block, isLong: boolean): number => {
    const off = distance(block, to, starts);
    if (!isLong) return off;
    extra.push({ code: bpf.JMP | bpf.JA, jt: 0, jf: 0, k: off - extra.length - 1 });
    return extra.length - 1;
  };
  const jt = reach(yes, jumps.whenTrue);
  const jf = reach(no, jumps.whenFalse);
  return [...statements, { code: block.code, jt, jf, k: block.k }, ...extra];
}

function instructionOf(statement: Statement, at: number, statements: readonly Statement[]): BpfInstruction {
  const { code, k, whenTrue, whenFalse, scratch, version } = statement;
  const skip = (to: Statement | undefined): number => (to === undefined ? 0 : statements.indexOf(to) - at - 1);
  if (scratch !== undefined && version !== undefined) return { code, jt: scratch, jf: version, k };
  return { code, jt: skip(whenTrue), jf: skip(whenFalse), k };
}
