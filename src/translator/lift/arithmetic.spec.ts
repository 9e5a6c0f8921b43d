import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("sums", () => {
  it("set flags from what the target was", () => {
    expect(lifted("48 01 c8")).toEqual([
      "t0: i64 = rax",
      "t1: i64 = t0 + rcx",
      "flags = add 8 of t0, rcx: t1",
      "rax = t1",
    ]);
    expect(lifted("48 01 c0")).toEqual([
      "t0: i64 = rax",
      "t1: i64 = t0 + t0",
      "flags = add 8 of t0, t0: t1",
      "rax = t1",
    ]);
  });

  it("store before any flag changes", () => {
    expect(lifted("00 64 8b f8")).toEqual([
      "t0: i32 = load for write 1 [rbx + rcx * 4 - 8]",
      "t1: i32 = (eax >>u 8) & 0xff",
      "t2: i32 = (t0 + t1) & 0xff",
      "checked store 1 [rbx + rcx * 4 - 8] = t2",
      "flags = add 1 of t0, t1: t2",
    ]);
  });

  it("add the carry", () => {
    expect(lifted("13 07")).toEqual([
      "t0: i32 = eax",
      "t1: i32 = load 4 [rdi]",
      "t2: i32 = (t0 + t1) + CF",
      "flags = adc 4 of t0, t1: t2",
      "eax = t2",
    ]);
    expect(lifted("48 83 d8 ff")).toContain("t1: i64 = (t0 - -1) - extend_i32_u(CF)");
  });

  it("do not depend on a register that is subtracted from itself", () => {
    expect(lifted("29 c9")).toEqual(["flags = sub 4 of 0, 0: 0", "ecx = 0"]);
    expect(lifted("48 19 d2")).toEqual(["t0: i64 = 0 - extend_i32_u(CF)", "flags = sbb 8 of 0, 0: t0", "rdx = t0"]);
    expect(lifted("28 e0")).not.toContain("flags = sub 1 of 0, 0: 0");
  });

  it("count and negate", () => {
    expect(lifted("fe c9")).toEqual([
      "t0: i32 = ecx & 0xff",
      "t1: i32 = (t0 - 1) & 0xff",
      "flags = dec 1 of t0, 1: t1",
      "cl = t1",
    ]);
    expect(lifted("48 f7 d8")).toEqual(["t0: i64 = rax", "t1: i64 = 0 - t0", "flags = sub 8 of 0, t0: t1", "rax = t1"]);
    expect(lifted("66 f7 17")).toEqual(["t0: i32 = load for write 2 [rdi]", "checked store 2 [rdi] = t0 ^ -1"]);
  });
});

describe("logic", () => {
  it("needs no bits beyond the operand", () => {
    expect(lifted("66 83 26 f0")).toEqual([
      "t0: i32 = load for write 2 [rsi]",
      "t1: i32 = t0 & 0xfff0",
      "checked store 2 [rsi] = t1",
      "flags = logic 2: t1",
    ]);
    expect(lifted("0c 80")).toContain("t1: i32 = t0 | 0x80");
  });

  it("knows the way to write zero", () => {
    expect(lifted("45 31 c9")).toEqual(["flags = logic 4: 0", "r9d = 0"]);
    expect(lifted("30 c4")).not.toContain("ah = 0");
  });
});

describe("comparisons", () => {
  it("need no copies of wide registers", () => {
    expect(lifted("48 39 f7")).toEqual(["t0: i64 = rdi - rsi", "flags = sub 8 of rdi, rsi: t0"]);
    expect(lifted("85 c0")).toEqual(["flags = logic 4: eax"]);
    expect(lifted("48 f7 c7 fe ff ff ff")).toEqual(["t0: i64 = rdi & -2", "flags = logic 8: t0"]);
  });

  it("extend narrow operands with zeroes", () => {
    expect(lifted("80 3f ff")).toEqual([
      "t0: i32 = load 1 [rdi]",
      "t1: i32 = (t0 - 0xff) & 0xff",
      "flags = sub 1 of t0, 0xff: t1",
    ]);
    expect(lifted("38 f1")).toEqual([
      "t0: i32 = ecx & 0xff",
      "t1: i32 = (edx >>u 8) & 0xff",
      "t2: i32 = (t0 - t1) & 0xff",
      "flags = sub 1 of t0, t1: t2",
    ]);
  });
});
