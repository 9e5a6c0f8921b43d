import * as bpf from "../bpf.js";
import type { Block, Statement } from "../flow-graph.js";
import { CELL_A, CELL_X, CELLS, DELETED } from "../flow-graph.js";
import { holds } from "../interpret.js";
import { cellDefined, cellUsed, isLive, NO_CELL, USES_BOTH } from "./analysis.js";
import { follow } from "./statements.js";
import type { Progress, Values } from "./values.js";
import { UNKNOWN } from "./values.js";

const usedAfter = (block: Block, cell: number): boolean => ((block.usedOut >>> cell) & 1) !== 0;

/** Optimises within one block, given the values that its predecessors leave; leaves its own for those after it. */
export function optimiseBlock(block: Block, values: Values, progress: Progress, rewrite: boolean): void {
  inheritValues(block);
  const accumulator = block.values[CELL_A];
  const index = block.values[CELL_X];
  for (const statement of block.statements)
    if (isLive(statement)) follow(statement, block.values, values, progress, rewrite);
  const changesNothing =
    block.usedOut === 0 &&
    accumulator !== UNKNOWN &&
    block.values[CELL_A] === accumulator &&
    index !== UNKNOWN &&
    block.values[CELL_X] === index;
  if (rewrite && (changesNothing || block.isReturn)) {
    if (block.statements.length > 0) {
      block.statements = [];
      progress.rewrote();
    }
  } else {
    simplify(block, values, progress);
    deleteDeadStores(block, progress);
  }
  block.comparand = bpf.sourceOf(block.code) === bpf.K ? values.constant(block.k) : block.values[CELL_X];
  block.whenTrue.decided = block.code;
  block.whenFalse.decided = -block.code;
}

/** Values on which all predecessors agree. */
function inheritValues(block: Block): void {
  const first = block.into;
  if (first === undefined) {
    block.values.fill(UNKNOWN);
    return;
  }
  block.values.set(first.from.values);
  for (let edge = first.nextInto; edge !== undefined; edge = edge.nextInto)
    for (let cell = 0; cell < CELLS; cell++)
      if (block.values[cell] !== edge.from.values[cell]) block.values[cell] = UNKNOWN;
}

function simplify(block: Block, values: Values, progress: Progress): void {
  if (block.statements.length === 0) return;
  const last = simplifyPairs(block, progress);
  if (block.code === (bpf.JMP | bpf.JEQ | bpf.K) && !usedAfter(block, CELL_A))
    foldIntoEquality(block, last, values, progress);
  if (block.code === (bpf.JMP | bpf.JSET | bpf.K)) {
    if (block.k === 0) block.whenTrue.to = block.whenFalse.to;
    if (block.k === 0xffffffff) block.whenFalse.to = block.whenTrue.to;
  }
  const index = values.constantOf(block.values[CELL_X]);
  if (index !== undefined && bpf.sourceOf(block.code) === bpf.X) {
    block.code &= ~bpf.X;
    block.k = index;
  }
  const accumulator = values.constantOf(block.values[CELL_A]);
  if (accumulator !== undefined && !block.isReturn && bpf.sourceOf(block.code) === bpf.K)
    decide(block, accumulator, progress);
}

/** The outcome is known: both ways lead to the same place. */
function decide(block: Block, accumulator: number, progress: Progress): void {
  if (block.whenTrue.to !== block.whenFalse.to) progress.rewrote();
  if (holds(bpf.operatorOf(block.code), accumulator, block.k)) block.whenFalse.to = block.whenTrue.to;
  else block.whenTrue.to = block.whenFalse.to;
}

