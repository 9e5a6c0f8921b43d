import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("jumps", () => {
  it("go where the instruction, a register or memory says", () => {
    expect(lifted("eb fe")).toEqual(["jump 0xffffffff81000000"]);
    expect(lifted("ff e0")).toEqual(["jump to rax"]);
    expect(lifted("ff 24 c5 00 00 00 81")).toEqual(["t0: i64 = load 8 [rax * 8 - 0x7f000000]", "jump to t0"]);
  });

  it("ask for conditions", () => {
    expect(lifted("74 02")).toEqual(["branch 0xffffffff81000004 if is e"]);
    expect(lifted("0f 8f fa ff ff ff")).toEqual(["branch 0xffffffff81000000 if is g"]);
    expect(lifted("e3 02")).toEqual(["branch 0xffffffff81000004 if eqz(rcx)"]);
    expect(lifted("67 e3 02")).toEqual(["branch 0xffffffff81000005 if eqz(ecx)"]);
  });

  it("count", () => {
    expect(lifted("e2 fe")).toEqual(["t0: i64 = rcx - 1", "rcx = t0", "branch 0xffffffff81000000 if t0 != 0"]);
    expect(lifted("67 e1 fd")).toEqual([
      "t0: i32 = ecx - 1",
      "ecx = t0",
      "branch 0xffffffff81000000 if (t0 != 0) & ZF",
    ]);
    expect(lifted("e0 fe").at(-1)).toBe("branch 0xffffffff81000000 if (t0 != 0) & eqz(ZF)");
  });
});

describe("calls", () => {
  it("push where to go on", () => {
    expect(lifted("e8 00 01 00 00")).toEqual([
      "store 8 [rsp - 8] = -0x7efffffb",
      "rsp = rsp + -8",
      "call 0xffffffff81000105",
    ]);
  });

  it("read their target before they push", () => {
    expect(lifted("ff 54 24 08")).toEqual([
      "t0: i64 = load 8 [rsp + 8]",
      "store 8 [rsp - 8] = -0x7efffffc",
      "rsp = rsp + -8",
      "call to t0",
    ]);
    expect(lifted("ff d4")[0]).toBe("t0: i64 = rsp");
  });
});

it("returns, and takes arguments from the stack", () => {
  expect(lifted("f3 c3")).toEqual(["t0: i64 = load 8 [rsp]", "rsp = rsp + 8", "return to t0"]);
  expect(lifted("c2 00 80")).toEqual(["t0: i64 = load 8 [rsp]", "rsp = rsp + 0x8008", "return to t0"]);
});
