import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("string instructions", () => {
  it("go forwards or backwards", () => {
    expect(lifted("65 a5")).toEqual([
      "t0: i64 = 4 - (df << 3)",
      "t1: i32 = load 4 [gs: rsi]",
      "store 4 [rdi] = t1",
      "rsi = rsi + t0",
      "rdi = rdi + t0",
    ]);
    expect(lifted("66 ad")).toEqual(["t0: i64 = 2 - (df << 2)", "t1: i32 = load 2 [rsi]", "rsi = rsi + t0", "ax = t1"]);
  });

  it("complete each turn before the next", () => {
    expect(lifted("f3 48 a5")).toEqual([
      "t0: i64 = 8 - (df << 4)",
      "loop",
      "  if eqz(rcx)",
      "    leave",
      "  t1: i64 = load 8 [rsi]",
      "  store 8 [rdi] = t1",
      "  rsi = rsi + t0",
      "  rdi = rdi + t0",
      "  rcx = rcx - 1",
    ]);
  });

  it("repeat while equal or until equal", () => {
    expect(lifted("f3 a6")).toEqual([
      "t0: i64 = 1 - (df << 1)",
      "loop",
      "  if eqz(rcx)",
      "    leave",
      "  t1: i32 = load 1 [rsi]",
      "  t2: i32 = load 1 [rdi]",
      "  t3: i32 = (t1 - t2) & 0xff",
      "  flags = sub 1 of t1, t2: t3",
      "  rsi = rsi + t0",
      "  rdi = rdi + t0",
      "  rcx = rcx - 1",
      "  if t1 != t2",
      "    leave",
    ]);
    expect(lifted("f2 48 af").slice(-7)).toEqual([
      "  t1: i64 = load 8 [rdi]",
      "  t2: i64 = rax - t1",
      "  flags = sub 8 of rax, t1: t2",
      "  rdi = rdi + t0",
      "  rcx = rcx - 1",
      "  if rax == t1",
      "    leave",
    ]);
  });

  it("take repne for rep where nothing is compared", () => {
    expect(lifted("f2 a4")).toEqual(lifted("f3 a4"));
  });

  it("count in ECX and cut addresses with addresses of 32 bits", () => {
    expect(lifted("67 f3 aa")).toEqual([
      "t0: i64 = 1 - (df << 1)",
      "loop",
      "  if eqz(ecx)",
      "    leave",
      "  store 1 [low32(rdi)] = eax",
      "  edi = edi + wrap_i64(t0)",
      "  ecx = ecx - 1",
    ]);
  });
});
