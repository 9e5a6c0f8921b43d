import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("shifts by a constant", () => {
  it("set CF from the last bit that leaves", () => {
    expect(lifted("c1 e0 03")).toEqual([
      "t0: i32 = eax",
      "t1: i32 = t0 << 3",
      "flags = result 4: t1",
      "AF = 0",
      "CF = (t0 >>u 29) & 1",
      "OF = 0",
      "eax = t1",
    ]);
    expect(lifted("48 c1 f8 3f")).toContain("CF = wrap_i64(t0 >>u 62) & 1");
    expect(lifted("66 c1 f8 04")).toContain("CF = (t1 >>u 3) & 1");
  });

  it("store before any flag changes, and define OF for a count of 1", () => {
    expect(lifted("48 d1 2f")).toEqual([
      "t0: i64 = load for write 8 [rdi]",
      "t1: i64 = t0 >>u 1",
      "checked store 8 [rdi] = t1",
      "flags = result 8: t1",
      "AF = 0",
      "CF = wrap_i64(t0) & 1",
      "OF = wrap_i64(t0 >>u 63)",
    ]);
  });

  it("change nothing for a count of zero but the high half of a register", () => {
    expect(lifted("c1 e0 20")).toEqual(["t0: i32 = eax", "eax = t0"]);
    expect(lifted("c1 27 00")).toEqual(["t0: i32 = load for write 4 [rdi]", "checked store 4 [rdi] = t0"]);
  });

  it("mask the count to six bits for 64 and five for less", () => {
    expect(lifted("48 c1 e0 63")).toContain("t1: i64 = t0 << 35");
    expect(lifted("c0 e0 29")).toContain("t1: i32 = (t0 << 9) & 0xff");
  });
});

describe("shifts by CL", () => {
  it("leave all flags if the count is zero", () => {
    expect(lifted("d3 e0")).toEqual([
      "t0: i32 = ecx & 31",
      "t1: i32 = eax",
      "t2: i32 = t1 << t0",
      "SF = select(t0, t2 >>u 31, SF)",
      "ZF = select(t0, eqz(t2), ZF)",
      "PF = select(t0, eqz(popcnt(t2 & 0xff) & 1), PF)",
      "CF = select(t0, (t1 >>u (0 - t0)) & 1, CF)",
      "OF = select(t0, (t1 >>u 31) ^ (t2 >>u 31), OF)",
      "eax = t2",
    ]);
  });

  it("read CL before it changes", () => {
    expect(lifted("d2 f9").slice(0, 3)).toEqual([
      "t0: i32 = ecx & 31",
      "t1: i32 = ecx & 0xff",
      "t2: i32 = extend8_s(t1)",
    ]);
  });
});

describe("double shifts", () => {
  it("let bits of the second operand in", () => {
    expect(lifted("48 0f ac d0 08")).toContain("t1: i64 = (t0 >>u 8) | ((rdx << 1) << (8 ^ 63))");
    expect(lifted("66 0f a4 c8 03").slice(0, 3)).toEqual([
      "t0: i32 = eax & 0xffff",
      "t1: i32 = (t0 << 16) | (ecx & 0xffff)",
      "t2: i32 = (t1 << 3) >>u 16",
    ]);
  });
});

describe("rotations", () => {
  it("leave all flags but CF and OF", () => {
    expect(lifted("d1 c8")).toEqual([
      "t0: i32 = eax",
      "t1: i32 = rotr(t0, 1)",
      "CF = t1 >>u 31",
      "OF = (t1 >>u 31) ^ ((t1 >>u 30) & 1)",
      "eax = t1",
    ]);
  });

  it("set CF after a whole turn", () => {
    expect(lifted("66 c1 c0 10")).toEqual([
      "t0: i32 = eax & 0xffff",
      "t1: i32 = ((t0 | (t0 << 16)) >>u 16) & 0xffff",
      "CF = t1 & 1",
      "OF = 0",
      "ax = t1",
    ]);
  });

  it("take CF along", () => {
    expect(lifted("d1 d0")).toEqual([
      "t0: i32 = eax",
      "t1: i64 = extend_i32_u(t0) | (extend_i32_u(CF) << 32)",
      "t2: i64 = (t1 >>u extend_i32_u(32)) | (t1 << extend_i32_u(1))",
      "t3: i32 = wrap_i64(t2)",
      "t4: i32 = wrap_i64(t2 >>u 32) & 1",
      "OF = (t3 >>u 31) ^ t4",
      "CF = t4",
      "eax = t3",
    ]);
    expect(lifted("d2 d0")).toContain("t2: i32 = 9 - (t0 %u 9)");
    expect(lifted("66 c1 d8 11")).toContain("t2: i64 = (t1 >>u extend_i32_u(0)) | (t1 << extend_i32_u(17))");
  });
});

it("shifts without flags", () => {
  expect(lifted("c4 e2 e9 f7 c1")).toEqual(["rax = rcx << rdx"]);
  expect(lifted("c4 e3 7b f0 c1 05")).toEqual(["eax = rotr(ecx, 5)"]);
});
