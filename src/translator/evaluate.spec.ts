import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import { CpuState } from "./cpu.js";
import { CPU } from "./cpu-state.js";
import type { MemoryPort, Outcome } from "./evaluate.js";
import { Evaluator } from "./evaluate.js";
import type { Instruction } from "./instruction.js";
import { RAX, RBX, RCX, RDI, RSI, RSP } from "./instruction.js";
import type { Address, Bytes, Expr, Flags, Step } from "./ir.js";
import {
  arith,
  CF,
  condition,
  extendS,
  field,
  i32,
  i64,
  laneOf,
  OF,
  op1,
  op2,
  pure,
  reg32,
  reg64,
  SF,
  select,
  tmp,
  vop,
  wrap,
  ZF,
} from "./ir.js";

const BASE = 0xffffffff81000000n;
const SIZE = 0x1000;

/** A page at `BASE`; the rest faults. */
class Page implements MemoryPort {
  low = 0n;
  high = 0n;
  readonly view = new DataView(new ArrayBuffer(SIZE));
  readonly asked: string[] = [];

  load(address: bigint, bytes: Bytes, forWrite: boolean): boolean {
    this.asked.push(`${forWrite ? "modify" : "load"} ${bytes}`);
    if (!this.has(address, bytes)) return false;
    const at = Number(address - BASE);
    this.low = 0n;
    this.high = bytes === 16 ? this.view.getBigUint64(at + 8, true) : 0n;
    for (let i = Math.min(bytes, 8) - 1; i >= 0; i--) this.low = (this.low << 8n) | BigInt(this.view.getUint8(at + i));
    return true;
  }

  store(address: bigint, bytes: Bytes, low: bigint, high: bigint): boolean {
    this.asked.push(`store ${bytes}`);
    if (low >> BigInt(8 * Math.min(bytes, 8)) !== 0n) throw new Error(`${low} is too large for ${bytes}`);
    if (!this.has(address, bytes)) return false;
    const at = Number(address - BASE);
    for (let i = 0; i < Math.min(bytes, 8); i++) this.view.setUint8(at + i, Number((low >> BigInt(8 * i)) & 0xffn));
    if (bytes === 16) this.view.setBigUint64(at + 8, high, true);
    return true;
  }

  probe(address: bigint, bytes: Bytes, write: boolean): boolean {
    this.asked.push(`probe ${bytes} ${write}`);
    return this.has(address, bytes);
  }

  private has(address: bigint, bytes: number): boolean {
    return address >= BASE && address + BigInt(bytes) <= BASE + BigInt(SIZE);
  }
}

const HERE = -0x7f000000 as GuestAddress;
const instruction: Instruction = {
  address: HERE,
  length: 3,
  mnemonic: "test",
  operands: [],
  rep: false,
  repne: false,
  lock: false,
  condition: null,
  text: () => "test",
};

const at = (base: Expr | null, displacement = 0n, rest: Partial<Address> = {}): Address => ({
  base,
  index: null,
  scale: 1,
  displacement,
  segment: "none",
  short: false,
  ...rest,
});

const set = (
  register: number,
  value: Expr,
  width: 1 | 2 | 4 | 8 = value.type === "i64" ? 8 : 4,
  high = false,
): Step => ({
  kind: "set",
  register,
  width,
  high,
  value,
});
const store = (bytes: Bytes, address: Address, value: Expr): Step => ({
  kind: "store",
  bytes,
  address,
  value,
  checked: false,
});

const onlyIf = (test: Expr, step: Step): Step => ({
  kind: "if",
  condition: test,
  // biome-ignore lint/suspicious/noThenProperty: steps are never awaited
  then: [step],
  otherwise: [],
});

function machine(): { cpu: CpuState; memory: Page; evaluator: Evaluator; run: (...steps: Step[]) => Outcome } {
  const cpu = new CpuState(new ArrayBuffer(0x10000));
  cpu.ripAddress = HERE;
  const memory = new Page();
  const evaluator = new Evaluator(cpu, memory);
  return { cpu, memory, evaluator, run: (...steps) => evaluator.evaluate(steps, instruction) };
}

