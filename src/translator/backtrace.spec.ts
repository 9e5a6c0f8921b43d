import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import { formatFrame } from "./backtrace.js";
import { Sandbox } from "./sandbox.js";

const CODE = 0x1000_0000 as GuestAddress;
const at = (offset: number): GuestAddress => (CODE + offset) as GuestAddress;

/**
 * outer (0): call middle; ret. middle (0x10): push 0; call last; and nothing after it, as last does not return.
 * other (0x1a): call last. last (0x20): ud2. pointer (0x30): call rdi; ret.
 */
const BYTES: Readonly<Record<number, string>> = {
  0: "e8 0b 00 00 00 c3",
  16: "6a 00 e8 09 00 00 00",
  26: "e8 01 00 00 00 c3",
  32: "0f 0b",
  48: "ff d7 c3",
};

function sandbox(): Sandbox {
  const made = Sandbox.create({ space: "low" });
  made.map(CODE, 4096, { read: true, write: false, execute: true });
  for (const [offset, hex] of Object.entries(BYTES)) {
    made.write(
      at(Number(offset)),
      Uint8Array.from(hex.split(" "), (byte) => Number.parseInt(byte, 16)),
    );
  }
  made.code.addFunctions([
    { name: "outer", address: at(0), size: 6 },
    { name: "middle", address: at(16), size: 7 },
    { name: "next", address: at(23), size: 1 },
    { name: "other", address: at(26), size: 6 },
    { name: "last", address: at(32), size: 2 },
    { name: "pointer", address: at(48), size: 3 },
  ]);
  return made;
}

describe("A back-trace", () => {
  it("names each caller, also one that ends with its call", () => {
    const made = sandbox();
    expect(made.callAt(at(0)).kind).toBe("trap");
    expect(made.backtrace().map(formatFrame)).toEqual(["last+0x0/0x2", "middle+0x7/0x7", "outer+0x5/0x6"]);
  });

  it("passes over words that only look like return addresses", () => {
    const made = sandbox();
    // An argument that points behind the call in `other`, on the stack above the frame of `outer`.
    made.setRegister("rip", BigInt(at(32)));
    const stack = made.allocate(64, "stack");
    const words = [at(31), at(23), at(3), at(5), 77].map(BigInt);
    made.write(stack, new Uint8Array(new BigInt64Array(words).buffer));
    made.setRegister("rsp", BigInt(stack));
    expect(made.backtrace().map(formatFrame)).toEqual(["last+0x0/0x2", "other+0x5/0x6"]);
    made.setRegister("rsp", BigInt(stack + 8));
    expect(made.backtrace().map(formatFrame)).toEqual(["last+0x0/0x2", "middle+0x7/0x7", "outer+0x5/0x6"]);
  });

  it("goes through calls whose target nobody can tell", () => {
    const made = sandbox();
    made.callAt(at(48), [BigInt(at(16))]);
    expect(made.backtrace().map(formatFrame)).toEqual(["last+0x0/0x2", "middle+0x7/0x7", "pointer+0x2/0x3"]);
  });

  it("is only where execution is, if there is no stack", () => {
    const made = sandbox();
    made.setRegister("rip", 0x1234_5678n);
    made.setRegister("rsp", 0xffff_ffff_ffff_fff0n);
    expect(made.backtrace().map(formatFrame)).toEqual(["0x0000000012345678"]);
  });
});
