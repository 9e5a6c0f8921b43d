import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../../util/guest-address.js";
import { CpuState } from "../cpu.js";
import { InstructionDecoder, isDecodeFailure } from "../decode.js";
import type { MemoryPort, Outcome } from "../evaluate.js";
import { Evaluator } from "../evaluate.js";
import type { Instruction } from "../instruction.js";
import { RAX } from "../instruction.js";
import type { Step } from "../ir.js";
import { printSteps } from "../ir-text.js";
import { liftVector } from "./vector.js";

const decoder = new InstructionDecoder();

function decode(...code: number[]): Instruction {
  const instruction = decoder.decode(Uint8Array.from(code), 0, code.length, 0x1000 as GuestAddress);
  if (isDecodeFailure(instruction)) throw new Error(instruction.failure);
  return instruction;
}

function lifted(...code: number[]): readonly Step[] {
  const steps = liftVector(decode(...code));
  if (steps === null) throw new Error("not lifted");
  return steps;
}

const NO_MEMORY: MemoryPort = { low: 1n, high: 2n, load: () => false, store: () => false, probe: () => false };
const MEMORY: MemoryPort = { ...NO_MEMORY, load: () => true, store: () => true };

function run(cpu: CpuState, memory: MemoryPort, ...code: number[]): Outcome {
  return new Evaluator(cpu, memory).evaluate(lifted(...code), decode(...code));
}

const fresh = (): CpuState => new CpuState(new ArrayBuffer(0x10000));

const MOVAPS_XMM1_FROM_RAX = [0x0f, 0x28, 0x08];
const MOVAPS_RAX_8_FROM_XMM1 = [0x0f, 0x29, 0x48, 0x08];
const MOVUPS_XMM1_FROM_RAX = [0x0f, 0x10, 0x08];
const PADDD_XMM1_GS_RAX = [0x65, 0x66, 0x0f, 0xfe, 0x08];
const TRAP: Outcome = { kind: "trap", trap: "general-protection" };

describe("operands of 16 bytes", () => {
  it("must be aligned", () => {
    const cpu = fresh();
    cpu.setGeneral(RAX, 0x2008n);
    expect(run(cpu, MEMORY, ...MOVAPS_XMM1_FROM_RAX)).toEqual(TRAP);
    expect(cpu.xmmLow(1)).toBe(0n);
    expect(run(cpu, MEMORY, ...MOVAPS_RAX_8_FROM_XMM1)).toEqual({ kind: "next" });
    cpu.setGeneral(RAX, 0x2000n);
    expect(run(cpu, MEMORY, ...MOVAPS_RAX_8_FROM_XMM1)).toEqual(TRAP);
    expect(run(cpu, MEMORY, ...MOVAPS_XMM1_FROM_RAX)).toEqual({ kind: "next" });
    expect([cpu.xmmLow(1), cpu.xmmHigh(1)]).toEqual([1n, 2n]);
  });

  it("are aligned with their segment's base", () => {
    const cpu = fresh();
    cpu.setGeneral(RAX, 0x2008n);
    cpu.gsBase = 0x8n;
    expect(run(cpu, MEMORY, ...PADDD_XMM1_GS_RAX)).toEqual({ kind: "next" });
    cpu.gsBase = 0n;
    expect(run(cpu, MEMORY, ...PADDD_XMM1_GS_RAX)).toEqual(TRAP);
  });

  it("need no check at known addresses", () => {
    // movaps xmm0, [rip + displacement] is 7 bytes at 0x1000.
    expect(printSteps(lifted(0x0f, 0x28, 0x05, 0x09, 0, 0, 0))).toEqual(["t0: v128 = load 16 [0x1010]", "xmm0 = t0"]);
    expect(run(fresh(), MEMORY, 0x0f, 0x28, 0x05, 0x0a, 0, 0, 0)).toEqual(TRAP);
  });

  it("may lie anywhere for some instructions, but not where no memory is", () => {
    const cpu = fresh();
    cpu.setGeneral(RAX, 0x2001n);
    expect(run(cpu, MEMORY, ...MOVUPS_XMM1_FROM_RAX)).toEqual({ kind: "next" });
    cpu.setXmm(1, 7n, 8n);
    expect(run(cpu, NO_MEMORY, ...MOVUPS_XMM1_FROM_RAX)).toEqual({ kind: "fault" });
    expect([cpu.xmmLow(1), cpu.xmmHigh(1)]).toEqual([7n, 8n]);
  });
});