describe("registers and flags", () => {
  it("are set in parts", () => {
    const { cpu, run } = machine();
    cpu.setGeneral(RAX, -1n);
    cpu.setGeneral(RBX, -1n);
    cpu.setGeneral(RCX, -1n);
    expect(run(set(RAX, i32(0x12345), 2), set(RBX, i32(0x123), 1), set(RCX, i32(0x1ab), 1, true))).toEqual({
      kind: "next",
    });
    expect(cpu.general(RAX)).toBe(BigInt.asIntN(64, 0xffffffffffff2345n));
    expect(cpu.general(RBX)).toBe(BigInt.asIntN(64, 0xffffffffffffff23n));
    expect(cpu.general(RCX)).toBe(BigInt.asIntN(64, 0xffffffffffffabffn));
    expect(cpu.ripAddress).toBe(HERE + 3);
    run(set(RAX, i32(-2)), set(RBX, i64(5n)));
    expect([cpu.general(RAX), cpu.general(RBX)]).toEqual([0xfffffffen, 5n]);
  });

  it("follow arithmetic, and conditions follow them", () => {
    const { cpu, run } = machine();
    cpu.setGeneral(RAX, 0x1_7fffffffn);
    const sum: Flags = { op: "add", bytes: 4, a: reg32(RAX), b: i32(1), r: tmp(0, "i32") };
    run(
      { kind: "let", index: 0, value: op2("i32.add", reg32(RAX), i32(1)) },
      { kind: "flags", flags: sum },
      set(RAX, tmp(0, "i32")),
      set(RBX, select(condition("l"), i64(1n), i64(2n))),
      set(RCX, condition("s"), 4),
    );
    expect([OF, SF, ZF, CF].map((lane) => cpu.lane(lane as typeof OF))).toEqual([1, 1, 0, 0]);
    expect([cpu.general(RAX), cpu.general(RBX), cpu.general(RCX)]).toEqual([0x80000000n, 2n, 1n]);
    const zero: Flags = { op: "logic", bytes: 8, a: i64(0n), b: i64(0n), r: i64(0n) };
    run({ kind: "setLane", lane: CF, value: i32(1) }, { kind: "flags", flags: zero }, set(RCX, condition("be"), 4));
    expect([OF, SF, ZF, CF].map((lane) => cpu.lane(lane as typeof OF))).toEqual([0, 0, 1, 0]);
    expect(cpu.general(RCX)).toBe(1n);
    const down: Flags = { op: "dec", bytes: 1, a: i32(0), b: i32(1), r: i32(0xff) };
    run({ kind: "setLane", lane: CF, value: i32(1) }, { kind: "flags", flags: down });
    expect([OF, SF, ZF, CF].map((lane) => cpu.lane(lane as typeof OF))).toEqual([0, 1, 0, 1]);
  });

  it("that translated code left to be computed are computed first", () => {
    const { cpu, run } = machine();
    const view = new DataView(cpu.buffer);
    view.setInt32(CPU.lazyOperation, 5, true);
    view.setInt32(CPU.lazyBytes, 8, true);
    view.setInt32(CPU.lazyMask, 63, true);
    run(set(RAX, laneOf(ZF)), { kind: "setLane", lane: ZF, value: i32(0) });
    expect(cpu.general(RAX)).toBe(1n);
    expect(cpu.rflags & 0x40n).toBe(0n);
  });

  it("and fields and functions are values, too", () => {
    const { cpu, run } = machine();
    cpu.gsBase = -4096n;
    run(
      { kind: "setField", field: "df", value: i64(1n) },
      set(RAX, arith("add", field("gsBase"), field("df"))),
      set(RBX, pure("mulhu", "i64", i64(-1n), i64(-1n))),
      set(RCX, pure("crc32c", "i32", i32(-1), i64(0n), i32(8))),
      set(RSI, wrap(extendS(op1("i32.eqz", i32(0))))),
    );
    expect([cpu.general(RAX), cpu.general(RBX), cpu.general(RSI)]).toEqual([-4095n, -2n, 1n]);
    expect(cpu.general32(RCX)).toBe(0x73d74d75);
  });
});

