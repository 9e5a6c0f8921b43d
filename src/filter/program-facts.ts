import type { BpfInstruction, BpfProgram } from "./bpf.js";
import * as bpf from "./bpf.js";

/** What a translator wants to know of each instruction of a verified program. */
export interface ProgramFacts {
  /** Whether any path leads to it. */
  readonly reached: readonly boolean[];
  /** Bytes of the packet that are known to be there on every path to it, since they were loaded before. */
  readonly known: readonly number[];
  /**
   * 2 or 4 for loads of so many bytes that need not turn them around, and for what works on their result: it turns its
   * constant around instead. 0 for all others.
   */
  readonly reversed: readonly number[];
  /** Cells (scratch words, then A, then X) that are read before anything wrote them: they must be zero at the start. */
  readonly readAtStart: number;
}

const A = 1 << bpf.SCRATCH_WORDS;
const X = 1 << (bpf.SCRATCH_WORDS + 1);
const CHAIN = bpf.MISC | bpf.CHAIN;

/** Where control goes after the instruction. Equal targets may come twice. */
export function successors(program: BpfProgram, at: number): readonly number[] {
  const { code, jt, jf, k } = program[at];
  if (bpf.classOf(code) === bpf.RET) return [];
  if (bpf.classOf(code) !== bpf.JMP) return [at + 1];
  return bpf.operatorOf(code) === bpf.JA ? [at + 1 + k] : [at + 1 + jt, at + 1 + jf];
}

function cellsRead({ code, jt, k }: BpfInstruction): number {
  switch (bpf.classOf(code)) {
    case bpf.LD:
    case bpf.LDX:
      return bpf.modeOf(code) === bpf.IND ? X : bpf.modeOf(code) === bpf.MEM ? 1 << k : 0;
    case bpf.ST:
      return A;
    case bpf.STX:
      return X;
    case bpf.ALU:
      return bpf.sourceOf(code) === bpf.X ? A | X : A;
    case bpf.JMP:
      return bpf.operatorOf(code) === bpf.JA ? 0 : bpf.sourceOf(code) === bpf.X ? A | X : A;
    case bpf.RET:
      return (code & 0x18) === bpf.A ? A : 0;
    default:
      return code === CHAIN ? A | X | (1 << jt) : (code & 0xf8) === bpf.TXA ? X : A;
  }
}

function cellsWritten({ code, k }: BpfInstruction): number {
  switch (bpf.classOf(code)) {
    case bpf.LD:
    case bpf.ALU:
      return A;
    case bpf.LDX:
      return X;
    case bpf.ST:
    case bpf.STX:
      return 1 << k;
    case bpf.MISC:
      return code === CHAIN ? A | X : (code & 0xf8) === bpf.TAX ? X : A;
    default:
      return 0;
  }
}

/** Bytes that must be there for the instruction not to reject the packet. */
export function bytesNeeded({ code, k }: BpfInstruction): number {
  if (code === (bpf.LDX | bpf.MSH | bpf.B)) return k + 1;
  const loads = bpf.classOf(code) === bpf.LD && (bpf.modeOf(code) === bpf.ABS || bpf.modeOf(code) === bpf.IND);
  return loads ? k + bpf.bytesOf(bpf.sizeOf(code)) : 0;
}

export function factsOf(program: BpfProgram): ProgramFacts {
  const [reached, known] = followForward(program);
  const live = followBackward(program);
  return { reached, known, reversed: findReversed(program, reached, live), readAtStart: live[0] };
}

function followForward(program: BpfProgram): [boolean[], number[]] {
  const reached: boolean[] = Array(program.length).fill(false);
  const known: number[] = Array(program.length).fill(Number.POSITIVE_INFINITY);
  reached[0] = true;
  known[0] = 0;
  for (let at = 0; at < program.length; at++) {
    if (!reached[at]) continue;
    const after = Math.max(known[at], bytesNeeded(program[at]));
    for (const next of successors(program, at)) {
      reached[next] = true;
      known[next] = Math.min(known[next], after);
    }
  }
  return [reached, known];
}

/** The cells whose values matter before each instruction. */
function followBackward(program: BpfProgram): number[] {
  const live: number[] = Array(program.length).fill(0);
  for (let at = program.length - 1; at >= 0; at--) {
    const after = successors(program, at).reduce((cells, next) => cells | live[next], 0);
    live[at] = (after & ~cellsWritten(program[at])) | cellsRead(program[at]);
  }
  return live;
}

/**
 * Groups of values of A that meet somewhere, each with the load that it comes from. Where all of a group are of one
 * width and are only masked with constants and compared with constants for equality or common bits, the constants are
 * turned around instead of the bytes.
 */
function findReversed(program: BpfProgram, reached: readonly boolean[], live: readonly number[]): number[] {
  // Value i is what instruction i leaves in A, value length + i what it finds there; the last is the zero at the start.
  const start = 2 * program.length;
  const groups = new Groups(start + 1);
  groups.join(start, program.length);
  const isMask = ({ code }: BpfInstruction): boolean => code === (bpf.ALU | bpf.AND | bpf.K);
  for (let at = 0; at < program.length; at++) {
    if (!reached[at]) continue;
    const instruction = program[at];
    if ((cellsWritten(instruction) & A) === 0 || isMask(instruction)) groups.join(at, program.length + at);
    for (const next of successors(program, at)) if ((live[next] & A) !== 0) groups.join(at, program.length + next);
  }
  const width: (number | undefined)[] = Array(start + 1).fill(undefined);
  const spoilt: boolean[] = Array(start + 1).fill(false);
  for (let at = 0; at < program.length; at++) {
    if (!reached[at]) continue;
    const instruction = program[at];
    const { code } = instruction;
    const found = groups.of(program.length + at);
    if ((cellsRead(instruction) & A) !== 0 && !isMask(instruction) && !isReversible(instruction)) spoilt[found] = true;
    if ((cellsWritten(instruction) & A) === 0 || isMask(instruction)) continue;
    const left = groups.of(at);
    const size = isPacketLoad(code) ? bpf.bytesOf(bpf.sizeOf(code)) : 0;
    if (size < 2 || (width[left] !== undefined && width[left] !== size)) spoilt[left] = true;
    width[left] = size;
  }
  return program.map((instruction, at) => {
    const reads = (cellsRead(instruction) & A) !== 0;
    const group = groups.of(reads ? program.length + at : at);
    return (reads || isPacketLoad(instruction.code)) && !spoilt[group] ? (width[group] ?? 0) : 0;
  });
}

const isPacketLoad = (code: number): boolean =>
  bpf.classOf(code) === bpf.LD && (bpf.modeOf(code) === bpf.ABS || bpf.modeOf(code) === bpf.IND);

const isReversible = ({ code }: BpfInstruction): boolean =>
  code === (bpf.JMP | bpf.JEQ | bpf.K) || code === (bpf.JMP | bpf.JSET | bpf.K);

/** Disjoint sets of numbers, with path halving. */
class Groups {
  private readonly parents: Int32Array;

  constructor(size: number) {
    this.parents = Int32Array.from({ length: size }, (_, i) => i);
  }

  of(member: number): number {
    let at = member;
    while (this.parents[at] !== at) {
      this.parents[at] = this.parents[this.parents[at]];
      at = this.parents[at];
    }
    return at;
  }

  join(a: number, b: number): void {
    this.parents[this.of(a)] = this.of(b);
  }
}
