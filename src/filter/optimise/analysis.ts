import * as bpf from "../bpf.js";
import type { Block, Edge, Statement } from "../flow-graph.js";
import { blocksFrom, blocksInPostorder, CELL_A, CELL_X, CELLS, DELETED } from "../flow-graph.js";

/** What an instruction uses, besides one cell: the accumulator and the index register at once. */
export const USES_BOTH = CELLS;
export const NO_CELL = -1;

/** Blocks whose sets of dominators are kept; the sets grow with the square. */
const MAXIMUM_BLOCKS = 8192;

/** The cell that an instruction reads; USES_BOTH, or NO_CELL. */
export function cellUsed(code: number, k: number): number {
  if (code === DELETED) return NO_CELL;
  switch (bpf.classOf(code)) {
    case bpf.RET:
      return (code & 0x18) === bpf.A ? CELL_A : NO_CELL;
    case bpf.LD:
    case bpf.LDX:
      return bpf.modeOf(code) === bpf.IND ? CELL_X : bpf.modeOf(code) === bpf.MEM ? k : NO_CELL;
    case bpf.ST:
      return CELL_A;
    case bpf.STX:
      return CELL_X;
    case bpf.JMP:
    case bpf.ALU:
      return bpf.sourceOf(code) === bpf.X ? USES_BOTH : CELL_A;
    default:
      return (code & 0xf8) === bpf.TXA ? CELL_X : CELL_A;
  }
}

/** The cell that an instruction writes, or NO_CELL. */
export function cellDefined(code: number, k: number): number {
  if (code === DELETED) return NO_CELL;
  switch (bpf.classOf(code)) {
    case bpf.LD:
    case bpf.ALU:
      return CELL_A;
    case bpf.LDX:
      return CELL_X;
    case bpf.ST:
    case bpf.STX:
      return k;
    case bpf.MISC:
      return (code & 0xf8) === bpf.TAX ? CELL_X : CELL_A;
    default:
      return NO_CELL;
  }
}

export const isIn = (set: Uint32Array, id: number): boolean => ((set[id >>> 5] >>> (id & 31)) & 1) !== 0;
const insert = (set: Uint32Array, id: number): void => {
  set[id >>> 5] |= 1 << (id & 31);
};
const intersect = (set: Uint32Array, other: Uint32Array): void => {
  for (let i = 0; i < set.length; i++) set[i] &= other[i];
};

/** The flow graph with its facts, found anew before each pass. Edges are numbered: all true ways, then all false ones. */
export class Analysis {
  readonly blocks: readonly Block[];
  readonly edges: readonly Edge[];
  /** By the length of the longest way to a return; the last is that of the root alone. */
  levels: Block[][] = [];

  /** @throws RangeError if there are too many blocks */
  constructor(public root: Block) {
    this.blocks = blocksFrom(root);
    if (this.blocks.length > MAXIMUM_BLOCKS) throw new RangeError("too many blocks to optimise");
    this.edges = [...this.blocks.map((block) => block.whenTrue), ...this.blocks.map((block) => block.whenFalse)];
    const blockWords = (this.blocks.length >>> 5) + 1;
    const edgeWords = (this.edges.length >>> 5) + 1;
    this.blocks.forEach((block, id) => {
      block.id = id;
      block.dominators = new Uint32Array(blockWords);
    });
    this.edges.forEach((edge, id) => {
      edge.id = id;
      edge.dominators = new Uint32Array(edgeWords);
    });
  }

  refresh(): void {
    this.findLevels();
    this.findDominators();
    this.findUses();
    this.findEdgeDominators();
  }

  /** The order of blocks of one level decides which of several equal rewritings comes first: last found, first seen. */
  private findLevels(): void {
    this.levels = [];
    for (const block of blocksInPostorder(this.root, true)) {
      const [yes, no] = [block.whenTrue.to, block.whenFalse.to];
      block.level = yes === undefined || no === undefined ? 0 : Math.max(yes.level, no.level) + 1;
      this.levels[block.level] ??= [];
      this.levels[block.level].push(block);
    }
    for (const level of this.levels) level.reverse();
  }

  *fromRoot(): Iterable<Block> {
    for (let level = this.root.level; level >= 0; level--) yield* this.levels[level];
  }

  *fromAboveReturns(): Iterable<Block> {
    for (let level = 1; level <= this.root.level; level++) yield* this.levels[level];
  }

  private findDominators(): void {
    for (const block of this.blocks) block.dominators.fill(0xffffffff);
    this.root.dominators.fill(0);
    for (const block of this.fromRoot()) {
      insert(block.dominators, block.id);
      if (block.whenTrue.to) intersect(block.whenTrue.to.dominators, block.dominators);
      if (block.whenFalse.to) intersect(block.whenFalse.to.dominators, block.dominators);
    }
  }

  private findEdgeDominators(): void {
    for (const edge of this.edges) edge.dominators.fill(0xffffffff);
    this.root.whenTrue.dominators.fill(0);
    this.root.whenFalse.dominators.fill(0);
    for (const block of this.fromRoot()) {
      for (const edge of [block.whenTrue, block.whenFalse]) {
        insert(edge.dominators, edge.id);
        if (edge.to === undefined) continue;
        intersect(edge.to.whenTrue.dominators, edge.dominators);
        intersect(edge.to.whenFalse.dominators, edge.dominators);
      }
    }
  }

  private findUses(): void {
    for (const block of this.fromRoot()) {
      findLocalUses(block);
      block.usedOut = 0;
    }
    for (const block of this.fromAboveReturns()) {
      block.usedOut |= (block.whenTrue.to?.usedIn ?? 0) | (block.whenFalse.to?.usedIn ?? 0);
      block.usedIn |= block.usedOut & ~block.kills;
    }
  }

  /** Links, for each block, the edges into it: the last found comes first. */
  findEdgesInto(): void {
    for (const block of this.blocks) block.into = undefined;
    for (let level = this.root.level; level > 0; level--)
      for (const block of this.levels[level])
        for (const edge of [block.whenTrue, block.whenFalse]) {
          if (edge.to === undefined) continue;
          edge.nextInto = edge.to.into;
          edge.to.into = edge;
        }
  }
}

function findLocalUses(block: Block): void {
  let defined = 0;
  let used = 0;
  let killed = 0;
  const use = (code: number, k: number): void => {
    const cell = cellUsed(code, k);
    if (cell === NO_CELL) return;
    const cells = cell === USES_BOTH ? (1 << CELL_A) | (1 << CELL_X) : 1 << cell;
    used |= cells & ~defined;
  };
  for (const { code, k } of block.statements) {
    use(code, k);
    const cell = cellDefined(code, k);
    if (cell === NO_CELL) continue;
    killed |= (1 << cell) & ~used;
    defined |= 1 << cell;
  }
  if (bpf.classOf(block.code) === bpf.JMP) use(block.code, block.k);
  block.kills = killed;
  block.usedIn = used;
}

export const isLive = (statement: Statement): boolean => statement.code !== DELETED;
