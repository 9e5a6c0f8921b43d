import { describe, expect, it } from "vitest";
import { lifted } from "../../../test/support/lifting.js";

describe("push", () => {
  it("pushes what RSP was", () => {
    expect(lifted("54")).toEqual(["store 8 [rsp - 8] = rsp", "rsp = rsp + -8"]);
    expect(lifted("ff 74 24 08")[0]).toBe("t0: i64 = load 8 [rsp + 8]");
  });

  it("knows the width of immediates", () => {
    expect(lifted("6a ff")).toEqual(["store 8 [rsp - 8] = -1", "rsp = rsp + -8"]);
    expect(lifted("66 6a ff")).toEqual(["store 2 [rsp - 2] = 0xffff", "rsp = rsp + -2"]);
  });
});

describe("pop", () => {
  it("leaves in RSP what it popped there", () => {
    expect(lifted("5c")).toEqual(["t0: i64 = load 8 [rsp]", "rsp = rsp + 8", "rsp = t0"]);
    expect(lifted("66 5c")).toEqual(["t0: i32 = load 2 [rsp]", "rsp = rsp + 2", "sp = t0"]);
  });

  it("addresses memory by the RSP after it, which a fault leaves as it was", () => {
    expect(lifted("8f 44 24 08")).toEqual(["t0: i64 = load 8 [rsp]", "store 8 [rsp + 16] = t0", "rsp = rsp + 8"]);
    expect(lifted("8f 47 08")[1]).toBe("store 8 [rdi + 8] = t0");
  });
});

describe("frames", () => {
  it("are left", () => {
    expect(lifted("c9")).toEqual(["t0: i64 = load 8 [rbp]", "rsp = rbp + 8", "rbp = t0"]);
    expect(lifted("66 c9")).toEqual(["t0: i32 = load 2 [rbp]", "rsp = rbp + 2", "bp = t0"]);
  });

  it("are entered with pointers to outer ones", () => {
    expect(lifted("c8 10 80 02")).toEqual([
      "probe read 8 [rbp - 8]",
      "probe write 8 [rsp - 16]",
      "probe write 8 [rsp - 24]",
      "t0: i64 = rsp + -0x8028",
      "probe write 8 [t0]",
      "store 8 [rsp - 8] = rbp",
      "t1: i64 = load 8 [rbp - 8]",
      "store 8 [rsp - 16] = t1",
      "t2: i64 = rsp + -8",
      "store 8 [rsp - 24] = t2",
      "rsp = t0",
      "rbp = t2",
    ]);
  });
});
