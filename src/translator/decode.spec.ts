import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import { INVALID, InstructionDecoder, isDecodeFailure } from "./decode.js";
import type { Instruction, MemoryOperand } from "./instruction.js";

const BASE = -0x7f000000 as GuestAddress;
const decoder = new InstructionDecoder();

const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/\S+/g) ?? [], (byte) => Number.parseInt(byte, 16));

function decode(hex: string, address = BASE): Instruction {
  const bytes = bytesOf(hex);
  const decoded = decoder.decode(bytes, 0, bytes.length, address);
  if (isDecodeFailure(decoded)) throw new Error(`${hex}: ${decoded.failure}`);
  return decoded;
}

const failure = (hex: string): string => {
  const bytes = bytesOf(hex);
  const decoded = decoder.decode(bytes, 0, bytes.length, BASE);
  return isDecodeFailure(decoded) ? decoded.failure : decoded.mnemonic;
};

const memory = (hex: string, operand = 1): MemoryOperand => {
  const found = decode(hex).operands[operand];
  if (found?.kind !== "memory") throw new Error(`${hex}: no memory operand`);
  return found;
};

const plain = {
  kind: "memory",
  base: -1,
  index: -1,
  scale: 1,
  displacement: 0n,
  segment: "none",
  short: false,
  bytes: 4,
};

describe("registers and immediates", () => {
  it("tells parts of registers apart", () => {
    expect(decode("88 e3").operands).toEqual([
      { kind: "register", register: 3, width: 1, high: false },
      { kind: "register", register: 0, width: 1, high: true },
    ]);
    expect(decode("40 88 e3").operands[1]).toEqual({ kind: "register", register: 4, width: 1, high: false });
    expect(decode("66 45 01 f9").operands).toEqual([
      { kind: "register", register: 9, width: 2, high: false },
      { kind: "register", register: 15, width: 2, high: false },
    ]);
    expect(decode("66 44 0f 6f fa").operands).toEqual([
      { kind: "vector", register: 15 },
      { kind: "vector", register: 2 },
    ]);
    expect(decode("0f 20 d8").operands[1]).toMatchObject({ kind: "special" });
    expect(decode("0f 6f c1").operands[0]).toMatchObject({ kind: "special" });
    expect(decode("c5 fc 28 c1").operands[0]).toMatchObject({ kind: "special" });
  });

  it("extends immediates with their sign", () => {
    const value = (hex: string) => decode(hex).operands.at(-1);
    expect(value("48 83 c0 80")).toEqual({ kind: "immediate", value: -128n });
    expect(value("83 c0 ff")).toEqual({ kind: "immediate", value: -1n });
    expect(value("05 00 00 00 80")).toEqual({ kind: "immediate", value: -0x80000000n });
    expect(value("48 05 fe ff ff ff")).toEqual({ kind: "immediate", value: -2n });
    expect(value("66 05 34 f2")).toEqual({ kind: "immediate", value: -0xdccn });
    expect(value("48 b8 01 02 03 04 05 06 07 88")).toEqual({ kind: "immediate", value: -0x77f8f9fafbfcfdffn });
  });

  it("does not extend single bytes that the instruction does not extend", () => {
    expect(decode("c1 e0 ff").operands[1]).toEqual({ kind: "immediate", value: 255n });
  });
});

