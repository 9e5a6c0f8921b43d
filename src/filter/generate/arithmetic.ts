import type { Arithmetic, BinaryOperator, Protocol, Relation } from "../ast.js";
import * as bpf from "../bpf.js";
import type { Statement, Test } from "../flow-graph.js";
import { both, branch, not, statement } from "../flow-graph.js";
import type { Context } from "./context.js";
import { isFirstFragment } from "./ports.js";
import { isProtocol } from "./protocols.js";

/** Statements that leave a value in a scratch word, and the test that the packet has what they load from. */
interface Value {
  readonly statements: Statement[];
  readonly register: number;
  readonly present: Test | undefined;
}

const OPERATORS: Record<BinaryOperator, number> = {
  "+": bpf.ADD,
  "-": bpf.SUB,
  "*": bpf.MUL,
  "/": bpf.DIV,
  "%": bpf.MOD,
  "&": bpf.AND,
  "|": bpf.OR,
  "^": bpf.XOR,
  "<<": bpf.LSH,
  ">>": bpf.RSH,
};

const RELATIONS: Record<Relation, { readonly code: number; readonly negated: boolean }> = {
  "=": { code: bpf.JEQ, negated: false },
  "!=": { code: bpf.JEQ, negated: true },
  ">": { code: bpf.JGT, negated: false },
  ">=": { code: bpf.JGE, negated: false },
  "<": { code: bpf.JGE, negated: true },
  "<=": { code: bpf.JGT, negated: true },
};

const SIZES: ReadonlyMap<number, number> = new Map([
  [1, bpf.B],
  [2, bpf.H],
  [4, bpf.W],
]);

const NETWORK_LAYER: ReadonlySet<Protocol> = new Set<Protocol>([
  "ip",
  "arp",
  "rarp",
  "atalk",
  "decnet",
  "sca",
  "lat",
  "moprc",
  "mopdl",
  "ip6",
]);
const OVER_IPV4: ReadonlySet<Protocol> = new Set<Protocol>([
  "sctp",
  "tcp",
  "udp",
  "icmp",
  "igmp",
  "igrp",
  "pim",
  "vrrp",
  "carp",
]);
const ICMP6 = 58;

export function relationTest(context: Context, relation: Relation, leftSide: Arithmetic, rightSide: Arithmetic): Test {
  const left = evaluate(context, leftSide);
  const right = evaluate(context, rightSide);
  const { code, negated } = RELATIONS[relation];
  const statements = [...left.statements, ...right.statements, ...toXAndA(right, left)];
  // Equality subtracts and compares with zero: the optimiser folds a constant into the comparison from there.
  if (code === bpf.JEQ) statements.push(statement(bpf.ALU | bpf.SUB | bpf.X));
  const compared = branch(code | (code === bpf.JEQ ? bpf.K : bpf.X), 0, statements);
  const test = negated ? not(compared) : compared;
  context.free(left.register);
  context.free(right.register);
  const present = all(left.present, right.present);
  return present === undefined ? test : both(present, test);
}

const toXAndA = (x: Value, a: Value): Statement[] => [
  statement(bpf.LDX | bpf.MEM, x.register),
  statement(bpf.LD | bpf.MEM, a.register),
];

const all = (first: Test | undefined, second: Test | undefined): Test | undefined =>
  first === undefined ? second : second === undefined ? first : both(first, second);

function evaluate(context: Context, node: Arithmetic): Value {
  switch (node.kind) {
    case "number":
      return stored(context, statement(bpf.LD | bpf.IMM, node.value));
    case "length":
      return stored(context, statement(bpf.LD | bpf.LEN));
    case "negate": {
      const { statements, register, present } = evaluate(context, node.operand);
      const negated = [
        statement(bpf.LD | bpf.MEM, register),
        statement(bpf.ALU | bpf.NEG),
        statement(bpf.ST, register),
      ];
      return { statements: [...statements, ...negated], register, present };
    }
    case "binary":
      return chain(context, node);
    case "load": {
      const index = evaluate(context, node.index);
      context.column = node.column;
      return load(context, node.protocol, index, node.size);
    }
  }
}