describe("memory", () => {
  it("is accessed in every width, with and without sign", () => {
    const { cpu, memory, run } = machine();
    cpu.setGeneral(RSI, BASE);
    for (const [bytes, type, value] of [
      [1, "i32", i32(-2)],
      [2, "i32", i32(0x1fffe)],
      [4, "i32", i32(-2)],
      [8, "i64", i64(-2n)],
      [4, "i64", i64(0x1fffffffen)],
    ] as const) {
      for (const signed of [false, true]) {
        run(
          store(bytes, at(reg64(RSI), 8n), value),
          { kind: "load", index: 1, type, bytes, signed, address: at(reg64(RSI), 8n), forWrite: false },
          set(RAX, tmp(1, type)),
        );
        const expected = signed || bytes === 8 ? -2n : (1n << BigInt(8 * bytes)) - 2n;
        expect(cpu.general(RAX)).toBe(type === "i32" ? BigInt.asUintN(32, expected) : expected);
      }
    }
    expect(memory.asked.slice(0, 2)).toEqual(["store 1", "load 1"]);
  });

  it("is addressed by sums, shortened, and relative to segments", () => {
    const { cpu, memory, run } = machine();
    memory.view.setUint32(0x40, 0xabcd, true);
    cpu.gsBase = BASE;
    cpu.setGeneral(RSI, BASE + 0x20n);
    cpu.setGeneral(RDI, 4n);
    const load = (address: Address): bigint => {
      run(
        { kind: "load", index: 0, type: "i32", bytes: 4, signed: false, address, forWrite: true },
        set(RAX, tmp(0, "i32")),
      );
      return cpu.general(RAX);
    };
    expect(load(at(reg64(RSI), 0n, { index: reg64(RDI), scale: 8 }))).toBe(0xabcdn);
    expect(load(at(null, 0x40n, { segment: "gs" }))).toBe(0xabcdn);
    cpu.setGeneral(RDI, 0x7_00000080n);
    expect(load(at(reg64(RDI), -0x40n, { segment: "gs", short: true }))).toBe(0xabcdn);
    expect(memory.asked).toEqual(["modify 4", "modify 4", "modify 4"]);
  });

  it("faults with nothing done", () => {
    const { cpu, memory, run } = machine();
    cpu.setGeneral(RAX, 7n);
    const bad = at(reg64(RAX));
    const done = set(RAX, i64(9n));
    expect(run(store(8, bad, i64(1n)), done)).toEqual({ kind: "fault" });
    expect(
      run({ kind: "load", index: 0, type: "i64", bytes: 8, signed: false, address: bad, forWrite: false }, done),
    ).toEqual({
      kind: "fault",
    });
    expect(run({ kind: "probe", bytes: 8, address: bad, write: true }, done)).toEqual({ kind: "fault" });
    expect(cpu.general(RAX)).toBe(7n);
    expect(cpu.ripAddress).toBe(HERE);
    expect(memory.asked.at(-1)).toBe("probe 8 true");
  });
});

describe("the end of an instruction", () => {
  const target = 0x1234 as GuestAddress;

  it("is a jump, a call or a return", () => {
    const { cpu, run } = machine();
    expect(run({ kind: "jump", target })).toEqual({ kind: "jump", target, flow: "jump" });
    expect(cpu.ripAddress).toBe(target);
    cpu.setGeneral(RAX, BASE);
    expect(run({ kind: "callIndirect", target: reg64(RAX) })).toEqual({ kind: "jump", target: HERE, flow: "call" });
    expect(cpu.rip).toBe(BigInt.asIntN(64, BASE));
    expect(run({ kind: "call", target })).toEqual({ kind: "jump", target, flow: "call" });
    expect(run({ kind: "return", target: i64(5n) })).toEqual({ kind: "jump", target: 5, flow: "return" });
    expect(run({ kind: "jumpIndirect", target: i64(6n) })).toEqual({ kind: "jump", target: 6, flow: "jump" });
    expect(cpu.rip).toBe(6n);
  });

  it("is a branch that is taken or not", () => {
    const { cpu, run } = machine();
    const branch: Step = { kind: "branch", condition: reg32(RAX), taken: target };
    expect(run(branch)).toEqual({ kind: "next" });
    expect(cpu.ripAddress).toBe(HERE + 3);
    cpu.setGeneral(RAX, 1n);
    expect(run(branch)).toEqual({ kind: "jump", target, flow: "jump" });
  });

  it("leaves RIP where something else has to happen", () => {
    const { cpu, run } = machine();
    expect(run(onlyIf(i32(1), { kind: "trap", trap: "divide-error" }))).toEqual({ kind: "trap", trap: "divide-error" });
    expect(run({ kind: "system" })).toEqual({ kind: "system" });
    expect(run({ kind: "unsupported", why: "x87" })).toEqual({ kind: "unsupported", why: "x87" });
    expect(cpu.ripAddress).toBe(HERE);
  });
});

