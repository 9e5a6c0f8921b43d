import { formatGuestAddress } from "../util/guest-address.js";
import type { Address, Expr, Flags, Lane, Step } from "./ir.js";
import { AF, CF, OF, PF, SF, ZF } from "./ir.js";

/** Steps as text, a line each; the steps inside others are indented by two more. */
export function printSteps(steps: readonly Step[]): string[] {
  const lines: string[] = [];
  print(steps, "", lines);
  return lines;
}

function print(steps: readonly Step[], indent: string, lines: string[]): void {
  for (const step of steps) {
    if (step.kind === "if") {
      lines.push(`${indent}if ${printExpr(step.condition)}`);
      print(step.then, `${indent}  `, lines);
      if (step.otherwise.length > 0) {
        lines.push(`${indent}else`);
        print(step.otherwise, `${indent}  `, lines);
      }
    } else if (step.kind === "loop") {
      lines.push(`${indent}loop`);
      print(step.body, `${indent}  `, lines);
    } else lines.push(indent + printStep(step));
  }
}

function printStep(step: Exclude<Step, { readonly kind: "if" | "loop" }>): string {
  switch (step.kind) {
    case "let":
      return `t${step.index}: ${step.value.type} = ${printExpr(step.value)}`;
    case "load": {
      const kind = `${step.signed ? "signed " : ""}${step.forWrite ? "load for write" : "load"}`;
      return `t${step.index}: ${step.type} = ${kind} ${step.bytes} ${printAddress(step.address)}`;
    }
    case "store":
      return `${step.checked ? "checked store" : "store"} ${step.bytes} ${printAddress(step.address)} = ${printExpr(step.value)}`;
    case "probe":
      return `probe ${step.write ? "write" : "read"} ${step.bytes} ${printAddress(step.address)}`;
    case "set":
      return `${registerName(step.register, step.width, step.high)} = ${printExpr(step.value)}`;
    case "setXmm":
      return `xmm${step.register} = ${printExpr(step.value)}`;
    case "flags":
      return `flags = ${printFlags(step.flags)}`;
    case "setLane":
      return `${LANE_NAMES[step.lane]} = ${printExpr(step.value)}`;
    case "setField":
      return `${step.field} = ${printExpr(step.value)}`;
    case "leave":
      return "leave";
    case "trap":
      return `trap ${step.trap}`;
    case "system":
      return "system";
    case "unsupported":
      return `unsupported: ${step.why}`;
    case "jump":
    case "call":
      return `${step.kind} ${formatGuestAddress(step.target)}`;
    case "branch":
      return `branch ${formatGuestAddress(step.taken)} if ${printExpr(step.condition)}`;
    case "jumpIndirect":
      return `jump to ${printExpr(step.target)}`;
    case "callIndirect":
      return `call to ${printExpr(step.target)}`;
    case "return":
      return `return to ${printExpr(step.target)}`;
  }
}

function printFlags({ op, bytes, a, b, r }: Flags): string {
  const operands = op === "logic" || op === "result" ? "" : ` of ${printExpr(a)}, ${printExpr(b)}`;
  return `${op} ${bytes}${operands}: ${printExpr(r)}`;
}

export const LANE_NAMES: Readonly<Record<Lane, string>> = {
  [OF]: "OF",
  [SF]: "SF",
  [ZF]: "ZF",
  [AF]: "AF",
  [CF]: "CF",
  [PF]: "PF",
};

const REGISTERS = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];

export function registerName(register: number, width: 1 | 2 | 4 | 8, high: boolean): string {
  if (register >= 8) return `r${register}${{ 1: "b", 2: "w", 4: "d", 8: "" }[width]}`;
  const name = REGISTERS[register];
  if (width === 1) {
    if (high) return `${name[0]}h`;
    return register < 4 ? `${name[0]}l` : `${name}l`;
  }
  return `${{ 2: "", 4: "e", 8: "r" }[width]}${name}`;
}

/** Decimal where it is short. */
function printNumber(value: bigint): string {
  if (value > -100n && value < 100n) return `${value}`;
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

function printAddress({ base, index, scale, displacement, segment, short }: Address): string {
  const parts: string[] = [];
  if (base !== null) parts.push(printOperand(base));
  if (index !== null) parts.push(scale === 1 ? printOperand(index) : `${printOperand(index)} * ${scale}`);
  let sum = parts.join(" + ");
  if (sum === "") sum = printNumber(displacement);
  else if (displacement !== 0n)
    sum += ` ${displacement < 0n ? "-" : "+"} ${printNumber(displacement < 0n ? -displacement : displacement)}`;
  if (short) sum = `low32(${sum})`;
  return `[${segment === "none" ? "" : `${segment}: `}${sum}]`;
}

const INFIX: Readonly<Record<string, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div_s: "/s",
  div_u: "/u",
  rem_s: "%s",
  rem_u: "%u",
  and: "&",
  or: "|",
  xor: "^",
  shl: "<<",
  shr_s: ">>s",
  shr_u: ">>u",
  eq: "==",
  ne: "!=",
  lt_s: "<s",
  lt_u: "<u",
  gt_s: ">s",
  gt_u: ">u",
  le_s: "<=s",
  le_u: "<=u",
  ge_s: ">=s",
  ge_u: ">=u",
};

/** Without the type: `add` of `i32.add`. */
const operationName = (op: string): string => op.slice(op.indexOf(".") + 1);

const list = (parts: readonly Expr[]): string => parts.map(printExpr).join(", ");

export function printExpr(e: Expr): string {
  switch (e.kind) {
    case "i32":
      return printNumber(BigInt(e.value));
    case "i64":
      return printNumber(e.value);
    case "reg":
      return registerName(e.register, e.type === "i64" ? 8 : 4, false);
    case "xmm":
      return `xmm${e.register}`;
    case "tmp":
      return `t${e.index}`;
    case "op": {
      const name = operationName(e.op);
      const sign = INFIX[name];
      if (e.b === null || sign === undefined) return `${name}(${list(e.b === null ? [e.a] : [e.a, e.b])})`;
      return `${printOperand(e.a)} ${sign} ${printOperand(e.b)}`;
    }
    case "vop": {
      const immediate = e.immediate.length === 0 ? "" : `<${e.immediate.join(" ")}>`;
      return `${e.op}${immediate}(${list(e.args)})`;
    }
    case "select":
      return `select(${list([e.c, e.a, e.b])})`;
    case "lane":
      return LANE_NAMES[e.lane];
    case "condition":
      return `is ${e.code}`;
    case "field":
      return e.field;
    case "pure":
      return `${e.name}(${list(e.args)})`;
  }
}

/** As part of another expression. */
function printOperand(e: Expr): string {
  const infix = e.kind === "op" && operationName(e.op) in INFIX;
  return infix || e.kind === "condition" ? `(${printExpr(e)})` : printExpr(e);
}
