import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import { CpuState, LAZY_OPERATIONS } from "./cpu.js";
import { CPU } from "./cpu-state.js";
import type { FlagsOperation } from "./ir.js";
import { AF, ARITHMETIC_FLAGS, CF, LANES, OF, PF, SF, ZF } from "./ir.js";

const fresh = (): { cpu: CpuState; view: DataView } => {
  const buffer = new ArrayBuffer(0x10000);
  return { cpu: new CpuState(buffer), view: new DataView(buffer) };
};

describe("the processor's state", () => {
  it("lies where translated code looks for it", () => {
    const { cpu, view } = fresh();
    cpu.setGeneral(3, 0xfedcba9876543210n);
    cpu.rip = -0x7f000000n;
    cpu.gsBase = 0x1122334455667788n;
    cpu.fsBase = -1n;
    cpu.setXmm(15, 1n, -2n);
    cpu.setLane(CF, 1);
    cpu.setField("df", 1n);
    expect(view.getBigUint64(CPU.registers + 3 * 8, true)).toBe(0xfedcba9876543210n);
    expect(view.getBigInt64(CPU.rip, true)).toBe(-0x7f000000n);
    expect(view.getBigUint64(CPU.gsBase, true)).toBe(0x1122334455667788n);
    expect(view.getBigInt64(CPU.fsBase, true)).toBe(-1n);
    expect(view.getBigInt64(CPU.xmm + 15 * 16 + 8, true)).toBe(-2n);
    expect(view.getInt32(CPU.lanes + 4 * 4, true)).toBe(1);
    expect(view.getBigInt64(CPU.df, true)).toBe(1n);
    expect(cpu.general(3)).toBe(BigInt.asIntN(64, 0xfedcba9876543210n));
    expect([cpu.xmmLow(15), cpu.xmmHigh(15)]).toEqual([1n, -2n]);
  });

  it("has low halves of registers", () => {
    const { cpu } = fresh();
    cpu.setGeneral(8, -1n);
    expect(cpu.general32(8)).toBe(-1);
    cpu.patchGeneral32(8, 0xff00, 0x1234);
    expect(cpu.general(8)).toBe(BigInt.asIntN(64, 0xffffffffffff12ffn));
    cpu.setGeneral32(8, 0x80000000);
    expect(cpu.general(8)).toBe(0x80000000n);
  });

  it.each([0, 5, -5, -0x7f000000, 0x7fffffff, 0x7fff_ffff_f000, -0x8000_0000_0000])("keeps RIP %i", (address) => {
    const { cpu } = fresh();
    cpu.ripAddress = address as GuestAddress;
    expect(cpu.rip).toBe(BigInt(address));
    expect(cpu.ripAddress).toBe(address);
  });

  it("composes RFLAGS", () => {
    const { cpu } = fresh();
    expect(cpu.rflags).toBe(2n);
    const bits: readonly (readonly [(c: CpuState) => void, bigint])[] = [
      [(c) => c.setLane(CF, 1), 0x1n],
      [(c) => c.setLane(PF, 1), 0x4n],
      [(c) => c.setLane(AF, 1), 0x10n],
      [(c) => c.setLane(ZF, 1), 0x40n],
      [(c) => c.setLane(SF, 1), 0x80n],
      [(c) => c.setField("if", 1n), 0x200n],
      [(c) => c.setField("df", 1n), 0x400n],
      [(c) => c.setLane(OF, 1), 0x800n],
      [(c) => c.setField("systemFlags", 0x240100n), 0x240100n],
    ];
    let expected = 2n;
    for (const [set, bit] of bits) {
      set(cpu);
      expected |= bit;
      expect(cpu.rflags).toBe(expected);
    }
    const other = fresh().cpu;
    other.rflags = -1n;
    expect(other.rflags).toBe(0x3f7fd7n);
    other.rflags = expected;
    expect(other.rflags).toBe(expected);
    expect(other.field("systemFlags")).toBe(0x240100n);
  });

  it("computes flags that were left to be computed, but only those", () => {
    const { cpu, view } = fresh();
    const leave = (op: FlagsOperation, bytes: number, mask: number, a: bigint, b: bigint, r: bigint): void => {
      view.setInt32(CPU.lazyOperation, 1 + LAZY_OPERATIONS.indexOf(op), true);
      view.setInt32(CPU.lazyBytes, bytes, true);
      view.setInt32(CPU.lazyMask, mask, true);
      view.setBigInt64(CPU.lazyA, a, true);
      view.setBigInt64(CPU.lazyB, b, true);
      view.setBigInt64(CPU.lazyR, r, true);
    };
    const lanes = (): number => LANES.reduce((mask, lane) => mask | (cpu.lane(lane) * lane), 0);
    // The high halves of operands of 4 bytes do not count.
    leave("sub", 4, ARITHMETIC_FLAGS, 0x7_00000001n, 2n, 0xffffffffn);
    cpu.resolveLazyFlags();
    expect(lanes()).toBe(SF | CF | AF | PF);
    expect(view.getInt32(CPU.lazyOperation, true)).toBe(0);
    leave("add", 8, ARITHMETIC_FLAGS & ~(CF | SF), -1n, 1n, 0n);
    cpu.resolveLazyFlags();
    expect(lanes()).toBe(SF | CF | AF | PF | ZF);
    cpu.setLane(ZF, 0);
    cpu.resolveLazyFlags();
    expect(lanes()).toBe(SF | CF | AF | PF);
    leave("logic", 1, ARITHMETIC_FLAGS, 0n, 0n, 0x80n);
    expect(cpu.rflags).toBe(0x82n);
    leave("logic", 1, ARITHMETIC_FLAGS, 0n, 0n, 0n);
    cpu.rflags = 0x803n;
    expect(cpu.rflags).toBe(0x803n);
  });
});
