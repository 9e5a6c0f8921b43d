import * as bpf from "./bpf.js";

/** Scratch words, then the accumulator and the index register: what data flow is about. */
export const CELL_A = bpf.SCRATCH_WORDS;
export const CELL_X = bpf.SCRATCH_WORDS + 1;
export const CELLS = bpf.SCRATCH_WORDS + 2;

/** The code of a statement that was optimised away. */
export const DELETED = -1;

/**
 * One instruction that is no branch at the end of a block. Geneve has branches inside one: their targets are here. A
 * chain of headers has its two small fields here.
 */
export interface Statement {
  code: number;
  k: number;
  whenTrue?: Statement;
  whenFalse?: Statement;
  scratch?: number;
  version?: number;
}

export const statement = (code: number, k = 0): Statement => ({ code, k });

/** An edge of the flow graph, from the block `from`, taken when its comparison holds (`sense`) or does not. */
export class Edge {
  to: Block | undefined;
  /** Numbering, the set of edges that every path to this one takes, the next edge into the same block. */
  id = 0;
  dominators = NO_SET;
  nextInto: Edge | undefined;
  /** The comparison that taking the edge decided, negative if it did not hold. */
  decided = 0;

  constructor(readonly from: Block) {}
}

const NO_SET = new Uint32Array(0);

/** Statements, then a comparison with two ways out, or a return. */
export class Block {
  readonly whenTrue = new Edge(this);
  readonly whenFalse = new Edge(this);
  id = 0;
  level = 0;
  dominators = NO_SET;
  /** First of the edges into this block. */
  into: Edge | undefined;
  /** Cells that it defines before it uses them; that it, or something after it, uses; that something after it uses. */
  kills = 0;
  usedIn = 0;
  usedOut = 0;
  /** Numbers of the values in the cells at its end, and of what its comparison compares with. 0 is unknown. */
  values = new Uint32Array(CELLS);
  comparand = 0;

  constructor(
    public code: number,
    public k = 0,
    public statements: Statement[] = [],
  ) {}

  get isReturn(): boolean {
    return bpf.classOf(this.code) === bpf.RET;
  }
}

/** A test under construction: where it begins, and its ways out that do not yet lead anywhere. */
export interface Test {
  readonly head: Block;
  readonly accepts: readonly Edge[];
  readonly rejects: readonly Edge[];
}

export function branch(code: number, k: number, statements: Statement[]): Test {
  const block = new Block(bpf.JMP | code, k, statements);
  return { head: block, accepts: [block.whenTrue], rejects: [block.whenFalse] };
}

export function both(first: Test, second: Test): Test {
  connect(first.accepts, second.head);
  return { head: first.head, accepts: second.accepts, rejects: join(first.rejects, second.rejects) };
}

export function either(first: Test, second: Test): Test {
  connect(first.rejects, second.head);
  return { head: first.head, accepts: join(first.accepts, second.accepts), rejects: second.rejects };
}

export function not(test: Test): Test {
  return { head: test.head, accepts: test.rejects, rejects: test.accepts };
}

export function connect(edges: readonly Edge[], to: Block): void {
  for (const edge of edges) edge.to = to;
}

/** The shorter is appended in place to the longer, so that a long list of alternatives costs what it is long. */
function join(a: readonly Edge[], b: readonly Edge[]): readonly Edge[] {
  const [long, short] = a.length >= b.length ? [a as Edge[], b] : [b as Edge[], a];
  for (const edge of short) long.push(edge);
  return long;
}

/** Every block that can be reached, each before what follows it first: the true way first. */
export function blocksFrom(root: Block): Block[] {
  const seen = new Set<Block>();
  const open = [root];
  for (let block = open.pop(); block !== undefined; block = open.pop()) {
    if (seen.has(block)) continue;
    seen.add(block);
    if (block.whenFalse.to) open.push(block.whenFalse.to);
    if (block.whenTrue.to) open.push(block.whenTrue.to);
  }
  return [...seen];
}

/** Every block that can be reached, each after all that follows it. */
export function blocksInPostorder(root: Block, trueFirst: boolean): Block[] {
  const order: Block[] = [];
  const seen = new Set<Block>();
  const open: { block: Block; next: number }[] = [];
  const enter = (block: Block | undefined): void => {
    if (block === undefined || seen.has(block)) return;
    seen.add(block);
    open.push({ block, next: 0 });
  };
  enter(root);
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const way = top.next++;
    if (way < 2) enter((way === 0) === trueFirst ? top.block.whenTrue.to : top.block.whenFalse.to);
    else {
      order.push(top.block);
      open.pop();
    }
  }
  return order;
}
