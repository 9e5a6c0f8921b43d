import { afterAll, describe, expect, it } from "vitest";
import type { Sandbox } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, PLAIN, STEPWISE, sandboxOf, type Variant } from "./programs/guest.js";
import { assembled, compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const WRITABLE = { read: true, write: true, execute: false };

const AT = 0x60000000 as GuestAddress;

/** Loops of which a small slice ends in the middle: RDI turns, RSI a buffer of 4 KiB. */
const LOOPS = {
  // The loop of a string instruction begins where the one around it does.
  strings: `mov edx, edi
    xor eax, eax
  1: mov rdi, rsi
    mov ecx, 17
  2: rep stosq
    .rept 40
    add rax, 3
    .endr
    dec edx
    jnz 1b
    ret`,
  first: `mov rdx, rdi
    mov eax, 5
  1: mov rdi, rsi
    mov ecx, 9
    call 3f
    dec rdx
    jnz 1b
    ret
  3: rep stosb
    .rept 30
    lea rax, [rax + rax * 2]
    .endr
    test al, 1
    jz 3b
    ret`,
  // Two entries: what dispatches to them begins where one of them does.
  irreducible: `xor eax, eax
    test rdi, 1
    jnz 2f
  1: .rept 20
    add rax, 3
    .endr
    test rdi, 4
    jz 3f
  2: .rept 20
    add rax, rdi
    .endr
    test rdi, 2
    jnz 3f
  3: dec rdi
    jg 1b
    ret`,
  nested: `xor eax, eax
  1: mov ecx, 5
  2: add rax, rcx
    dec ecx
    jnz 2b
    .rept 60
    lea rax, [rax + rax * 4 + 1]
    .endr
    dec rdi
    jnz 1b
    ret`,
  calls: `push rbx
    push rbp
    xor eax, eax
    mov rbx, rdi
    cmp rdi, 2
    jb 9f
    mov rax, 1
    cmp rdi, 12
    ja 8f
    lea rdi, [rbx - 1]
    call calls
    mov rbp, rax
    lea rdi, [rbx - 2]
    call calls
    lea rax, [rax + rbp + 1]
    jmp 9f
  8: mov edi, 12
    call calls
  9: pop rbp
    pop rbx
    ret`,
};

const PROGRAM = `
typedef unsigned long u64;
u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
#define TWICE(f, g) static __attribute__((noinline)) u64 f(u64 x) { x = g(x) * 5 + 1; return g(x ^ 7); }
static __attribute__((noinline)) u64 d0(u64 x) { return x * x + 3; }
TWICE(d1, d0) TWICE(d2, d1) TWICE(d3, d2) TWICE(d4, d3) TWICE(d5, d4) TWICE(d6, d5) TWICE(d7, d6) TWICE(d8, d7) TWICE(d9, d8)
TWICE(e0, d9) TWICE(e1, e0) TWICE(e2, e1) TWICE(e3, e2) TWICE(e4, e3) TWICE(e5, e4) TWICE(e6, e5) TWICE(e7, e6) TWICE(e8, e7)
TWICE(e9, e8) TWICE(f0, e9) TWICE(f1, f0) TWICE(f2, f1) TWICE(f3, f2) TWICE(f4, f3) TWICE(f5, f4) TWICE(f6, f5) TWICE(f7, f6)
TWICE(f8, f7) TWICE(f9, f8) TWICE(h0, f9) TWICE(h1, h0) TWICE(h2, h1) TWICE(h3, h2) TWICE(h4, h3) TWICE(h5, h4) TWICE(h6, h5)
u64 doubling(u64 x) { return h6(x) + h6(x + 1); }
unsigned char buffer[1 << 16];
u64 sweeping(u64 n) { u64 s = 0; for (u64 i = 0; i < n; i++) for (unsigned char *p = buffer; p != buffer + sizeof buffer; p++) s = s * 33 + *p; return s; }
u64 small(u64 n) { u64 s = 0; for (u64 i = 0; i < n; i++) { for (u64 j = 0; j < 50; j++) s = s * 33 + j; if (s & 1) continue;
  s ^= s >> 3; s += 5; s *= 9; s ^= s >> 7; s -= 3; s *= 11; s ^= s << 1; s += 17; s *= 3; s ^= s >> 9; s += i; s *= 21; s ^= s >> 5; } return s; }
`;

describe.skipIf(!isInstalled("gcc"))("a budget", () => {
  const loops = assembled(workshop, LOOPS);
  const program = compiled(workshop, PROGRAM, "-O1");
  const ways: readonly Variant[] = [
    ...CHECKED,
    ...[1, 2, 3, 25].map((slice) => ({ name: `in slices of ${slice}`, options: {}, slice })),
    { name: "unchecked, in slices of 1", options: { checks: false }, slice: 1 },
    { name: "all open, in slices of 1", options: { conventions: false }, slice: 1 },
  ];
  const loaded = (variant: Variant, object: Uint8Array, options = {}): Sandbox => {
    const sandbox = sandboxOf(variant, options);
    sandbox.load(object);
    return sandbox;
  };

  it("lasts however short its slices are, and no result depends on them", () => {
    for (const name of Object.keys(LOOPS)) {
      const run = (variant: Variant): bigint => {
        const sandbox = loaded(variant, loops, { budget: 300_000 });
        sandbox.map(AT, 0x1000, WRITABLE);
        return sandbox.call(name, [13n, BigInt(AT)]);
      };
      const expected = run(STEPWISE);
      for (const variant of ways) expect(run(variant), `${name} ${variant.name}`).toBe(expected);
    }
  });

  it.each([
    ["fib", 80n],
    ["doubling", 1n],
    ["sweeping", 1n << 40n],
    ["small", 1n << 40n],
  ])("ends %s, and the run may pause there", (name, argument) => {
    const sandbox = loaded(PLAIN, program, { budget: 4_000_000 });
    let questions = 0;
    sandbox.runtime.pause = () => ++questions > 9;
    expect(sandbox.callAt(sandbox.symbol(name), [argument])).toEqual({ kind: "exhausted" });
    expect(questions).toBeGreaterThan(1);
  });

  it.each([
    ["fib", 18n],
    ["sweeping", 1n],
    ["small", 2000n],
  ])("is spent on %s as instructions are carried out", (name, argument) => {
    const counted = loaded({ name: "counted", options: { count: true } }, program);
    const expected = counted.call(name, [argument]);
    const executed = counted.runtime.executed;
    for (const variant of ways.filter(({ options }) => options.count !== true)) {
      const sandbox = loaded(variant, program, { budget: 5 * executed });
      expect(sandbox.call(name, [argument]), variant.name).toBe(expected);
      expect(sandbox.runtime.executed, variant.name).toBeGreaterThan(executed / 3);
    }
  });

  it("is spent on each turn of a string instruction, also of one that is carried out by itself", () => {
    for (const variant of [PLAIN, STEPWISE, { ...PLAIN, slice: 1 }]) {
      const sandbox = loaded(variant, assembled(workshop, { fill: "mov ecx, 0x3000\nrep stosb\nret" }), {
        budget: 0x1000,
      });
      sandbox.map(AT, 0x4000, WRITABLE);
      expect(sandbox.callAt(sandbox.symbol("fill"), [BigInt(AT)])).toEqual({ kind: "exhausted" });
      const done = sandbox.register("rdi") - BigInt(AT);
      expect(done, variant.name).toBeGreaterThan(0x800n);
      expect(done, variant.name).toBeLessThan(0x1010n);
      expect(sandbox.register("rcx"), variant.name).toBe(0x3000n - done);
    }
  });
});