/** Operators that group to the left, of which there can be many in a row. */
function chain(context: Context, last: Arithmetic & { kind: "binary" }): Value {
  const operations = [last];
  let first = last.left;
  for (; first.kind === "binary"; first = first.left) operations.push(first);
  let value = evaluate(context, first);
  for (const { operator, right, column } of operations.reverse())
    value = binary(context, operator, value, evaluate(context, right), column);
  return value;
}

function stored(context: Context, load: Statement): Value {
  const register = context.allocate();
  return { statements: [load, statement(bpf.ST, register)], register, present: undefined };
}

function binary(context: Context, operator: BinaryOperator, left: Value, right: Value, column: number): Value {
  context.column = column;
  // As in libpcap, what counts is the number that the right side begins with, even if it goes on.
  const [first] = right.statements;
  if (first.code === (bpf.LD | bpf.IMM)) {
    if ((operator === "/" || operator === "%") && first.k === 0) context.refuse("division by zero");
    if ((operator === "<<" || operator === ">>") && first.k > 31) context.refuse("shift by more than 31 bits");
  }
  const { statements } = left;
  for (const next of [...right.statements, ...toXAndA(right, left)]) statements.push(next);
  statements.push(statement(bpf.ALU | bpf.X | OPERATORS[operator]));
  context.free(left.register);
  context.free(right.register);
  const register = context.allocate();
  statements.push(statement(bpf.ST, register));
  // As in libpcap, what the right side loads from is not tested for, only that the load is inside the packet.
  return { statements, register, present: left.present };
}

/** `tcp[index:size]`: relative to the protocol's header, and only in packets that have it. */
function load(context: Context, protocol: Protocol, index: Value, bytes: number): Value {
  const register = context.allocate();
  context.free(index.register);
  const size = SIZES.get(bytes);
  if (size === undefined) return context.refuse(`${bytes} bytes cannot be loaded at once; 1, 2 and 4 can`);
  const { statements, present } = index;
  const { layout } = context;
  const result = (loads: Statement[], test: Test | undefined): Value => ({
    statements: [...statements, ...loads, statement(bpf.ST, register)],
    register,
    present: test,
  });
  if (protocol === "link") {
    const { linkHeader } = layout;
    return result(
      [...indexToX(context, index, linkHeader.register), statement(bpf.LD | bpf.IND | size, linkHeader.constant)],
      present,
    );
  }
  const base = layout.payload.constant + layout.network;
  if (NETWORK_LAYER.has(protocol)) {
    const loads = [...indexToX(context, index, layout.payload.register), statement(bpf.LD | bpf.IND | size, base)];
    return result(loads, all(present, isProtocol(context, protocol)));
  }
  if (OVER_IPV4.has(protocol)) {
    const loads = [...context.loadHeaderLength(), ...addIndexToX(index), statement(bpf.LD | bpf.IND | size, base)];
    const whole = both(isProtocol(context, protocol), isFirstFragment(context));
    return result(loads, both(isProtocol(context, "ip"), all(present, whole) ?? whole));
  }
  if (protocol === "icmp6") {
    const carried = both(
      all(present, isProtocol(context, "ip6")) ?? context.always(),
      context.equals("network", 6, bpf.B, ICMP6),
    );
    const loads = [...indexToX(context, index, layout.payload.register), statement(bpf.LD | bpf.IND | size, base + 40)];
    return result(loads, carried);
  }
  return context.refuse(`"${protocol}[…]" cannot be loaded from`);
}

const addIndexToX = (index: Value): Statement[] => [
  statement(bpf.LD | bpf.MEM, index.register),
  statement(bpf.ALU | bpf.ADD | bpf.X),
  statement(bpf.MISC | bpf.TAX),
];

function indexToX(context: Context, index: Value, variable: number | undefined): Statement[] {
  if (variable === undefined) return [statement(bpf.LDX | bpf.MEM, index.register)];
  return [...context.variablePart({ constant: 0, register: variable }), ...addIndexToX(index)];
}
