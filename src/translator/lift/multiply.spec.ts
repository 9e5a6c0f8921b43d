import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("products", () => {
  it("of two registers are as wide as they", () => {
    expect(lifted("0f af c1")).toEqual([
      "t0: i32 = eax * ecx",
      "flags = logic 4: 1",
      "t1: i32 = (extend_i32_s(eax) * extend_i32_s(ecx)) != extend_i32_s(t0)",
      "CF = t1",
      "OF = t1",
      "eax = t0",
    ]);
    expect(lifted("48 6b c1 fd")).toContain("t1: i32 = mulhs(rcx, -3) != (t0 >>s 63)");
  });

  it("of the accumulator have twice its width", () => {
    expect(lifted("48 f7 e1")).toEqual([
      "t0: i64 = rax",
      "t1: i64 = t0 * rcx",
      "t2: i64 = mulhu(t0, rcx)",
      "flags = logic 4: 1",
      "t3: i32 = t2 != 0",
      "CF = t3",
      "OF = t3",
      "rax = t1",
      "rdx = t2",
    ]);
    expect(lifted("f6 e9").at(-1)).toBe("ax = t3 | (t4 << 8)");
  });

  it("of mulx leave the high half where both halves go", () => {
    expect(lifted("c4 e2 eb f6 d1").slice(-2)).toEqual(["rdx = t1", "rdx = t2"]);
  });
});

describe("quotients", () => {
  it("trap before anything changes", () => {
    expect(lifted("f7 f1")).toEqual([
      "t0: i64 = (extend_i32_u(edx) << 32) | extend_i32_u(eax)",
      "t1: i64 = extend_i32_u(ecx)",
      "if (t0 >>u 32) >=u t1",
      "  trap divide-error",
      "t2: i32 = wrap_i64(t0 /u t1)",
      "t3: i32 = wrap_i64(t0 %u t1)",
      "flags = logic 4: 1",
      "eax = t2",
      "edx = t3",
    ]);
  });

  it("never divide the least number by -1", () => {
    expect(lifted("f7 f9").slice(2, 9)).toEqual([
      "if eqz(t1)",
      "  trap divide-error",
      "if (t0 == -0x8000000000000000) & (t1 == -1)",
      "  trap divide-error",
      "t2: i64 = t0 /s t1",
      "if extend_i32_s(wrap_i64(t2)) != t2",
      "  trap divide-error",
    ]);
  });

  it("have dividends of 128 bits", () => {
    expect(lifted("48 f7 3f")).toEqual([
      "t0: i64 = load 8 [rdi]",
      "if eqz(divFitsS(rdx, rax, t0))",
      "  trap divide-error",
      "t1: i64 = divQuotientS(rdx, rax, t0)",
      "t2: i64 = divRemainderS(rdx, rax, t0)",
      "flags = logic 4: 1",
      "rax = t1",
      "rdx = t2",
    ]);
  });

  it("of bytes go to AL and AH", () => {
    expect(lifted("f6 f1").at(-1)).toBe("ax = (t2 & 0xff) | (t3 << 8)");
  });
});
