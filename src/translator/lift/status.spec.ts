import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("flags as a word", () => {
  it("are pushed", () => {
    const arithmetic = "extend_i32_u((((((2 | CF) | (PF << 2)) | (AF << 4)) | (ZF << 6)) | (SF << 7)) | (OF << 11))";
    expect(lifted("9c")).toEqual([
      `store 8 [rsp - 8] = ((systemFlags & -0x30001) | ((if << 9) | (df << 10))) | ${arithmetic}`,
      "rsp = rsp + -8",
    ]);
  });

  it("are popped; those of the upper half by 64 bits only", () => {
    expect(lifted("9d")).toEqual([
      "t0: i64 = load 8 [rsp]",
      "rsp = rsp + 8",
      "t1: i32 = wrap_i64(t0)",
      "CF = (t1 >>u 0) & 1",
      "PF = (t1 >>u 2) & 1",
      "AF = (t1 >>u 4) & 1",
      "ZF = (t1 >>u 6) & 1",
      "SF = (t1 >>u 7) & 1",
      "OF = (t1 >>u 11) & 1",
      "df = (t0 >>u 10) & 1",
      "systemFlags = (systemFlags & -0x247101) | (t0 & 0x247100)",
      "if = (t0 >>u 9) & 1",
    ]);
    expect(lifted("66 9d").at(-2)).toBe("systemFlags = (systemFlags & -0x7101) | (extend_i32_u(t0) & 0x7100)");
  });

  it("go to AH and come from it", () => {
    expect(lifted("9f")).toEqual(["ah = ((((2 | CF) | (PF << 2)) | (AF << 4)) | (ZF << 6)) | (SF << 7)"]);
    expect(lifted("9e")).toHaveLength(5);
    expect(lifted("9e")).toContain("SF = (((eax >>u 8) & 0xff) >>u 7) & 1");
  });
});

it("sets single flags", () => {
  const steps = ["f5", "f8", "f9", "fc", "fd", "fa", "fb", "0f 01 ca", "0f 01 cb"].flatMap(lifted);
  expect(steps).toEqual([
    "CF = eqz(CF)",
    "CF = 0",
    "CF = 1",
    "df = 0",
    "df = 1",
    "if = 0",
    "if = 1",
    "systemFlags = systemFlags & -0x40001",
    "systemFlags = systemFlags | 0x40000",
  ]);
});

it("reads and writes the bases of segments", () => {
  const steps = ["f3 0f ae c0", "f3 48 0f ae c8", "f3 48 0f ae d0", "f3 0f ae d8"].flatMap(lifted);
  expect(steps).toEqual(["eax = wrap_i64(fsBase)", "rax = gsBase", "fsBase = rax", "gsBase = extend_i32_u(eax)"]);
});
