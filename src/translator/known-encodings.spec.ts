import { expect, test } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import { Decoded, InstructionDecoder } from "./decode.js";
import { effectsOf } from "./flow/effects.js";
import { KNOWN_ENCODINGS } from "./known-encodings.js";
import { lift } from "./lift/index.js";

const ENCODINGS = {
  "mov rax, [rbx+8]": [0x48, 0x8b, 0x43, 0x08],
  "mov eax, [rip+0x11223344]": [0x8b, 0x05, 0x44, 0x33, 0x22, 0x11],
  "lea rdi, [rip-1]": [0x48, 0x8d, 0x3d, 0xff, 0xff, 0xff, 0xff],
  "call rel32": [0xe8, 0x10, 0x20, 0x00, 0x00],
  "call [rax]": [0xff, 0x10],
  "jmp rel32": [0xe9, 0xf0, 0xff, 0xff, 0xff],
  "jmp rel8": [0xeb, 0xfe],
  "je rel8": [0x74, 0x80],
  "ja rel32": [0x0f, 0x87, 0x00, 0x01, 0x00, 0x00],
  "loop rel8": [0xe2, 0x05],
  "bnd jmp rel32": [0xf2, 0xe9, 0x01, 0x00, 0x00, 0x00],
  ret: [0xc3],
  "lock cmpxchg [rdi], rsi": [0xf0, 0x48, 0x0f, 0xb1, 0x37],
  "mov rax, cr3": [0x0f, 0x20, 0xd8],
  "fnop, unsupported": [0xd9, 0xd0],
} as const;

const ADDRESSES = [0x401000, 0x7ffe1234, -0x40000000, -0x7f000003] as GuestAddress[];

test.each(Object.entries(ENCODINGS))("%s means the same as when it is decoded where it stands", (_, bytes) => {
  const decoder = new InstructionDecoder();
  const code = new Uint8Array(32).fill(0xcc);
  code.set(bytes, 5);
  for (const address of ADDRESSES) {
    const expected = decoder.decode(code, 5, 15, address);
    if (!(expected instanceof Decoded)) throw new Error("these are instructions");
    const found = KNOWN_ENCODINGS.find(code, 5, 20, address) ?? KNOWN_ENCODINGS.learn(expected, code, 5);
    const { instruction, steps, effects } = found;
    for (const name of ["address", "length", "mnemonic", "operands", "rep", "repne", "lock", "condition"] as const) {
      expect(instruction[name]).toEqual(expected[name]);
    }
    expect(instruction.text()).toBe(expected.text());
    expect(steps).toEqual(lift(expected));
    expect(effects).toEqual(effectsOf(lift(expected)));
  }
});

test("a distance is read anew where the same opcode stands again", () => {
  const decoder = new InstructionDecoder();
  const learnt = Uint8Array.of(0x75, 0x10);
  const decoded = decoder.decode(learnt, 0, 2, 0x1000 as GuestAddress);
  if (!(decoded instanceof Decoded)) throw new Error("this is an instruction");
  KNOWN_ENCODINGS.learn(decoded, learnt, 0);
  const found = KNOWN_ENCODINGS.find(Uint8Array.of(0x75, 0xf0), 0, 2, 0x2000 as GuestAddress);
  expect(found?.instruction.operands).toEqual([{ kind: "branch", target: 0x1ff2 }]);
  expect(found?.instruction.text()).toContain("1FF2");
});

test("an encoding that is cut off is not found", () => {
  const decoder = new InstructionDecoder();
  const bytes = Uint8Array.of(0x0f, 0x8f, 1, 2, 3, 0);
  const decoded = decoder.decode(bytes, 0, 6, 0x1000 as GuestAddress);
  if (!(decoded instanceof Decoded)) throw new Error("this is an instruction");
  KNOWN_ENCODINGS.learn(decoded, bytes, 0);
  expect(KNOWN_ENCODINGS.find(bytes, 0, 6, 0x1000 as GuestAddress)).not.toBeNull();
  for (const end of [1, 2, 5]) expect(KNOWN_ENCODINGS.find(bytes, 0, end, 0x1000 as GuestAddress)).toBeNull();
});
