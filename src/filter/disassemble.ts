import type { BpfInstruction, BpfProgram } from "./bpf.js";
import * as bpf from "./bpf.js";

const ALU_NAMES = new Map([
  [bpf.ADD, "add"],
  [bpf.SUB, "sub"],
  [bpf.MUL, "mul"],
  [bpf.DIV, "div"],
  [bpf.OR, "or"],
  [bpf.AND, "and"],
  [bpf.LSH, "lsh"],
  [bpf.RSH, "rsh"],
  [bpf.MOD, "mod"],
  [bpf.XOR, "xor"],
]);
const JUMP_NAMES = new Map([
  [bpf.JEQ, "jeq"],
  [bpf.JGT, "jgt"],
  [bpf.JGE, "jge"],
  [bpf.JSET, "jset"],
]);
const SUFFIX = new Map([
  [bpf.W, ""],
  [bpf.H, "h"],
  [bpf.B, "b"],
]);

/** The program as text, an instruction a line, in the notation of `tcpdump -d`. */
export function disassemble(program: BpfProgram): string {
  return program.map((instruction, at) => line(instruction, at)).join("\n");
}

function line(instruction: BpfInstruction, at: number): string {
  const [name, operand] = image(instruction, at);
  const head = `(${String(at).padStart(3, "0")}) ${name.padEnd(8)} `;
  if (JUMP_NAMES.has(bpf.operatorOf(instruction.code)) && bpf.classOf(instruction.code) === bpf.JMP)
    return `${head}${operand.padEnd(16)} jt ${at + 1 + instruction.jt}\tjf ${at + 1 + instruction.jf}`;
  return `${head}${operand}`;
}

function image({ code, jt, jf, k }: BpfInstruction, at: number): [string, string] {
  const hexadecimal = `#0x${k.toString(16)}`;
  const unknown: [string, string] = ["unimp", `0x${code.toString(16)}`];
  switch (bpf.classOf(code)) {
    case bpf.LD: {
      const name = `ld${SUFFIX.get(bpf.sizeOf(code)) ?? "?"}`;
      switch (bpf.modeOf(code)) {
        case bpf.IMM:
          return ["ld", hexadecimal];
        case bpf.ABS:
          return [name, `[${k | 0}]`];
        case bpf.IND:
          return [name, `[x + ${k | 0}]`];
        case bpf.MEM:
          return ["ld", `M[${k}]`];
        case bpf.LEN:
          return ["ld", "#pktlen"];
      }
      return unknown;
    }
    case bpf.LDX:
      switch (bpf.modeOf(code)) {
        case bpf.IMM:
          return ["ldx", hexadecimal];
        case bpf.MEM:
          return ["ldx", `M[${k}]`];
        case bpf.LEN:
          return ["ldx", "#pktlen"];
        case bpf.MSH:
          return ["ldxb", `4*([${k | 0}]&0xf)`];
      }
      return unknown;
    case bpf.ST:
      return ["st", `M[${k}]`];
    case bpf.STX:
      return ["stx", `M[${k}]`];
    case bpf.ALU: {
      if (bpf.operatorOf(code) === bpf.NEG) return ["neg", ""];
      const name = ALU_NAMES.get(bpf.operatorOf(code));
      if (name === undefined) return unknown;
      if (bpf.sourceOf(code) === bpf.X) return [name, "x"];
      return [name, name === "and" || name === "or" || name === "xor" ? hexadecimal : `#${k | 0}`];
    }
    case bpf.JMP: {
      if (bpf.operatorOf(code) === bpf.JA) return ["ja", `${at + 1 + k}`];
      const name = JUMP_NAMES.get(bpf.operatorOf(code));
      return name === undefined ? unknown : [name, bpf.sourceOf(code) === bpf.X ? "x" : hexadecimal];
    }
    case bpf.RET:
      return ["ret", (code & 0x18) === bpf.A ? "" : `#${k | 0}`];
    default:
      if ((code & 0xf8) === bpf.TAX) return ["tax", ""];
      if ((code & 0xf8) === bpf.TXA) return ["txa", ""];
      if ((code & 0xf8) === bpf.CHAIN) return ["chain", `ip${jf === 6 ? "6" : ""}[x + ${k | 0}] for M[${jt}]`];
      return unknown;
  }
}
