import * as bpf from "../bpf.js";
import type { Statement } from "../flow-graph.js";
import { CELL_A, CELL_X, DELETED } from "../flow-graph.js";
import { calculate } from "../interpret.js";
import type { Progress, Values } from "./values.js";
import { UNKNOWN } from "./values.js";

/** Arithmetic that cannot be carried out, found while folding constants. */
export class FoldingError extends Error {}

/**
 * Follows a statement: what the cells in `cells` (numbers of values) are after it. When `rewrite` is set, statements that
 * leave a cell as it is are deleted and those with constant operands are made simpler.
 */
export function follow(
  statement: Statement,
  cells: Uint32Array,
  values: Values,
  progress: Progress,
  rewrite: boolean,
): void {
  const { code, k } = statement;
  const set = (cell: number, value: number): void => {
    if (rewrite && value !== UNKNOWN && cells[cell] === value) statement.code = DELETED;
    else cells[cell] = value;
  };
  switch (bpf.classOf(code)) {
    case bpf.LD:
    case bpf.LDX:
      followLoad(statement, cells, values, progress, rewrite, set);
      return;
    case bpf.ST:
      set(k, cells[CELL_A]);
      return;
    case bpf.STX:
      set(k, cells[CELL_X]);
      return;
    case bpf.ALU:
      if (bpf.operatorOf(code) === bpf.NEG) followNegation(statement, cells, values, rewrite);
      else if (bpf.sourceOf(code) === bpf.K) followConstantOperand(statement, cells, values, progress, rewrite);
      else followIndexOperand(statement, cells, values, progress, rewrite, set);
      return;
    default:
      if ((code & 0xf8) === bpf.TXA) set(CELL_A, cells[CELL_X]);
      else set(CELL_X, cells[CELL_A]);
  }
}

function followLoad(
  statement: Statement,
  cells: Uint32Array,
  values: Values,
  progress: Progress,
  rewrite: boolean,
  set: (cell: number, value: number) => void,
): void {
  const { code, k } = statement;
  const target = bpf.classOf(code) === bpf.LD ? CELL_A : CELL_X;
  switch (bpf.modeOf(code)) {
    case bpf.IMM:
      set(target, values.constant(k));
      return;
    case bpf.IND: {
      const index = values.constantOf(cells[CELL_X]);
      if (!rewrite || index === undefined) {
        set(target, values.of(code, k, cells[CELL_X]));
        return;
      }
      statement.code = bpf.LD | bpf.ABS | bpf.sizeOf(code);
      statement.k = (k + index) >>> 0;
      progress.rewrote();
      set(target, values.of(statement.code, statement.k));
      return;
    }
    case bpf.MEM: {
      const value = cells[k];
      const constant = values.constantOf(value);
      if (rewrite && constant !== undefined) {
        statement.code = bpf.classOf(code) | bpf.IMM;
        statement.k = constant;
        progress.rewrote();
      }
      set(target, value);
      return;
    }
    case bpf.LEN:
      set(target, values.of(code, 0));
      return;
    default:
      set(target, values.of(code, k));
  }
}

function followNegation(statement: Statement, cells: Uint32Array, values: Values, rewrite: boolean): void {
  const constant = values.constantOf(cells[CELL_A]);
  if (rewrite && constant !== undefined) {
    statement.code = bpf.LD | bpf.IMM;
    statement.k = (0 - constant) >>> 0;
    cells[CELL_A] = values.constant(statement.k);
  } else cells[CELL_A] = values.of(statement.code, cells[CELL_A]);
}

function followConstantOperand(
  statement: Statement,
  cells: Uint32Array,
  values: Values,
  progress: Progress,
  rewrite: boolean,
): void {
  const operator = bpf.operatorOf(statement.code);
  const { k } = statement;
  if (rewrite) {
    if (k === 0) {
      // Subtracting zero is kept: a comparison may yet be folded into it.
      if ([bpf.ADD, bpf.LSH, bpf.RSH, bpf.OR, bpf.XOR].includes(operator)) {
        statement.code = DELETED;
        return;
      }
      if (operator === bpf.MUL || operator === bpf.AND) {
        statement.code = bpf.LD | bpf.IMM;
        cells[CELL_A] = values.constant(0);
        return;
      }
      refuseZero(operator);
    }
    const constant = values.constantOf(cells[CELL_A]);
    if (constant !== undefined) {
      fold(statement, operator, constant, k, progress);
      cells[CELL_A] = values.constant(statement.k);
      return;
    }
  }
  cells[CELL_A] = values.of(statement.code, cells[CELL_A], values.constant(k));
}

function followIndexOperand(
  statement: Statement,
  cells: Uint32Array,
  values: Values,
  progress: Progress,
  rewrite: boolean,
  set: (cell: number, value: number) => void,
): void {
  const operator = bpf.operatorOf(statement.code);
  const accumulator = values.constantOf(cells[CELL_A]);
  const index = values.constantOf(cells[CELL_X]);
  if (rewrite && index !== undefined) {
    if (accumulator !== undefined) {
      fold(statement, operator, accumulator, index, progress);
      cells[CELL_A] = values.constant(statement.k);
      return;
    }
    statement.code = bpf.ALU | bpf.K | operator;
    statement.k = index;
    if ((operator === bpf.LSH || operator === bpf.RSH) && index > 31)
      throw new FoldingError("shift by more than 31 bits");
    progress.rewrote();
    cells[CELL_A] = values.of(statement.code, cells[CELL_A], values.constant(index));
    return;
  }
  if (rewrite && accumulator === 0) {
    if (operator === bpf.ADD || operator === bpf.OR || operator === bpf.XOR) {
      statement.code = bpf.MISC | bpf.TXA;
      set(CELL_A, cells[CELL_X]);
      return;
    }
    if (operator !== bpf.SUB) {
      statement.code = bpf.LD | bpf.IMM;
      statement.k = 0;
      set(CELL_A, values.constant(0));
      return;
    }
  }
  cells[CELL_A] = values.of(statement.code, cells[CELL_A], cells[CELL_X]);
}

function fold(statement: Statement, operator: number, a: number, operand: number, progress: Progress): void {
  if (operand === 0) refuseZero(operator);
  statement.k = calculate(operator, a, operand);
  statement.code = bpf.LD | bpf.IMM;
  progress.rewrote();
}

function refuseZero(operator: number): void {
  if (operator === bpf.DIV) throw new FoldingError("division by zero");
  if (operator === bpf.MOD) throw new FoldingError("modulus by zero");
}
