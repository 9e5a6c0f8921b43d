import { describe, expect, it } from "vitest";
import type { BpfInstruction, BpfProgram } from "../../src/filter/bpf.js";
import * as bpf from "../../src/filter/bpf.js";
import { decodeProgram } from "../../src/filter/bpf.js";
import { disassemble } from "../../src/filter/disassemble.js";
import { FilterVerifyError } from "../../src/filter/errors.js";
import { verifyProgram } from "../../src/filter/verify.js";
import { Frames } from "./frames.js";
import { PlacedFrames } from "./placed-frames.js";
import { Random } from "./random.js";

const SIZES = [bpf.W, bpf.H, bpf.B];
const OPERATORS = [bpf.ADD, bpf.SUB, bpf.MUL, bpf.DIV, bpf.OR, bpf.AND, bpf.LSH, bpf.RSH, bpf.MOD, bpf.XOR];
const COMPARISONS = [bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET];

/** A program that passes the verifier, with every operation; jumps go anywhere forward. */
function randomProgram(random: Random): BpfProgram {
  const length = random.between(1, 40);
  const constant = (): number =>
    random.pick([0, 1, 0x800, 0x0608, 0xffff, 0xff, 0x10000, 14, random.below(64), random.word()]);
  return Array.from({ length: length + 1 }, (_, at): BpfInstruction => {
    const plain = (code: number, k = 0): BpfInstruction => ({ code, jt: 0, jf: 0, k });
    if (at === length) return plain(bpf.RET | bpf.K, random.below(2));
    const left = length - at;
    switch (random.below(13)) {
      case 0:
      case 1:
        return plain(bpf.LD | bpf.ABS | random.pick(SIZES), random.chance(0.95) ? random.below(60) : random.word());
      case 2:
        return plain(bpf.LD | bpf.IND | random.pick(SIZES), random.chance(0.9) ? random.below(40) : random.word());
      case 3:
        return random.pick([
          plain(bpf.LD | bpf.IMM, constant()),
          plain(bpf.LDX | bpf.IMM, constant()),
          plain(bpf.LD | bpf.LEN),
          plain(bpf.LDX | bpf.LEN),
        ]);
      case 4:
        return plain(random.pick([bpf.LD, bpf.LDX]) | bpf.MEM, random.below(16));
      case 5:
        return plain(random.pick([bpf.ST, bpf.STX]), random.below(16));
      case 6:
        return plain(bpf.LDX | bpf.MSH | bpf.B, random.below(40));
      case 7: {
        const operator = random.pick(OPERATORS);
        const k = operator === bpf.LSH || operator === bpf.RSH ? random.below(32) : constant() || 1;
        return plain(bpf.ALU | operator | bpf.K, k);
      }
      case 8:
        return plain(bpf.ALU | random.pick([...OPERATORS.map((operator) => operator | bpf.X), bpf.NEG]));
      case 9:
        return plain(bpf.MISC | random.pick([bpf.TAX, bpf.TXA]));
      case 10:
        if (random.chance(0.3))
          return {
            code: bpf.MISC | bpf.CHAIN,
            jt: random.below(16),
            jf: random.pick([4, 6]),
            k: random.pick([14, 18, 0, random.word()]),
          };
        return random.chance(0.3)
          ? plain(bpf.RET | random.pick([bpf.A, bpf.K]), random.below(2))
          : plain(bpf.JMP | bpf.JA, random.below(left));
      default: {
        const code = bpf.JMP | random.pick(COMPARISONS) | random.pick([bpf.K, bpf.K, bpf.K, bpf.X]);
        return { code, jt: random.below(Math.min(left, 8)), jf: random.below(Math.min(left, 8)), k: constant() };
      }
    }
  });
}

describe("random programs", () => {
  const placed = new PlacedFrames(new Frames(new Random(3)).frames(60));

  it("do the same translated to WebAssembly as interpreted", () => {
    const random = new Random(99);
    let some = 0;
    for (let i = 0; i < 1500; i++) {
      const program = randomProgram(random);
      verifyProgram(program);
      const { one, many, interpreted, demultiplexed, count } = placed.filter(program);
      for (const other of [one, many, demultiplexed])
        expect([...other], disassemble(program)).toEqual([...interpreted]);
      expect(count).toBe(interpreted.size);
      if (interpreted.size > 0 && interpreted.size < 60) some++;
    }
    expect(some).toBeGreaterThan(300);
  });

  it("made of random bytes are refused, or harmless", () => {
    const random = new Random(4);
    for (let i = 0; i < 3000; i++) {
      const program = random.chance(0.5)
        ? decodeProgram(Uint8Array.from(random.bytes(8 * random.between(1, 6))))
        : randomProgram(random).map((instruction) =>
            random.chance(0.05) ? { ...instruction, code: random.below(256), jt: random.below(50) } : instruction,
          );
      expect(typeof disassemble(program)).toBe("string");
      try {
        verifyProgram(program);
      } catch (error) {
        expect(error).toBeInstanceOf(FilterVerifyError);
        continue;
      }
      const { one, interpreted } = placed.filter(program);
      expect([...one], disassemble(program)).toEqual([...interpreted]);
    }
  });
});