describe("memory operands", () => {
  it("has base, index, scale and a signed displacement", () => {
    expect(memory("42 8b 44 b3 80")).toEqual({ ...plain, base: 3, index: 14, scale: 4, displacement: -128n });
    expect(memory("8b 04 24")).toEqual({ ...plain, base: 4 });
    expect(memory("8b 04 25 00 00 00 80")).toEqual({ ...plain, displacement: -0x80000000n });
    expect(memory("48 a1 11 22 33 44 55 66 77 88").displacement).toBe(BigInt.asIntN(64, 0x8877665544332211n));
  });

  it("adds up addresses relative to RIP", () => {
    expect(memory("48 8b 05 f0 ff ff ff")).toEqual({ ...plain, displacement: -0x7f000009n, bytes: 8 });
  });

  it("knows segments with a base", () => {
    expect(memory("65 48 8b 04 25 28 00 00 00")).toMatchObject({ segment: "gs", displacement: 0x28n });
    expect(memory("64 8b 00").segment).toBe("fs");
    expect(memory("2e 8b 00").segment).toBe("none");
  });

  it("knows addresses of 32 bits", () => {
    expect(memory("67 8b 40 f8")).toEqual({ ...plain, base: 0, displacement: -8n, short: true });
    expect(memory("67 8b 04 c5 10 00 00 00")).toEqual({ ...plain, index: 0, scale: 8, displacement: 16n, short: true });
    expect(memory("67 a1 00 00 00 80")).toMatchObject({ base: -1, short: true });
    expect(memory("67 8b 05 10 00 00 00")).toMatchObject({ base: -1, displacement: -0x7effffe9n, short: true });
    expect(memory("8b 00").short).toBe(false);
  });

  it("shows the operands of string instructions", () => {
    expect(decode("65 f3 a5")).toMatchObject({ mnemonic: "movsd", rep: true, repne: false });
    expect(decode("65 f3 a5").operands).toEqual([
      { ...plain, base: 7 },
      { ...plain, base: 6, segment: "gs" },
    ]);
    expect(decode("67 f2 ae").operands[1]).toEqual({ ...plain, base: 7, short: true, bytes: 1 });
    expect(decode("67 f2 ae").repne).toBe(true);
  });

  it("says how much is accessed", () => {
    expect(memory("48 8d 00").bytes).toBe(0);
    expect(memory("48 0f c7 08", 0).bytes).toBe(16);
    expect(memory("48 63 00").bytes).toBe(4);
    expect(memory("f3 0f 10 00").bytes).toBe(4);
  });
});

describe("mnemonics", () => {
  it("names conditions", () => {
    expect(decode("0f 45 c1")).toMatchObject({ mnemonic: "cmovne", condition: "ne" });
    expect(decode("0f 9c c0")).toMatchObject({ mnemonic: "setl", condition: "l" });
    expect(decode("eb fe")).toMatchObject({ mnemonic: "jmp", condition: null });
    expect(decode("76 fe")).toMatchObject({ condition: "be", operands: [{ kind: "branch", target: BASE }] });
  });

  it("tells widths and kinds that no operand shows", () => {
    const names = [
      "6a 00",
      "66 6a 00",
      "66 9c",
      "9c",
      "66 c9",
      "66 c8 00 00 00",
      "67 e2 fe",
      "e2 fe",
      "ff 28",
      "ff 20",
    ];
    expect(names.map((hex) => decode(hex).mnemonic).join(" ")).toBe(
      "push pushw pushf pushfq leavew enterw loopd loop jmpf jmp",
    );
  });

  it("keeps prefixes", () => {
    expect(decode("f0 01 00").lock).toBe(true);
    expect(decode("01 00").lock).toBe(false);
  });

  it("prints on demand, other instructions decoded in between", () => {
    const first = decode("48 8d 44 8f fe");
    decode("90");
    expect(first.text()).toBe("lea rax,[rdi+rcx*4-2]");
  });
});

describe("failures", () => {
  it("distinguishes truncated from invalid", () => {
    expect(failure("48 8b")).toBe("truncated");
    expect(failure("66")).toBe("truncated");
    expect(failure("66 0f")).toBe("truncated");
    expect(failure("f0 01")).toBe("truncated");
    expect(failure("06")).toBe("invalid opcode");
    expect(failure("f0 90")).toBe("invalid opcode");
    expect(failure("f0 01 c0")).toBe("invalid opcode");
    expect(failure(`${"66 ".repeat(15)}90`)).toBe("invalid opcode");
  });

  it("reads no further than it may", () => {
    const bytes = bytesOf("90 48 8b 00 90");
    expect(decoder.decode(bytes, 1, 2, BASE)).toEqual({ failure: "truncated" });
    expect(decoder.decode(bytes, 1, 3, BASE)).toMatchObject({ mnemonic: "mov", length: 3 });
  });
});

describe("runs", () => {
  it("decodes to the last whole instruction", () => {
    const run = decoder.decodeRun(bytesOf("cc 90 48 89 c3 06 c3 48 8b"), 1, 8, BASE);
    expect(run.map(({ mnemonic }) => mnemonic)).toEqual(["nop", "mov", INVALID, "ret"]);
    expect(run.map(({ address }) => address - BASE)).toEqual([0, 1, 4, 5]);
    expect(run[1]?.text()).toBe("mov rbx,rax");
  });

  it("crosses from the top of memory to its bottom only in name", () => {
    const run = decoder.decodeRun(bytesOf("eb fe"), 0, 2, -2 as GuestAddress);
    expect(run[0]).toMatchObject({ address: -2, operands: [{ kind: "branch", target: -2 }] });
  });
});