describe("instructions on vectors", () => {
  it.each([
    ["equal, all bits", 5n, 5n, 0n, 1n],
    ["nothing in common", 5n, 10n, 1n, 0n],
    ["some bits in common", 5n, 7n, 0n, 0n],
    ["nothing at all", 0n, 0n, 1n, 1n],
  ])("test: %s", (_, a, b, zf, cf) => {
    const cpu = fresh();
    cpu.rflags = 0x8d5n;
    cpu.setXmm(0, 0n, a);
    cpu.setXmm(1, 0n, b);
    run(cpu, MEMORY, 0x66, 0x0f, 0x38, 0x17, 0xc1);
    expect(cpu.rflags).toBe(2n | (zf << 6n) | cf);
  });

  it("round products of words: only -1 times -1 does not fit, and another product is as large as any may be", () => {
    const cpu = fresh();
    cpu.setXmm(0, 0x7fff_8000_8000_8001n, 0n);
    cpu.setXmm(1, 0x8000_8000_8001_8000n, 0n);
    run(cpu, MEMORY, 0x66, 0x0f, 0x38, 0x0b, 0xc1);
    expect(BigInt.asUintN(64, cpu.xmmLow(0))).toBe(0x8001_8000_7fff_7fffn);
  });

  it("do not read a register that they only clear or fill", () => {
    const zeroes = `v128.const<${new Array(16).fill(0).join(" ")}>()`;
    const ones = `v128.const<${new Array(16).fill(255).join(" ")}>()`;
    expect(printSteps(lifted(0x66, 0x0f, 0xef, 0xdb))).toEqual([`xmm3 = ${zeroes}`]);
    expect(printSteps(lifted(0x66, 0x0f, 0x76, 0xdb))).toEqual([`xmm3 = ${ones}`]);
    expect(printSteps(lifted(0x66, 0x0f, 0x76, 0xd9))).toEqual(["xmm3 = i32x4.eq(xmm3, xmm1)"]);
  });

  it("reach all registers", () => {
    // movdqa xmm12, xmm9; pextrq r10, xmm15, 1
    expect(printSteps(lifted(0x66, 0x45, 0x0f, 0x6f, 0xe1))).toEqual(["xmm12 = xmm9"]);
    expect(printSteps(lifted(0x66, 0x4d, 0x0f, 0x3a, 0x16, 0xfa, 0x01))).toEqual([
      "r10 = i64x2.extract_lane<1>(xmm15)",
    ]);
  });

  it.each([
    ["addps xmm0, xmm1", [0x0f, 0x58, 0xc1]],
    ["cvtsi2sd xmm0, eax", [0xf2, 0x0f, 0x2a, 0xc0]],
    ["ucomisd xmm0, xmm1", [0x66, 0x0f, 0x2e, 0xc1]],
    ["paddb mm0, mm1", [0x0f, 0xfc, 0xc1]],
    ["movq mm0, rax", [0x48, 0x0f, 0x6e, 0xc0]],
    ["movq2dq xmm0, mm1", [0xf3, 0x0f, 0xd6, 0xc1]],
    ["vpaddb ymm0, ymm1, ymm2", [0xc5, 0xf5, 0xfc, 0xc2]],
    ["aesenc xmm0, xmm1", [0x66, 0x0f, 0x38, 0xdc, 0xc1]],
    ["movsd of strings", [0xa5]],
    ["add eax, ecx", [0x01, 0xc8]],
  ])("do not include %s", (_, code) => {
    expect(liftVector(decode(...code))).toBeNull();
  });
});
