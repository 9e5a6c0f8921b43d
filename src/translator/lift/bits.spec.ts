import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("bit tests", () => {
  it("leave ZF", () => {
    expect(lifted("0f ba e0 25")).toEqual([
      "t0: i32 = (eax >>u 5) & 1",
      "CF = t0",
      "OF = 0",
      "SF = 0",
      "AF = 0",
      "PF = 0",
    ]);
  });

  it("reach beyond memory operands by a register's signed offset", () => {
    expect(lifted("48 0f ab 4f 08").slice(0, 6)).toEqual([
      "t0: i64 = rdi + ((rcx >>s 6) << 3)",
      "t1: i64 = load for write 8 [t0 + 8]",
      "t2: i64 = rcx & 63",
      "t3: i32 = wrap_i64(t1 >>u t2) & 1",
      "t4: i64 = t1 | (1 << t2)",
      "checked store 8 [t0 + 8] = t4",
    ]);
    expect(lifted("66 0f bb 0c 25 00 00 00 20").slice(0, 2)).toEqual([
      "t0: i64 = (extend_i32_s(extend16_s(ecx & 0xffff)) >>s 4) << 1",
      "t1: i32 = load for write 2 [t0 + 0x20000000]",
    ]);
  });

  it("stay within memory operands with an immediate offset", () => {
    expect(lifted("0f ba 37 25").slice(0, 4)).toEqual([
      "t0: i32 = load for write 4 [rdi]",
      "t1: i32 = (t0 >>u 5) & 1",
      "t2: i32 = t0 & ((1 << 5) ^ -1)",
      "checked store 4 [rdi] = t2",
    ]);
  });
});

describe("bit scans", () => {
  it("leave all of the target if the source is zero", () => {
    expect(lifted("0f bc c1")).toEqual([
      "t0: i32 = ecx",
      "t1: i64 = select(t0 != 0, extend_i32_u(ctz(t0)), rax)",
      "flags = logic 4: 1",
      "ZF = eqz(t0)",
      "rax = t1",
    ]);
    expect(lifted("48 0f bd 07")).toContain("t1: i64 = select(t0 != 0, clz(t0) ^ 63, rax)");
  });
});

describe("bit counts", () => {
  it("know the width", () => {
    expect(lifted("66 f3 0f bc c1")).toContain("t1: i32 = ctz(t0 | 0x10000)");
    expect(lifted("66 f3 0f bd c1")).toContain("t1: i32 = clz(t0) - 16");
  });

  it("tell zero sources and zero results apart", () => {
    expect(lifted("f3 48 0f bd c1").slice(-4)).toEqual([
      "flags = logic 4: 1",
      "CF = eqz(t0)",
      "ZF = eqz(t1)",
      "rax = t1",
    ]);
  });

  it("clear all flags but ZF", () => {
    expect(lifted("f3 0f b8 07")).toEqual([
      "t0: i32 = load 4 [rdi]",
      "flags = logic 4: 1",
      "ZF = eqz(t0)",
      "eax = popcnt(t0)",
    ]);
  });
});

describe("BMI", () => {
  it("takes fields of bits, of lengths and places beyond the width too", () => {
    expect(lifted("c4 e2 68 f7 c1")).toEqual([
      "t0: i32 = edx & 0xff",
      "t1: i32 = (edx >>u 8) & 0xff",
      "t2: i32 = select(t0 <u 32, ecx >>u t0, 0)",
      "t3: i32 = t2 & select(t1 <u 32, (1 << t1) - 1, -1)",
      "flags = logic 4: t3",
      "eax = t3",
    ]);
    expect(lifted("c4 e2 e8 f5 c1")).toContain("CF = t1 >=u 64");
  });

  it("tells by CF what the lowest bit was", () => {
    expect(lifted("c4 e2 f8 f3 d9")).toEqual([
      "t0: i64 = rcx",
      "t1: i64 = t0 & (0 - t0)",
      "flags = logic 8: t1",
      "CF = t0 != 0",
      "rax = t1",
    ]);
    expect(lifted("c4 e2 78 f3 c9")).toContain("CF = eqz(t0)");
  });

  it("adds through one flag", () => {
    expect(lifted("f3 0f 38 f6 c1")).toEqual([
      "t0: i32 = eax",
      "t1: i32 = ecx",
      "t2: i32 = (t0 + t1) + OF",
      "OF = ((t0 & t1) | ((t0 | t1) & (t2 ^ -1))) >>u 31",
      "eax = t2",
    ]);
  });
});

describe("bytes", () => {
  it("swap", () => {
    expect(lifted("0f c8")).toEqual(["t0: i32 = eax", "eax = rotl(t0 & 0xff00ff, 24) | rotl(t0 & -0xff0100, 8)"]);
    expect(lifted("66 0f 38 f1 0f")).toEqual(["t0: i32 = ecx & 0xffff", "store 2 [rdi] = (t0 >>u 8) | (t0 << 8)"]);
    expect(lifted("48 0f 38 f0 07")).toEqual(["t0: i64 = load 8 [rdi]", "rax = bswap64(t0)"]);
  });

  it("make checksums", () => {
    expect(lifted("f2 48 0f 38 f0 c1")).toEqual(["rax = extend_i32_u(crc32c(eax, extend_i32_u(ecx & 0xff), 1))"]);
  });
});
