import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("compare and exchange", () => {
  it("stores in any case, and leaves RAX if the comparison succeeds", () => {
    expect(lifted("f0 0f b1 0f")).toEqual([
      "t0: i32 = load for write 4 [rdi]",
      "t1: i32 = eax",
      "t2: i32 = t1 == t0",
      "checked store 4 [rdi] = select(t2, ecx, t0)",
      "t3: i32 = t1 - t0",
      "flags = sub 4 of t1, t0: t3",
      "rax = select(t2, rax, extend_i32_u(t0))",
    ]);
  });

  it("leaves a register target if the comparison fails", () => {
    expect(lifted("0f b1 d1")).toContain("t3: i64 = select(t2, extend_i32_u(edx), rcx)");
    expect(lifted("0f b1 d1").at(-1)).toBe("rcx = t3");
  });

  it("of 8 bytes sets ZF only", () => {
    expect(lifted("0f c7 0f")).toEqual([
      "t0: i64 = load for write 8 [rdi]",
      "t1: i32 = t0 == ((extend_i32_u(edx) << 32) | extend_i32_u(eax))",
      "checked store 8 [rdi] = select(t1, (extend_i32_u(ecx) << 32) | extend_i32_u(ebx), t0)",
      "ZF = t1",
      "rax = select(t1, rax, extend_i32_u(wrap_i64(t0)))",
      "rdx = select(t1, rdx, t0 >>u 32)",
    ]);
  });

  it("of 16 bytes wants them aligned", () => {
    expect(lifted("65 48 0f c7 4f f8").slice(0, 4)).toEqual([
      "if (((rdi + -8) + gsBase) & 15) != 0",
      "  trap general-protection",
      "t0: i64 = load for write 8 [gs: rdi - 8]",
      "t1: i64 = load for write 8 [gs: rdi]",
    ]);
  });
});

it("adds a register to itself", () => {
  expect(lifted("0f c1 c0")).toEqual([
    "t0: i32 = eax",
    "t1: i32 = t0 + t0",
    "flags = add 4 of t0, t0: t1",
    "eax = t0",
    "eax = t1",
  ]);
});
