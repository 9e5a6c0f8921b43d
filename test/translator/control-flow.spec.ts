import { afterAll, describe, expect, it } from "vitest";
import type { Sandbox } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, COUNTED, PLAIN, SLICED, STEPWISE, sandboxOf, UNCHECKED, type Variant } from "./programs/guest.js";
import { assembled, compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const VARIANTS = [...CHECKED, UNCHECKED];

const SWITCHES = `
typedef unsigned long u64;
u64 dense(u64 x) {
  switch (x) { case 0: return 7; case 1: x *= 3; case 2: x += 11; break; case 3: return x << 5; case 4: x ^= 0xff; break; case 5: return ~x;
    case 6: x = x * x; break; case 7: return 1; case 9: x -= 100; break; case 10: return x / 3; default: return x + 1000; }
  return x * 2;
}
u64 loops(u64 n) { u64 s = 0; for (u64 i = 0; i < n; i++) switch (i % 13) { case 0: s += 1; break; case 1: continue; case 2: s *= 3; break; case 3: s ^= i; break;
    case 4: s -= 5; break; case 5: s += s >> 3; break; case 6: if (s & 1) break; s++; break; case 7: s = s << 1 | s >> 63; break; case 8: goto out; default: s += i; out: s += 2; } return s; }
`;

/** What gcc does not write, but people do. */
const ODD = {
  // A loop with two entries.
  irreducible: "xor eax, eax\ntest rdi, 1\njnz 2f\n1: add rax, 3\n2: add rax, rdi\ndec rdi\njg 1b\nret",
  // Two loops that share their blocks, each entered from outside.
  crossed: `xor eax, eax
    test rdi, 2
    jz 3f
  1: add rax, 5
    dec rdi
    js 9f
    test rdi, 1
    jz 3f
  2: add rax, 7
    dec rdi
    js 9f
    test rdi, 4
    jnz 1b
  3: add rax, 11
    dec rdi
    js 9f
    test rdi, 2
    jz 2b
    jmp 1b
  9: ret`,
  // Into the middle of the mov: its immediate is `inc eax; ret`.
  hidden: "lea rdx, [rip + 1f + 1]\nmov eax, 40\njmp rdx\n1: mov ebx, 0x90c3c0ff\nret",
  overlapping: "mov eax, 5\n.byte 0xeb, 0xff, 0xc0\nret", // jmp into its own last byte: inc eax
  // Into the middle of another function, and out of it again.
  middle: "mov eax, 1\nlea rdx, [rip + irreducible + 13]\nxor ecx, ecx\njmp rdx",
  // Returns to its caller's caller.
  skips: "call skipper\nadd rax, 1000\nret",
  skipper: "mov eax, 3\nadd rsp, 8\nret",
  // Returns elsewhere than to where it was called from.
  moved: "call mover\nmov eax, 1\nret\nmov eax, 2\nret",
  mover: "add qword ptr [rsp], 6\nret",
  // Pushes an address and returns to it.
  pushed: "lea rax, [rip + 1f]\npush rax\nmov eax, 4\nret\n1: add eax, 5\nret",
  // A stack of its own, given by rdi.
  switches:
    "push rbx\nmov rbx, rsp\nmov rsp, rdi\npush 7\ncall onOther\npop rcx\nadd rax, rcx\nmov rsp, rbx\npop rbx\nret",
  onOther: "push 30\nmov rax, [rsp + 16]\nadd rax, [rsp]\nadd rsp, 8\nret",
  // setjmp and longjmp, as they are written everywhere: rdi has the buffer.
  save: "mov [rdi], rbx\nmov [rdi + 8], rbp\nmov [rdi + 16], r12\nlea rdx, [rsp + 8]\nmov [rdi + 24], rdx\nmov rdx, [rsp]\nmov [rdi + 32], rdx\nxor eax, eax\nret",
  jump: "mov eax, esi\nmov rbx, [rdi]\nmov rbp, [rdi + 8]\nmov r12, [rdi + 16]\nmov rsp, [rdi + 24]\njmp [rdi + 32]",
  nested: "test rsi, rsi\njz 1f\ndec rsi\ncall nested\nud2\n1: mov esi, 42\njmp jump",
  tries:
    "push rbx\npush r12\nsub rsp, 8\nmov rbx, rdi\nmov r12, rsi\ncall save\ntest eax, eax\njnz 1f\nmov rdi, rbx\nmov rsi, r12\ncall nested\nud2\n1: add eax, r12d\nadd rsp, 8\npop r12\npop rbx\nret",
  // Mutual tail recursion, and one through a register.
  even: "test rdi, rdi\njz 1f\ndec rdi\njmp odd\n1: mov eax, 1\nret",
  odd: "test rdi, rdi\njz 1f\ndec rdi\nlea rdx, [rip + even]\njmp rdx\n1: xor eax, eax\nret",
  // The part of a function that gcc keeps elsewhere.
  hot: "test edi, edi\njs hot.cold\n77: lea eax, [rdi + 1]\nret",
  "hot.cold": "neg edi\ncmp edi, 5\njg 1f\nmov eax, 99\nret\n1: mov eax, edi\njmp 77b",
  // Flags that are set before a long string instruction, and read after it.
  flagged: "xor edx, edx\ncmp rsi, 5\nmov ecx, 200\nrep stosb\nsete dl\nsetb dh\nmov eax, edx\nret",
  // A callee that saves a register, called by one that returns early instead.
  keeps: "push rbx\nmovabs rbx, 0x5851f42d4c957f2d\ncall early\nmov rax, rbx\npop rbx\nret",
  early: "test edi, edi\njs 1f\ncall saves\n1: ret",
  saves: "push rbx\nmov ebx, edi\n2: sub ebx, 1\nje 3f\njmp 2b\n3: pop rbx\nret",
  retImmediate: "push rdi\npush rdi\ncall popper\nret",
  popper: "mov rax, [rsp + 8]\nadd rax, [rsp + 16]\nret 16",
};

describe.skipIf(!isInstalled("gcc"))("Control flow", () => {
  const odd = assembled(workshop, ODD, ".globl hot.cold");
  const loaded = (variant: Variant, object = odd, options = {}): Sandbox => {
    const sandbox = sandboxOf(variant, options);
    sandbox.load(object);
    return sandbox;
  };

  for (const flags of [
    ["-O2", "-fno-pic"],
    ["-O2", "-fPIC"],
    ["-O1", "-fcf-protection"],
    ["-O2", "-fno-jump-tables"],
  ]) {
    it(`goes through tables of jumps: ${flags.join(" ")}`, () => {
      const object = compiled(workshop, SWITCHES, ...flags);
      const reference = loaded(STEPWISE, object);
      const inputs = [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 10n, 11n, 12n, 1n << 40n, (1n << 64n) - 1n];
      const dense = inputs.map((x) => reference.call("dense", [x]));
      expect(dense.slice(0, 4)).toEqual([7n, 28n, 26n, 96n]);
      const looped = reference.call("loops", [500n]);
      for (const variant of VARIANTS) {
        const sandbox = loaded(variant, object);
        expect(
          inputs.map((x) => sandbox.call("dense", [x])),
          variant.name,
        ).toEqual(dense);
        expect(sandbox.call("loops", [500n]), variant.name).toBe(looped);
      }
    });
  }

  describe.each(VARIANTS)("$name", (variant) => {
    it("enters loops at several places", () => {
      const sandbox = loaded(variant);
      const reference = loaded(STEPWISE);
      for (let n = 0n; n < 40n; n++) {
        expect(sandbox.call("irreducible", [n])).toBe(reference.call("irreducible", [n]));
        expect(sandbox.call("crossed", [n])).toBe(reference.call("crossed", [n]));
      }
    });

    it("jumps into the middle of instructions and functions", () => {
      const sandbox = loaded(variant);
      for (let i = 0; i < 5; i++) {
        expect(sandbox.call("hidden")).toBe(41n);
        expect(sandbox.call("overlapping")).toBe(6n);
        expect(sandbox.call("hot", [5n])).toBe(6n);
        expect(sandbox.call("hot", [0xffff_fffdn])).toBe(99n);
        expect(sandbox.call("hot", [0xffff_fff0n])).toBe(17n);
      }
    });

    it("returns where the stack says, wherever that is", () => {
      const sandbox = loaded(variant);
      for (let i = 0; i < 5; i++) {
        expect(sandbox.call("skips")).toBe(3n);
        expect(sandbox.call("moved")).toBe(2n);
        expect(sandbox.call("pushed")).toBe(9n);
        expect(sandbox.call("retImmediate", [21n])).toBe(42n);
      }
    });

    it("keeps flags over string instructions, and saved registers on every way", () => {
      const sandbox = loaded(variant);
      const buffer = BigInt(sandbox.allocate(256));
      for (let i = 0; i < 8; i++) {
        expect([4n, 5n, 6n].map((x) => sandbox.call("flagged", [buffer, x]))).toEqual([0x100n, 1n, 0n]);
        for (const x of [0x8000_0000n, 1n, 30n]) expect(sandbox.call("keeps", [x])).toBe(0x5851_f42d_4c95_7f2dn);
      }
    });

    it("switches stacks in the middle of a function", () => {
      const sandbox = loaded(variant);
      const stack = sandbox.allocate(4096, "another stack");
      for (let i = 0; i < 5; i++) expect(sandbox.call("switches", [BigInt(stack + 4096)])).toBe(44n);
      expect(sandbox.callAt(sandbox.symbol("switches"), [BigInt(stack)]).kind).toBe(
        variant === UNCHECKED ? "returned" : "fault",
      );
    });

    it("leaves many frames at once", () => {
      const sandbox = loaded(variant);
      const buffer = BigInt(sandbox.allocate(64, "jump buffer"));
      for (const depth of [0n, 1n, 5n, 300n, 1000n]) expect(sandbox.call("tries", [buffer, depth])).toBe(42n + depth);
    });
  });

  it("nests 100,000 frames, and says what happened when the stack ends", () => {
    const source =
      "long down(long n) { return n == 0 ? 7 : down(n - 1) + (n & 3) - 1; } long two(long n); long one(long n) { return n ? two(n - 1) * 3 + n : 5; } long two(long n) { return n ? one(n - 1) ^ n : 9; }";
    const object = compiled(workshop, source, "-O1");
    for (const variant of [PLAIN, UNCHECKED, SLICED, COUNTED]) {
      const sandbox = loaded(variant, object, { stackBytes: 8 << 20 });
      expect(sandbox.call("down", [100_000n]), variant.name).toBe(7n + 50_000n);
      let expected = 5n;
      for (let n = 1n; n <= 100_000n; n++)
        expected = BigInt.asIntN(64, n % 2n === 0n ? expected * 3n + n : expected ^ n);
      // one(n) calls two(n - 1), which calls one(n - 2): from the bottom up, odd ones are `two`.
      expect(BigInt.asIntN(64, sandbox.call("one", [100_000n])), variant.name).toBe(expected);
      const small = loaded(variant, object);
      if (variant === UNCHECKED) continue;
      const stop = small.callAt(small.symbol("down"), [1_000_000n]);
      expect(stop).toMatchObject({ kind: "fault", fault: { rule: "stack-overflow", access: "write", size: 8 } });
      expect(small.backtrace().length).toBe(64);
    }
  });

  it("jumps between functions 10,000,000 times without a frame", () => {
    for (const variant of [PLAIN, UNCHECKED]) {
      const sandbox = loaded(variant);
      expect(sandbox.call("even", [10_000_000n])).toBe(1n);
      expect(sandbox.call("even", [9_999_999n])).toBe(0n);
    }
    for (const variant of [SLICED, COUNTED, STEPWISE]) expect(loaded(variant).call("even", [20_001n])).toBe(0n);
  });

  it("stops at hlt, at an address, and when the budget is used up", () => {
    const object = assembled(workshop, {
      halts: "mov eax, 3\nhlt\nmov eax, 4\nret",
      forever: "xor eax, eax\n1: inc eax\njmp 1b",
      straight: "mov eax, 1\nmov ecx, 2\nmov edx, 3\nret",
      recurses: "call recurses\nret",
      tails: "1: jmp tailed\nret",
      tailed: "nop\njmp tails",
    });
    for (const variant of CHECKED) {
      const sandbox = loaded(variant, object, { budget: 50_000 });
      expect(sandbox.callAt(sandbox.symbol("halts"))).toEqual({ kind: "halted" });
      expect([sandbox.register("rax"), sandbox.register("rip")]).toEqual([3n, BigInt(sandbox.symbol("halts") + 6)]);
      expect(sandbox.resume()).toEqual({ kind: "returned" });
      expect(sandbox.register("rax")).toBe(4n);
      for (const name of ["forever", "tails"]) {
        expect(sandbox.callAt(sandbox.symbol(name)), `${name} ${variant.name}`).toEqual({ kind: "exhausted" });
        expect(() => sandbox.call(name)).toThrow(/budget/);
      }
      const turns = sandbox.callAt(sandbox.symbol("forever")).kind === "exhausted" ? sandbox.register("rax") : 0n;
      expect(turns).toBeGreaterThan(1000n);
      expect(sandbox.resume()).toEqual({ kind: "exhausted" });
      expect(sandbox.register("rax")).toBeGreaterThan(turns);
      const end = (sandbox.symbol("straight") + 10) as GuestAddress;
      sandbox.setRegister("rip", BigInt(sandbox.symbol("straight")));
      sandbox.hook(end, () => ({ suspend: "there" }));
      expect(sandbox.run(end)).toEqual({ kind: "returned" });
      expect([sandbox.register("rcx"), sandbox.register("rip")]).toEqual([2n, BigInt(end)]);
      const deep = sandbox.callAt(sandbox.symbol("recurses"));
      expect(["exhausted", "fault"]).toContain(deep.kind);
    }
  });
});
