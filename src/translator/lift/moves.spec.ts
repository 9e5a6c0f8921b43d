import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("moves", () => {
  it("takes one step where registers and memory allow it", () => {
    expect(lifted("89 c8")).toEqual(["eax = ecx"]);
    expect(lifted("88 cc")).toEqual(["ah = ecx & 0xff"]);
    expect(lifted("65 48 c7 04 25 28 00 00 00 ff ff ff ff")).toEqual(["store 8 [gs: 40] = -1"]);
    expect(lifted("0f c3 07")).toEqual(["store 4 [rdi] = eax"]);
  });

  it("finds RIP-relative memory", () => {
    expect(lifted("48 8b 05 10 00 00 00")).toEqual(["t0: i64 = load 8 [-0x7effffe9]", "rax = t0"]);
  });

  it("extends while loading", () => {
    expect(lifted("0f b6 07")).toEqual(["t0: i32 = load 1 [rdi]", "eax = t0"]);
    expect(lifted("4c 0f bf 07")).toEqual(["t0: i64 = signed load 2 [rdi]", "r8 = t0"]);
    expect(lifted("48 63 07")).toEqual(["t0: i64 = signed load 4 [rdi]", "rax = t0"]);
  });

  it("extends registers", () => {
    expect(lifted("48 0f b6 c1")).toEqual(["rax = extend_i32_u(ecx & 0xff)"]);
    expect(lifted("0f be cc")).toEqual(["ecx = extend8_s((eax >>u 8) & 0xff)"]);
    expect(lifted("48 63 c1")).toEqual(["rax = extend_i32_s(ecx)"]);
    expect(lifted("48 98")).toEqual(["rax = extend_i32_s(eax)"]);
    expect(lifted("66 98")).toEqual(["ax = extend8_s(eax & 0xff)"]);
    expect(lifted("48 99")).toEqual(["rdx = rax >>s 63"]);
    expect(lifted("66 99")).toEqual(["dx = extend16_s(eax) >>s 31"]);
  });

  it("adds up addresses in the width of the target, without their segment", () => {
    expect(lifted("64 48 8d 44 cf f0")).toEqual(["rax = (rdi + (rcx << 3)) + -16"]);
    expect(lifted("8d 44 cf f0")).toEqual(["eax = (edi + (ecx << 3)) + -16"]);
    expect(lifted("67 48 8d 47 04")).toEqual(["rax = extend_i32_u(edi + 4)"]);
    expect(lifted("48 8d 04 25 00 00 00 80")).toEqual(["rax = -0x80000000"]);
  });
});

describe("conditional moves", () => {
  it("read memory and set all of the register whatever the condition", () => {
    expect(lifted("0f 45 07")).toEqual(["t0: i32 = load 4 [rdi]", "eax = select(is ne, t0, eax)"]);
    expect(lifted("0f 42 c1")).toEqual(["eax = select(is b, ecx, eax)"]);
  });

  it("set bytes", () => {
    expect(lifted("0f 9e c0")).toEqual(["al = is le"]);
    expect(lifted("0f 94 07")).toEqual(["store 1 [rdi] = is e"]);
  });
});

describe("exchanges", () => {
  it("store before the register changes", () => {
    expect(lifted("48 87 07")).toEqual([
      "t0: i64 = load for write 8 [rdi]",
      "t1: i64 = rax",
      "checked store 8 [rdi] = t1",
      "rax = t0",
    ]);
  });

  it("read both registers first, halves of one register too", () => {
    expect(lifted("86 c4")).toEqual(["t0: i32 = eax & 0xff", "t1: i32 = (eax >>u 8) & 0xff", "al = t1", "ah = t0"]);
  });

  it("extend a register exchanged with itself", () => {
    expect(lifted("87 c0")).toEqual(["t0: i32 = eax", "eax = t0", "eax = t0"]);
  });
});

it("looks bytes up", () => {
  expect(lifted("64 d7")).toEqual(["t0: i64 = extend_i32_u(eax & 0xff)", "t1: i32 = load 1 [fs: rbx + t0]", "al = t1"]);
});