/** Rewrites neighbouring statements; returns the last statement that it came by. */
function simplifyPairs(block: Block, progress: Progress): Statement {
  const { statements } = block;
  const liveFrom = (at: number): number => {
    let i = at;
    while (i < statements.length && !isLive(statements[i])) i++;
    return i;
  };
  let last = statements[0];
  for (let at = liveFrom(0); at < statements.length; ) {
    const nextAt = liveFrom(at + 1);
    if (nextAt >= statements.length) break;
    const [statement, next] = [statements[at], statements[nextAt]];
    last = next;
    if (statement.code === bpf.ST && next.code === (bpf.LDX | bpf.MEM) && statement.k === next.k) {
      next.code = bpf.MISC | bpf.TAX;
      progress.rewrote();
    }
    if (statement.code === (bpf.LD | bpf.IMM) && next.code === (bpf.MISC | bpf.TAX)) {
      statement.code = bpf.LDX | bpf.IMM;
      next.code = bpf.MISC | bpf.TXA;
      progress.rewrote();
    }
    if (statement.code === (bpf.LD | bpf.IMM) && !usedAfter(block, CELL_X))
      foldConstantIndex(statements, at, nextAt, liveFrom, progress);
    // What follows may just have been deleted; the next live statement is looked for from where it stood.
    at = liveFrom(nextAt);
  }
  return last;
}

/** ld #k, (ldxb 4*([…]&0xf),) add x, tax, ld [x + n]: the constant goes into the load. */
function foldConstantIndex(
  statements: Statement[],
  at: number,
  nextAt: number,
  liveFrom: (at: number) => number,
  progress: Progress,
): void {
  const addAt = statements[nextAt].code === (bpf.LDX | bpf.MSH | bpf.B) ? liveFrom(nextAt + 1) : nextAt;
  const taxAt = liveFrom(addAt + 1);
  const loadAt = liveFrom(taxAt + 1);
  if (loadAt >= statements.length) return;
  const [add, tax, load] = [statements[addAt], statements[taxAt], statements[loadAt]];
  if (add.code !== (bpf.ALU | bpf.ADD | bpf.X) || tax.code !== (bpf.MISC | bpf.TAX)) return;
  if (bpf.classOf(load.code) !== bpf.LD || bpf.modeOf(load.code) !== bpf.IND) return;
  load.k = (load.k + statements[at].k) >>> 0;
  statements[at].code = DELETED;
  add.code = DELETED;
  tax.code = DELETED;
  progress.rewrote();
}

/** The arithmetic just before a comparison for equality can be part of it. */
function foldIntoEquality(block: Block, last: Statement, values: Values, progress: Progress): void {
  switch (last.code) {
    case bpf.ALU | bpf.SUB | bpf.X: {
      const index = values.constantOf(block.values[CELL_X]);
      if (index !== undefined) block.k = (block.k + index) >>> 0;
      else if (block.k === 0) block.code = bpf.JMP | bpf.JEQ | bpf.X;
      else return;
      break;
    }
    case bpf.ALU | bpf.SUB | bpf.K:
      block.k = (block.k + last.k) >>> 0;
      break;
    case bpf.ALU | bpf.AND | bpf.K: {
      if (block.k !== 0) return;
      block.k = last.k;
      block.code = bpf.JMP | bpf.JSET | bpf.K;
      const yes = block.whenTrue.to;
      block.whenTrue.to = block.whenFalse.to;
      block.whenFalse.to = yes;
      break;
    }
    default:
      return;
  }
  last.code = DELETED;
  progress.rewrote();
}

/** Deletes what writes a cell that is written again before it is read, or is not read any more. */
function deleteDeadStores(block: Block, progress: Progress): void {
  const last: (Statement | undefined)[] = Array(CELLS).fill(undefined);
  const pass = (statement: Statement): void => {
    const used = cellUsed(statement.code, statement.k);
    if (used === USES_BOTH) {
      last[CELL_A] = undefined;
      last[CELL_X] = undefined;
    } else if (used !== NO_CELL) last[used] = undefined;
    const defined = cellDefined(statement.code, statement.k);
    if (defined === NO_CELL) return;
    const dead = last[defined];
    if (dead !== undefined) {
      dead.code = DELETED;
      progress.rewrote();
    }
    last[defined] = statement;
  };
  for (const statement of block.statements) pass(statement);
  pass({ code: block.code, k: block.k });
  last.forEach((statement, cell) => {
    if (statement === undefined || usedAfter(block, cell)) return;
    statement.code = DELETED;
    progress.rewrote();
  });
}
