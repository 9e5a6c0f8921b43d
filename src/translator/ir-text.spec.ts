import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import { RAX, RCX, RSI } from "./instruction.js";
import type { Address, Expr, Step } from "./ir.js";
import {
  CF,
  condition,
  extendU,
  field,
  i32,
  i64,
  laneOf,
  op1,
  op2,
  pure,
  reg32,
  reg64,
  select,
  tmp,
  vop,
} from "./ir.js";
import { printSteps, registerName } from "./ir-text.js";

const address: Address = {
  base: reg64(RSI),
  index: reg64(RCX),
  scale: 8,
  displacement: -0x200n,
  segment: "gs",
  short: false,
};
const absolute: Address = { ...address, base: null, index: null, displacement: 0x1000n, segment: "none" };
const target = -0x7f000000 as GuestAddress;
const set = (register: number, width: 1 | 2 | 4 | 8, value: Expr, high = false): Step => ({
  kind: "set",
  register,
  width,
  high,
  value,
});

describe("steps as text", () => {
  it("are a line each", () => {
    const steps: Step[] = [
      { kind: "load", index: 0, type: "i32", bytes: 4, signed: false, address, forWrite: true },
      { kind: "load", index: 1, type: "i64", bytes: 2, signed: true, address: absolute, forWrite: false },
      { kind: "let", index: 2, value: op2("i32.add", tmp(0, "i32"), op2("i32.shr_u", reg32(RAX), i32(3))) },
      { kind: "store", bytes: 4, address, value: tmp(2, "i32"), checked: true },
      {
        kind: "store",
        bytes: 8,
        address: { ...absolute, base: reg64(RAX), short: true },
        value: i64(-0x1000n),
        checked: false,
      },
      { kind: "probe", bytes: 8, address: absolute, write: true },
      { kind: "flags", flags: { op: "add", bytes: 4, a: tmp(0, "i32"), b: i32(7), r: tmp(2, "i32") } },
      { kind: "flags", flags: { op: "logic", bytes: 1, a: i32(0), b: i32(0), r: tmp(2, "i32") } },
      { kind: "setLane", lane: CF, value: op1("i32.eqz", laneOf(CF)) },
      { kind: "setField", field: "df", value: i64(0n) },
      set(RAX, 1, i32(1), true),
      set(RAX, 8, select(condition("le"), extendU(tmp(2, "i32")), field("gsBase"))),
      set(RCX, 8, pure("mulhu", "i64", reg64(RAX), op2("i64.rotl", reg64(RCX), i64(5n)))),
      { kind: "setXmm", register: 3, value: vop("i32x4.replace_lane", "v128", [tmp(4, "v128"), i32(100)], [3]) },
      { kind: "branch", condition: condition("ne"), taken: target },
    ];
    expect(printSteps(steps)).toEqual([
      "t0: i32 = load for write 4 [gs: rsi + rcx * 8 - 0x200]",
      "t1: i64 = signed load 2 [0x1000]",
      "t2: i32 = t0 + (eax >>u 3)",
      "checked store 4 [gs: rsi + rcx * 8 - 0x200] = t2",
      "store 8 [low32(rax + 0x1000)] = -0x1000",
      "probe write 8 [0x1000]",
      "flags = add 4 of t0, 7: t2",
      "flags = logic 1: t2",
      "CF = eqz(CF)",
      "df = 0",
      "ah = 1",
      "rax = select(is le, extend_i32_u(t2), gsBase)",
      "rcx = mulhu(rax, rotl(rcx, 5))",
      "xmm3 = i32x4.replace_lane<3>(t4, 0x64)",
      "branch 0xffffffff81000000 if is ne",
    ]);
  });

  it("are indented inside others", () => {
    const leave: Step = {
      kind: "if",
      condition: op1("i64.eqz", reg64(RCX)),
      // biome-ignore lint/suspicious/noThenProperty: steps are never awaited
      then: [{ kind: "leave" }],
      otherwise: [{ kind: "trap", trap: "alignment" }],
    };
    expect(
      printSteps([
        { kind: "loop", body: [leave] },
        { kind: "return", target: reg64(RAX) },
      ]),
    ).toEqual(["loop", "  if eqz(rcx)", "    leave", "  else", "    trap alignment", "return to rax"]);
  });

  it("end in many ways", () => {
    expect(
      printSteps([
        { kind: "jump", target },
        { kind: "call", target },
        { kind: "jumpIndirect", target: reg64(RAX) },
        { kind: "callIndirect", target: reg64(RAX) },
        { kind: "system" },
        { kind: "unsupported", why: "x87" },
      ]),
    ).toEqual([
      "jump 0xffffffff81000000",
      "call 0xffffffff81000000",
      "jump to rax",
      "call to rax",
      "system",
      "unsupported: x87",
    ]);
  });

  it("name registers as assemblers do", () => {
    const names = (register: number): string[] => [
      ...([1, 2, 4, 8] as const).map((width) => registerName(register, width, false)),
      registerName(register & 3, 1, true),
    ];
    expect(names(0)).toEqual(["al", "ax", "eax", "rax", "ah"]);
    expect(names(7)).toEqual(["dil", "di", "edi", "rdi", "bh"]);
    expect(names(12)).toEqual(["r12b", "r12w", "r12d", "r12", "ah"]);
  });
});