/** Like rep movsb. */
const copyLoop: Step = {
  kind: "loop",
  body: [
    onlyIf(op1("i64.eqz", reg64(RCX)), { kind: "leave" }),
    { kind: "load", index: 0, type: "i32", bytes: 1, signed: false, address: at(reg64(RSI)), forWrite: false },
    store(1, at(reg64(RDI)), tmp(0, "i32")),
    set(RSI, arith("add", reg64(RSI), i64(1n))),
    set(RDI, arith("add", reg64(RDI), i64(1n))),
    set(RCX, arith("sub", reg64(RCX), i64(1n))),
  ],
};

describe("loops", () => {
  it("repeat, stop between turns, and go on", () => {
    const { cpu, memory, evaluator, run } = machine();
    for (let i = 0; i < 10; i++) memory.view.setUint8(i, i + 1);
    cpu.setGeneral(RSI, BASE);
    cpu.setGeneral(RDI, BASE + 0x100n);
    cpu.setGeneral(RCX, 10n);
    evaluator.turnsLeft = 4;
    expect(run(copyLoop)).toEqual({ kind: "paused" });
    expect([cpu.general(RCX), cpu.ripAddress]).toEqual([6n, HERE]);
    evaluator.turnsLeft = 100;
    expect(run(copyLoop)).toEqual({ kind: "next" });
    expect(evaluator.turnsLeft).toBe(93);
    expect(cpu.ripAddress).toBe(HERE + 3);
    expect([...new Uint8Array(memory.view.buffer, 0x100, 11)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
  });

  it("fault in the middle, with the turns before done", () => {
    const { cpu, run } = machine();
    cpu.setGeneral(RSI, BASE);
    cpu.setGeneral(RDI, BASE + BigInt(SIZE) - 3n);
    cpu.setGeneral(RCX, 10n);
    expect(run(copyLoop)).toEqual({ kind: "fault" });
    expect([cpu.general(RCX), cpu.ripAddress]).toEqual([7n, HERE]);
  });
});

describe("vectors", () => {
  it("are loaded, computed with and stored", () => {
    const { cpu, memory, run } = machine();
    cpu.setXmm(1, 0x0000000200000001n, 0x0000000400000003n);
    cpu.setGeneral(RSP, BASE);
    memory.view.setBigUint64(0, 0x0000001400000000n | 0xan, true);
    memory.view.setBigUint64(8, 0x000000280000001en, true);
    const xmm1: Expr = { kind: "xmm", type: "v128", register: 1 };
    const t = tmp(0, "v128");
    run(
      { kind: "load", index: 0, type: "v128", bytes: 16, signed: false, address: at(reg64(RSP)), forWrite: false },
      { kind: "let", index: 0, value: vop("i32x4.add", "v128", [xmm1, vop("i32x4.sub", "v128", [t, xmm1])]) },
      {
        kind: "let",
        index: 0,
        value: vop("i8x16.shuffle", "v128", [t, xmm1], [0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11, 28, 29, 30, 31]),
      },
      { kind: "setXmm", register: 2, value: vop("i32x4.replace_lane", "v128", [t, i32(-1)], [3]) },
      set(RAX, vop("i32x4.extract_lane", "i32", [vop("i32x4.shl", "v128", [t, i32(4)])], [0])),
      set(RBX, vop("i64x2.extract_lane", "i64", [vop("i64x2.splat", "v128", [i64(-3n)])], [1])),
      set(
        RCX,
        vop("i8x16.bitmask", "i32", [vop("v128.const", "v128", [], [0x80, ...new Array<number>(14).fill(0), 0xff])]),
      ),
      store(16, at(reg64(RSP), 0x20n), t),
      store(8, at(reg64(RSP), 0x40n), xmm1),
    );
    expect([cpu.xmmLow(2), cpu.xmmHigh(2)]).toEqual([0x000000020000000an, BigInt.asIntN(64, 0xffffffff0000001en)]);
    expect([cpu.general(RAX), cpu.general(RBX), cpu.general(RCX)]).toEqual([0xa0n, -3n, 0x8001n]);
    expect(memory.view.getBigUint64(0x28, true)).toBe(0x000000040000001en);
    expect([memory.view.getBigUint64(0x40, true), memory.view.getBigUint64(0x48, true)]).toEqual([
      0x0000000200000001n,
      0n,
    ]);
  });
});
