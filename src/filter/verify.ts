import type { BpfInstruction, BpfProgram } from "./bpf.js";
import * as bpf from "./bpf.js";
import { FilterVerifyError } from "./errors.js";

const LOADS = new Set([
  ...[bpf.W, bpf.H, bpf.B].flatMap((size) => [bpf.LD | size | bpf.ABS, bpf.LD | size | bpf.IND]),
  bpf.LD | bpf.IMM,
  bpf.LD | bpf.MEM,
  bpf.LD | bpf.LEN,
  bpf.LDX | bpf.IMM,
  bpf.LDX | bpf.MEM,
  bpf.LDX | bpf.LEN,
  bpf.LDX | bpf.MSH | bpf.B,
]);
const BINARY = [bpf.ADD, bpf.SUB, bpf.MUL, bpf.DIV, bpf.OR, bpf.AND, bpf.LSH, bpf.RSH, bpf.MOD, bpf.XOR];
const ARITHMETIC = new Set([
  ...BINARY.flatMap((operator) => [bpf.ALU | operator | bpf.K, bpf.ALU | operator | bpf.X]),
  bpf.ALU | bpf.NEG,
]);
const BRANCHES = new Set(
  [bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET].flatMap((operator) => [bpf.JMP | operator | bpf.K, bpf.JMP | operator | bpf.X]),
);
const MOVES = new Set([bpf.MISC | bpf.TAX, bpf.MISC | bpf.TXA]);

/**
 * Proves that running a program ends and stays inside its registers, its scratch memory and the packet: every
 * instruction known, every jump forward and to an instruction, no way past the end, no scratch word but M[0 … 15],
 * no division by a constant zero, no constant shift by the width of a word or more.
 *
 * @param maximumLength in instructions; the default is what a network board takes
 * @throws FilterVerifyError naming the first instruction at fault
 */
export function verifyProgram(program: BpfProgram, maximumLength: number = bpf.MAXIMUM_LENGTH): void {
  if (program.length === 0) throw new FilterVerifyError(-1, "it is empty; it must at least return");
  if (program.length > maximumLength)
    throw new FilterVerifyError(
      -1,
      `it has ${program.length} instructions, ${maximumLength} are allowed`,
      "filter-too-long",
    );
  for (let at = 0; at < program.length; at++) verifyInstruction(program, at);
}

function verifyInstruction(program: BpfProgram, at: number): void {
  const { code, jt, jf, k } = program[at];
  const refuse = (reason: string): never => {
    throw new FilterVerifyError(at, reason);
  };
  if (!isField(k, 0xffffffff) || !isField(jt, 0xff) || !isField(jf, 0xff) || !isField(code, 0xffff))
    refuse("has a field that is out of range");
  const inside = (target: number): boolean => target < program.length;
  const scratch = (word: number): void => {
    if (word >= bpf.SCRATCH_WORDS) refuse(`uses scratch word ${word}; there are ${bpf.SCRATCH_WORDS}`);
  };
  let fallsThrough = true;
  if (LOADS.has(code)) {
    if (bpf.modeOf(code) === bpf.MEM) scratch(k);
  } else if (code === bpf.ST || code === bpf.STX) scratch(k);
  else if (ARITHMETIC.has(code)) verifyArithmetic(program[at], refuse);
  else if (code === (bpf.JMP | bpf.JA)) {
    if (!inside(at + 1 + k)) refuse(`jumps to ${at + 1 + k}, outside the program of ${program.length}`);
    fallsThrough = false;
  } else if (BRANCHES.has(code)) {
    const target = at + 1 + Math.max(jt, jf);
    if (!inside(target)) refuse(`jumps to ${target}, outside the program of ${program.length}`);
    fallsThrough = false;
  } else if (code === (bpf.RET | bpf.K) || code === (bpf.RET | bpf.A)) fallsThrough = false;
  else if (code === (bpf.MISC | bpf.CHAIN)) {
    scratch(jt);
    if (jf !== 4 && jf !== 6) refuse(`follows headers of IP version ${jf}; 4 and 6 are known`);
  } else if (!MOVES.has(code)) refuse(`has the unknown operation 0x${code.toString(16)}`);
  if (fallsThrough && !inside(at + 1)) refuse("is the last one and does not return");
}

function verifyArithmetic({ code, k }: BpfInstruction, refuse: (reason: string) => never): void {
  if (bpf.sourceOf(code) !== bpf.K) return;
  const operator = bpf.operatorOf(code);
  if ((operator === bpf.DIV || operator === bpf.MOD) && k === 0) refuse("divides by zero");
  if ((operator === bpf.LSH || operator === bpf.RSH) && k > 31) refuse(`shifts by ${k} bits`);
}

const isField = (value: number, maximum: number): boolean => Number.isInteger(value) && value >= 0 && value <= maximum;
