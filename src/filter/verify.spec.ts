import { describe, expect, it } from "vitest";
import type { BpfInstruction } from "./bpf.js";
import * as bpf from "./bpf.js";
import { decodeProgram, encodeProgram } from "./bpf.js";
import { compileFilter } from "./compile.js";
import { FilterVerifyError } from "./errors.js";
import { verifyProgram } from "./verify.js";

const op = (code: number, k = 0, jt = 0, jf = 0): BpfInstruction => ({ code, jt, jf, k });
const ACCEPT = op(bpf.RET | bpf.K, 1);

describe("verifyProgram", () => {
  it("lets compiled programs pass, also after a round trip through bytes", () => {
    for (const text of ["", "tcp port 80", "geneve or arp", "ip6 protochain 6", "ether[len % 7] = 1"]) {
      const program = compileFilter(text);
      expect(() => verifyProgram(program)).not.toThrow();
      expect(decodeProgram(encodeProgram(program))).toEqual(program);
    }
  });

  const bad: [string, BpfInstruction[], number][] = [
    ["empty", [], -1],
    ["too long", Array(4097).fill(ACCEPT), -1],
    ["no return at the end", [op(bpf.LD | bpf.IMM)], 0],
    ["a comparison at the end", [ACCEPT, op(bpf.JMP | bpf.JEQ | bpf.K)], 1],
    ["a jump to just behind the end", [op(bpf.JMP | bpf.JEQ | bpf.K, 0, 0, 1), ACCEPT], 0],
    ["a long jump outside", [op(bpf.JMP | bpf.JA, 1), ACCEPT], 0],
    ["a backward jump", [ACCEPT, op(bpf.JMP | bpf.JA, 0xfffffffe), ACCEPT], 1],
    ["scratch word 16", [op(bpf.ST, 16), ACCEPT], 0],
    ["scratch word 16, loaded", [op(bpf.LDX | bpf.MEM, 16), ACCEPT], 0],
    ["division by zero", [op(bpf.ALU | bpf.DIV | bpf.K, 0), ACCEPT], 0],
    ["modulus by zero", [op(bpf.ALU | bpf.MOD | bpf.K, 0), ACCEPT], 0],
    ["a shift by 32", [op(bpf.ALU | bpf.LSH | bpf.K, 32), ACCEPT], 0],
    ["an unknown load", [op(bpf.LD | 0xc0), ACCEPT], 0],
    ["an unknown comparison", [op(bpf.JMP | 0x50, 0), ACCEPT], 0],
    ["a return of X", [op(bpf.RET | 0x08)], 0],
    ["a byte-sized constant", [op(bpf.LDX | bpf.MSH), ACCEPT], 0],
    ["a chain of unknown version", [op(bpf.MISC | bpf.CHAIN, 14, 0, 5), ACCEPT], 0],
    ["a chain with scratch word 16", [op(bpf.MISC | bpf.CHAIN, 14, 16, 6), ACCEPT], 0],
    ["a negative field", [op(bpf.LD | bpf.IMM, -1), ACCEPT], 0],
    ["a fraction", [op(bpf.LD | bpf.IMM, 0.5), ACCEPT], 0],
    ["a jump field too large", [op(bpf.JMP | bpf.JEQ | bpf.K, 0, 256, 0), ...Array(300).fill(ACCEPT)], 0],
  ];
  it.each(bad)("refuses %s", (_name, program, index) => {
    try {
      verifyProgram(program);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(FilterVerifyError);
      expect((error as FilterVerifyError).index).toBe(index);
    }
  });

  it("takes division by X, which may be zero only when it runs", () => {
    expect(() => verifyProgram([op(bpf.ALU | bpf.DIV | bpf.X), ACCEPT])).not.toThrow();
  });
});
