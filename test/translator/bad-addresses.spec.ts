import { afterAll, describe, expect, it } from "vitest";
import type { Stop } from "../../src/translator/runtime.js";
import type { Sandbox } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { EVERY_CHECK, PLAIN, STEPWISE, sandboxOf } from "./programs/guest.js";
import { assembled, generalRegisters } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

interface Access {
  readonly name: string;
  readonly kind: "read" | "write";
  readonly bytes: number;
  readonly instruction: (operand: string) => string;
}

const SIZES = { 1: ["byte", "al"], 2: ["word", "ax"], 4: ["dword", "eax"], 8: ["qword", "rax"] } as const;
const ACCESSES: readonly Access[] = [
  ...Object.entries(SIZES).flatMap(([text, [size, register]]): Access[] => {
    const bytes = Number(text);
    return [
      { name: `load${bytes}`, kind: "read", bytes, instruction: (at) => `mov ${register}, ${size} ptr ${at}` },
      { name: `store${bytes}`, kind: "write", bytes, instruction: (at) => `mov ${size} ptr ${at}, ${register}` },
      { name: `change${bytes}`, kind: "write", bytes, instruction: (at) => `add ${size} ptr ${at}, ${register}` },
      {
        name: `exchange${bytes}`,
        kind: "write",
        bytes,
        instruction: (at) => `lock xadd ${size} ptr ${at}, ${register}`,
      },
    ];
  }),
  { name: "load16", kind: "read", bytes: 16, instruction: (at) => `movdqu xmm0, ${at}` },
  { name: "store16", kind: "write", bytes: 16, instruction: (at) => `movdqu ${at}, xmm0` },
];

const DISPLACEMENTS = [0, 8, -8, 4095, 32751, 32767, -32767, 32768, 0x7fffffff, -0x80000000];
/** How base (rdi), index (rsi) and displacement make the address; rsi is a small number. */
const FORMS: readonly {
  readonly name: string;
  readonly text: (d: number) => string;
  readonly sum: (base: bigint, index: bigint) => bigint;
}[] = [
  { name: "base", text: (d) => `[rdi + ${d}]`, sum: (base) => base },
  { name: "sum", text: (d) => `[rdi + rsi + ${d}]`, sum: (base, index) => base + index },
  { name: "scaled", text: (d) => `[rdi + rsi * 8 + ${d}]`, sum: (base, index) => base + 8n * index },
  { name: "moved", text: (d) => `[rdx + ${d}]`, sum: (base) => base + 0x100n },
];
const INDEX = 3n;

const functions: Record<string, string> = {};
for (const access of ACCESSES) {
  for (const form of FORMS) {
    for (const displacement of DISPLACEMENTS) {
      const before = form.name === "moved" ? "lea rdx, [rdi + 0x100]\n" : "";
      const body = `${before}${access.instruction(form.text(displacement))}\nret`;
      functions[nameOf(access, form.name, displacement)] = body;
    }
  }
}

function nameOf(access: Access, form: string, displacement: number): string {
  return `${access.name}_${form}_${displacement < 0 ? "m" : "p"}${Math.abs(displacement)}`;
}

const POINTERS: Readonly<Record<string, readonly bigint[]>> = {
  "error pointers": [-4095n, -4094n, -2048n, -17n, -16n, -8n, -7n, -4n, -2n, -1n],
  "null and small": [0n, 1n, 7n, 8n, 4080n, 4095n, 4096n, 32767n, 32768n],
  "beyond the canonical": [0x8000_0000_0000n, 0xffff_7fff_ffff_ffffn, 0x0123_4567_89ab_cdefn, 0x8000_0000_0000_0000n],
  "far away": [
    0x1_0000_0000n,
    0x7fff_ffff_f000n,
    0xffff_8000_0000_0000n,
    0xffff_ffff_0000_0000n,
    0x7fff_ffffn,
    0x8000_0000n,
  ],
};
const VARIANTS = [PLAIN, EVERY_CHECK, STEPWISE];
const MARK = 0x1122_3344_5566_7788n;

/** Calls a function with marks in all registers that it does not use. */
function attempt(sandbox: Sandbox, address: GuestAddress, base: bigint): Stop {
  for (let i = 0; i < 16; i++) if (i !== 4) sandbox.cpu.setGeneral(i, MARK + BigInt(i));
  return sandbox.callAt(address, [base, INDEX]);
}

describe.skipIf(!isInstalled("gcc"))("Addresses that nothing is at", () => {
  const object = assembled(workshop, functions);
  for (const space of ["high", "low"] as const) {
    for (const variant of VARIANTS) {
      it(`${space} space, ${variant.name}: each access says what it did, with the registers as before`, () => {
        const sandbox = sandboxOf(variant, { space });
        sandbox.load(object);
        for (const access of ACCESSES) {
          for (const form of FORMS) {
            for (const displacement of DISPLACEMENTS) {
              const name = nameOf(access, form.name, displacement);
              const start = sandbox.symbol(name);
              for (const base of Object.values(POINTERS).flat()) {
                const stop = attempt(sandbox, start, base);
                const address = BigInt.asUintN(64, form.sum(base, INDEX) + BigInt(displacement));
                if (stop.kind !== "fault") throw new Error(`${name}(${base}): ${stop.kind}`);
                const { rule, ...rest } = stop.fault;
                expect(rest, `${name}(${base})`).toEqual({ address, access: access.kind, size: access.bytes });
                const moved = form.name === "moved";
                expect(sandbox.cpu.ripAddress, name).toBe(start + (moved ? 7 : 0));
                const registers = generalRegisters(sandbox);
                const expected = registers.map((_, i) => MARK + BigInt(i));
                expected[7] = BigInt.asUintN(64, base);
                expected[6] = INDEX;
                expected[4] = registers[4];
                if (moved) expected[2] = BigInt.asUintN(64, base + 0x100n);
                if (registers.some((value, i) => value !== expected[i])) expect(registers, name).toEqual(expected);
              }
            }
          }
        }
      });
    }
  }

  it("names null, error pointers, user space and what is not canonical", () => {
    const sandboxes = { high: sandboxOf(STEPWISE, { space: "high" }), low: sandboxOf(STEPWISE, { space: "low" }) };
    for (const sandbox of Object.values(sandboxes)) sandbox.load(object);
    const rules = (space: "high" | "low", base: bigint): string => {
      const stop = attempt(sandboxes[space], sandboxes[space].symbol("load8_base_p8"), base);
      return stop.kind === "fault" ? stop.fault.rule : stop.kind;
    };
    expect(rules("high", 0n)).toBe("null-pointer");
    expect(rules("high", -12n)).toBe("error-pointer");
    expect(rules("high", -4095n - 0x1000n)).toBe("error-pointer");
    expect(rules("high", 0x40_0000n)).toBe("user-space-address");
    expect(rules("high", 0x7fff_ffff_f000n)).toBe("user-space-address");
    expect(rules("high", 0x8000_0000_0000n)).toBe("non-canonical-address");
    expect(rules("high", -0x2000_0000n)).toBe("unmapped");
    expect(rules("low", 0n)).toBe("null-pointer");
    expect(rules("low", -12n)).toBe("error-pointer");
    expect(rules("low", 0xdead_0000_0000_0000n)).toBe("non-canonical-address");
    expect(rules("low", 0x1234_5678n)).toBe("unmapped");
  });
});
