import { describe, expect, it } from "vitest";
import { CODE, decoded, lifted } from "../../../test/support/lifting.js";
import { InstructionDecoder } from "../decode.js";
import { printSteps } from "../ir-text.js";
import { isCovered, lift } from "./index.js";

describe("what the runtime does", () => {
  it("is one step", () => {
    const cpuid = "0f a2";
    const rdmsr = "0f 32";
    const portInput = "ec";
    const repeatedOutput = "f3 6e";
    const farJump = "ff 2f";
    const syscall = "0f 05";
    const interrupt = "cd 80";
    for (const hex of [cpuid, rdmsr, portInput, repeatedOutput, farJump, syscall, interrupt, "f4", "48 cf"])
      expect(lifted(hex)).toEqual(["system"]);
  });

  it("includes moves of special registers", () => {
    for (const hex of ["0f 22 d8", "0f 21 f8", "8e d8", "66 8c c8", "0f a0", "66 0f a9"])
      expect(lifted(hex)).toEqual(["system"]);
  });
});

describe("what does nothing", () => {
  it("does not access its operand either", () => {
    for (const hex of [
      "90",
      "66 0f 1f 44 00 00",
      "f3 90",
      "f3 0f 1e fa",
      "0f ae e8",
      "0f ae f0",
      "0f 18 0f",
      "0f 0d 0f",
    ])
      expect(lifted(hex)).toEqual([]);
  });

  it("may fault all the same", () => {
    expect(lifted("0f ae 3f")).toEqual(["probe read 1 [rdi]"]);
  });
});

describe("what stops", () => {
  it("names the exception", () => {
    expect(lifted("0f 0b")).toEqual(["trap invalid-opcode"]);
    expect(lifted("0f b9 07")).toEqual(["trap invalid-opcode"]);
    expect(lifted("cc")).toEqual(["trap breakpoint"]);
  });

  it("includes bytes that are no instruction, which are not covered", () => {
    const [instruction] = new InstructionDecoder().decodeRun(Uint8Array.of(0x06), 0, 1, CODE);
    expect(printSteps(lift(instruction))).toEqual(["trap invalid-opcode"]);
    expect(isCovered(instruction)).toBe(false);
  });
});

describe("vectors", () => {
  it("are told from strings of the same name", () => {
    expect(lifted("a5")).toContain("store 4 [rdi] = t1");
    expect(lifted("66 0f 6f c1")).toEqual(["xmm0 = xmm1"]);
  });
});

describe("what is not supported", () => {
  it("is named and not covered", () => {
    expect(lifted("d9 c1")).toEqual(["unsupported: fld is not supported"]);
    expect(lifted("c5 fc 28 c1")).toEqual(["unsupported: vmovaps is not supported"]);
    expect(isCovered(decoded("d9 c1"))).toBe(false);
    expect(isCovered(decoded("0f a2"))).toBe(true);
    expect(isCovered(decoded("90"))).toBe(true);
  });
});
