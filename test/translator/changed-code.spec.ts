import { afterAll, describe, expect, it } from "vitest";
import type { Sandbox } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, PLAIN, sandboxOf } from "./programs/guest.js";
import { assembled, compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const EVERYTHING = { read: true, write: true, execute: true };
const AREA = 0x2000_0000 as GuestAddress;
const at = (offset: number): GuestAddress => (AREA + offset) as GuestAddress;
const bytes = (hex: string): Uint8Array => Uint8Array.from(hex.split(" "), (byte) => Number.parseInt(byte, 16));
const RETURN_EAX = (n: number): Uint8Array => bytes(`b8 ${n.toString(16).padStart(2, "0")} 00 00 00 c3`);

describe.skipIf(!isInstalled("gcc"))("Code that changes", () => {
  const caller = assembled(workshop, {
    calls: "call rdi\nadd eax, 1000\nret",
    writes: "mov [rdi], rsi\ncall rdi\nret",
    // Calls, changes the byte at +1 of what it calls, and calls again, n times.
    counts:
      "push rbx\npush r12\npush r13\nmov rbx, rdi\nmov r12, rsi\nxor r13d, r13d\n1: call rbx\nadd r13, rax\ninc byte ptr [rbx + 1]\ndec r12\njnz 1b\nmov rax, r13\npop r13\npop r12\npop rbx\nret",
  });
  const withArea = (variant: (typeof CHECKED)[number]): Sandbox => {
    const sandbox = sandboxOf(variant);
    sandbox.load(caller);
    sandbox.map(AREA, 0x3000, EVERYTHING, "area");
    return sandbox;
  };

  describe.each(CHECKED)("$name", (variant) => {
    it("is noticed when the host writes it", () => {
      const sandbox = withArea(variant);
      for (let n = 1; n < 20; n++) {
        sandbox.write(AREA, RETURN_EAX(n));
        for (let i = 0; i < 5; i++) expect(sandbox.call("calls", [BigInt(AREA)])).toBe(1000n + BigInt(n));
      }
    });

    it("is noticed when the guest writes it, before it ran and after", () => {
      const sandbox = withArea(variant);
      for (let n = 0n; n < 20n; n++) {
        const code = 0xb8n | (n << 8n);
        expect(sandbox.call("writes", [BigInt(AREA), code | (0xc3n << 40n)])).toBe(n);
        expect(sandbox.call("calls", [BigInt(AREA)])).toBe(1000n + n);
      }
      sandbox.write(AREA, RETURN_EAX(5));
      expect(sandbox.call("counts", [BigInt(AREA), 30n])).toBe((30n * (5n + 34n)) / 2n);
    });

    it("is noticed within the very block that changes it", () => {
      const sandbox = withArea(variant);
      // mov byte [rip+1], 7 (the immediate of the mov that follows); mov eax, 1; ret
      const code = bytes("c6 05 01 00 00 00 07 b8 01 00 00 00 c3");
      for (let i = 0; i < 6; i++) {
        sandbox.write(AREA, code);
        expect(sandbox.call("calls", [BigInt(AREA)])).toBe(1007n);
      }
      // A loop whose body adds more in each turn: add eax, 1; inc byte [rip - 7]; dec edi; jnz; ret.
      sandbox.write(at(0x100), bytes("31 c0 83 c0 01 fe 05 f9 ff ff ff ff cf 75 f3 c3"));
      expect(sandbox.call(at(0x100), [40n])).toBe(820n);
    });

    it("is noticed where an instruction crosses into the changed page", () => {
      const sandbox = withArea(variant);
      const start = at(0x1000 - 3);
      sandbox.write(start, RETURN_EAX(0));
      for (let n = 1; n < 6; n++) {
        sandbox.write(at(0x1000), Uint8Array.of(n));
        expect(sandbox.call("calls", [BigInt(start)])).toBe(1000n + (BigInt(n) << 16n));
      }
    });

    it("stays fast and right when data on its page changes", () => {
      const sandbox = withArea(variant);
      // inc dword [rip + 0x1f6] (data at +0x200); mov eax, [rip + 0x1f2]; ret
      sandbox.write(AREA, bytes("ff 05 fa 01 00 00 8b 05 f4 01 00 00 c3"));
      for (let i = 1n; i <= 300n; i++) expect(sandbox.call(AREA)).toBe(i);
      expect(sandbox.statistics.regions).toBeLessThan(10);
    });

    it("cannot be executed any more when it is unmapped or protected, also while it runs", () => {
      const sandbox = withArea(variant);
      sandbox.write(AREA, RETURN_EAX(3));
      for (let i = 0; i < 5; i++) expect(sandbox.call("calls", [BigInt(AREA)])).toBe(1003n);
      sandbox.protect(AREA, 0x1000, { read: true, write: true, execute: false });
      const refused = sandbox.callAt(sandbox.symbol("calls"), [BigInt(AREA)]);
      expect(refused).toMatchObject({
        kind: "fault",
        fault: { rule: "execute-data", address: BigInt(AREA), access: "execute" },
      });
      sandbox.protect(AREA, 0x1000, EVERYTHING);
      expect(sandbox.call("calls", [BigInt(AREA)])).toBe(1003n);
      sandbox.unmap(at(0x0), 0x3000);
      expect(sandbox.callAt(sandbox.symbol("calls"), [BigInt(AREA)])).toMatchObject({
        kind: "fault",
        fault: { rule: "unmapped" },
      });
      sandbox.map(AREA, 0x1000, EVERYTHING);
      sandbox.write(AREA, RETURN_EAX(9));
      expect(sandbox.call("calls", [BigInt(AREA)])).toBe(1009n);
    });

    it("may be a table of jumps that its owner writes to", () => {
      const sandbox = sandboxOf(variant);
      const start = "cmp edi, 3\nja 9f\nmov edi, edi\n";
      const jumps = "jmp [table + rdi * 8]\n1: mov eax, 11\nret\n2: mov eax, 12\nret\n9: mov eax, 99\nret";
      const table = ".section .rodata\n.balign 8\n.globl table\ntable: .quad 1b, 2b, 1b, 2b\n.text";
      sandbox.load(assembled(workshop, { jumper: `${start}${jumps}\n${table}` }));
      const results = (): bigint[] => [0n, 1n, 2n, 3n, 4n].map((n) => sandbox.call("jumper", [n]));
      for (let i = 0; i < 3; i++) expect(results()).toEqual([11n, 12n, 11n, 12n, 99n]);
      const at = sandbox.symbol("table");
      const [one, two] = [sandbox.read(at, 8), sandbox.read((at + 8) as GuestAddress, 8)];
      sandbox.write(at, two);
      sandbox.write((at + 8) as GuestAddress, one);
      for (let i = 0; i < 3; i++) expect(results()).toEqual([12n, 11n, 11n, 12n, 99n]);
    });

    it("is watched again when poison is taken off it", () => {
      const sandbox = withArea(variant);
      sandbox.write(AREA, RETURN_EAX(1));
      for (let i = 0; i < 4; i++) expect(sandbox.call("calls", [BigInt(AREA)])).toBe(1001n);
      sandbox.poison(at(8), 8, "no-access");
      sandbox.poison(AREA, 0x1000, null);
      expect(sandbox.call("counts", [BigInt(AREA), 4n])).toBe(10n);
    });

    it("patches text under a hook that waits in it", () => {
      const sandbox = sandboxOf(variant);
      sandbox.load(
        compiled(
          workshop,
          'long inner(long x) { return x + 1; } __attribute__((noinline)) long f(long n) { long s = 0; while (n--) { s += inner(n); asm volatile("" ::: "memory"); } return s; }',
          "-O1",
          "-fno-inline",
        ),
      );
      const inner = sandbox.symbol("inner");
      const original = sandbox.read(inner, 6);
      sandbox.observe("inner", ({ argument }) => {
        // From now on: mov eax, 50; ret.
        if (argument(0) === 10n) sandbox.write(inner, RETURN_EAX(50));
      });
      // 12 to 20 for n = 19 to 11, then 11 times 50.
      expect(sandbox.call("f", [20n])).toBe(144n + 550n);
      sandbox.write(inner, original);
      expect(sandbox.call("f", [5n])).toBe(15n);
    });
  });

  it("may come late, call what was there and be called by it", () => {
    const sandbox = sandboxOf(PLAIN);
    sandbox.load(
      compiled(
        workshop,
        "long base(long x) { return x * 2; } long (*late)(long); long use(long x) { return late ? late(x) : -1; }",
        "-O2",
      ),
    );
    expect(sandbox.call("use", [4n])).toBe(0xffff_ffff_ffff_ffffn);
    const resolve = (name: string): GuestAddress | null => (name === "base" ? sandbox.symbol("base") : null);
    const text =
      "extern long base(long); long module(long x) { return base(x) + 100; } long local(long x) { return module(x) + 1; }";
    sandbox.load(compiled(workshop, text, "-O2", "-fno-inline"), "module", resolve);
    const late = new DataView(new ArrayBuffer(8));
    late.setBigInt64(0, BigInt(sandbox.symbol("local")), true);
    sandbox.write(sandbox.symbol("late"), new Uint8Array(late.buffer));
    expect(sandbox.call("use", [4n])).toBe(109n);
    expect(sandbox.objects.map(({ name }) => name)).toEqual(["object", "module"]);
  });

  it("is translated all at once if that is wanted", () => {
    const sandbox = sandboxOf(PLAIN);
    sandbox.load(
      compiled(
        workshop,
        "int a(int x) { return x + 1; } int b(int x) { return a(x) * 2; } int c(int x) { return b(x) - a(x); }",
        "-O2",
        "-fno-inline",
      ),
    );
    sandbox.observe("b", () => {});
    const { guestBytes, wasmBytes } = sandbox.translateAll();
    expect(guestBytes).toBeGreaterThan(10);
    expect(wasmBytes).toBeGreaterThan(guestBytes);
    expect(sandbox.translateAll()).toEqual({ guestBytes: 0, wasmBytes: 0 });
    expect(sandbox.call("c", [10n])).toBe(11n);
  });
});
