import { afterAll, describe, expect, it } from "vitest";
import type { Failure, Sandbox } from "../../src/translator/sandbox.js";
import { GuestFailure } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, sandboxOf } from "./programs/guest.js";
import { assembled, compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;
extern void *take(u64); extern void give(void *); extern void toDevice(void *, u64); extern void fromDevice(void *, u64); extern void device(void *, u64); extern void tell(void *);
struct node { struct node *next; u64 value; };

__attribute__((noipa)) static u64 touch(struct node *n) { return n->value + 1; }
__attribute__((noipa)) static void release(struct node *n) { n->value = 5; give(n); }
u64 useAfterFree(void) { struct node *n = take(sizeof *n); n->value = 3; u64 v = touch(n); release(n); return v + touch(n); }
u64 writeAfterFree(void) { struct node *n = take(sizeof *n); n->value = 3; give(n); n->value = 4; return 1; }
u64 useBeforeFree(void) { struct node *n = take(sizeof *n); n->value = 3; u64 v = touch(n); release(n); return v; }
u64 listAfterFree(void) { struct node *head = 0; for (int i = 0; i < 5; i++) { struct node *n = take(sizeof *n); n->next = head; n->value = i; head = n; }
  u64 sum = 0; for (struct node *n = head; n; n = n->next) { sum += n->value; give(n); } return sum; }
u64 listBeforeFree(void) { struct node *head = 0; for (int i = 0; i < 5; i++) { struct node *n = take(sizeof *n); n->next = head; n->value = i; head = n; }
  u64 sum = 0; for (struct node *n = head, *next; n; n = next) { next = n->next; sum += n->value; give(n); } return sum; }
u64 sumOf(const u8 *p, u64 n) { u64 s = 0; for (u64 i = 0; i < n; i++) s += p[i]; return s; }
u64 oneTooFar(void) { u8 *p = take(37); for (int i = 0; i <= 37; i++) p[i] = i; return 1; }
u64 justFits(void) { u8 *p = take(37); for (int i = 0; i < 37; i++) p[i] = i; return sumOf(p, 37); }
u64 oneBefore(void) { u32 *p = take(40); u64 s = 0; for (int i = 9; i >= -1; i--) s += p[i]; return s; }
u64 stackToDevice(void) { u8 buffer[64]; for (int i = 0; i < 64; i++) buffer[i] = i; toDevice(buffer, 64); buffer[10] = 1; fromDevice(buffer, 64); return sumOf(buffer, 64); }
u64 stackOfDevice(void) { u8 buffer[64]; device(buffer, 64); u64 v = buffer[3]; fromDevice(buffer, 64); return v; }
u64 stackGivenBack(void) { u8 buffer[64]; for (int i = 0; i < 64; i++) buffer[i] = i; toDevice(buffer, 64); u64 s = sumOf(buffer, 64); fromDevice(buffer, 64); buffer[10] = 1; return s + buffer[10]; }
const u64 constants[4] = { 1, 2, 3, 4 };
u64 writesConstant(void) { volatile u64 *p = (u64 *)&constants[2]; return *p + (*p = 7); }
u64 readsConstant(void) { volatile const u64 *p = &constants[2]; return *p; }
u8 data[16] = { 0xc3 };
u64 executesData(void) { return ((u64 (*)(void))data)(); }
u64 overflows(u64 n) { volatile u64 frame[32]; frame[n & 31] = n; return overflows(n + 1) + frame[3]; }
u64 nullMember(void) { struct node *volatile n = 0; return n->value; }
u64 nullCall(void) { u64 (*volatile f)(void) = 0; return f(); }
u64 errorPointer(void) { struct node *volatile n = (void *)-12l; return n->next != 0; }
u64 divides(u64 a) { volatile u64 zero = 0; return a / zero; }
u64 traps(void) { __builtin_trap(); }
`;

/** What must be found: the rule, the kind of access, and its function. */
const BUGS = {
  useAfterFree: ["use-after-free", "read", "touch"],
  writeAfterFree: ["use-after-free", "write", "writeAfterFree"],
  listAfterFree: ["use-after-free", "read", "listAfterFree"],
  oneTooFar: ["out-of-bounds", "write", "oneTooFar"],
  oneBefore: ["out-of-bounds", "read", "oneBefore"],
  stackToDevice: ["device-owned", "write", "stackToDevice"],
  stackOfDevice: ["device-owned", "read", "stackOfDevice"],
  writesConstant: ["write-to-read-only", "write", "writesConstant"],
  executesData: ["execute-data", "execute", null],
  overflows: ["stack-overflow", "write", "overflows"],
  nullMember: ["null-pointer", "read", "nullMember"],
  nullCall: ["null-pointer", "execute", null],
  errorPointer: ["error-pointer", "read", "errorPointer"],
  divides: ["divide-error", null, "divides"],
  traps: ["invalid-opcode", null, "traps"],
} as const;
const SOUND = {
  useBeforeFree: 4n,
  listBeforeFree: 10n,
  justFits: 666n,
  stackGivenBack: 2017n,
  readsConstant: 3n,
} as const;

function loaded(sandbox: Sandbox, object: Uint8Array): Sandbox {
  sandbox.load(object);
  const own = new Map(sandbox.objects[0].imports.map(({ name, address }) => [name, address]));
  const replace = (name: string, action: (pointer: GuestAddress, size: number) => bigint | undefined): void => {
    const address = own.get(name);
    if (address === undefined) return;
    sandbox.replace(
      address,
      ({ argument }) => action(Number(BigInt.asIntN(64, argument(0))) as GuestAddress, Number(argument(1))) ?? 0n,
    );
  };
  sandbox.replace(own.get("take") as GuestAddress, ({ argument }) => BigInt(sandbox.allocate(Number(argument(0)))));
  replace("give", (pointer) => void sandbox.free(pointer));
  replace("toDevice", (pointer, size) => void sandbox.poison(pointer, size, "to-device"));
  replace("device", (pointer, size) => void sandbox.poison(pointer, size, "device-owned"));
  replace("fromDevice", (pointer, size) => void sandbox.poison(pointer, size, null));
  return sandbox;
}

function failureOf(sandbox: Sandbox, name: string): Failure {
  try {
    sandbox.call(name);
  } catch (error) {
    if (error instanceof GuestFailure) return error.failure;
    throw error;
  }
  throw new Error(`${name} went through`);
}

describe.skipIf(!isInstalled("gcc"))("Planted bugs", () => {
  for (const level of ["-O0", "-O2"]) {
    for (const space of ["low", "high"] as const) {
      const object = compiled(
        workshop,
        SOURCE,
        level,
        "-fno-inline",
        "-fno-optimize-sibling-calls",
        "-fno-delete-null-pointer-checks",
        "-mcmodel=kernel",
      );
      const fresh = (variant = CHECKED[0]): Sandbox =>
        loaded(sandboxOf(variant, { space, stackBytes: 0x8000 }), object);

      it(`are found alike in every way of running (${level}, ${space} space)`, () => {
        const sandboxes = CHECKED.map((variant) => ({ variant, sandbox: fresh(variant) }));
        for (const [name, [rule, access, place]] of Object.entries(BUGS)) {
          const [first, ...others] = sandboxes.map(({ sandbox }) => {
            const state = sandbox.snapshot();
            const failure = failureOf(sandbox, name);
            sandbox.restore(state);
            return failure;
          });
          expect(first.rule, name).toBe(rule);
          expect(first.access?.access ?? null, name).toBe(access);
          expect(first.symbol?.replace(/\+.*/, "") ?? null, name).toBe(place);
          const callers = first.backtrace.map(({ symbol }) => symbol?.replace(/\+.*/, ""));
          expect(callers, name).toContain(name);
          others.forEach((other, i) => {
            // Flags that nothing reads are not kept.
            const flagless = { ...other, registers: { ...other.registers, rflags: first.registers.rflags } };
            expect(flagless, `${name}, ${sandboxes[i + 1].variant.name}`).toEqual(first);
          });
        }
      });

      it(`are not found where there are none (${level}, ${space} space)`, () => {
        for (const variant of CHECKED) {
          const sandbox = fresh(variant);
          for (const [name, result] of Object.entries(SOUND))
            expect(sandbox.call(name), `${name}, ${variant.name}`).toBe(result);
        }
      });
    }
  }

  it("say what happened in words, with where it came from", () => {
    const sandbox = loaded(
      sandboxOf(CHECKED[0]),
      compiled(workshop, SOURCE, "-O1", "-fno-inline", "-fno-optimize-sibling-calls"),
    );
    const failure = failureOf(sandbox, "useAfterFree");
    expect(failure.message).toMatch(
      /^use after free: read of 8 bytes at 0x0000000060010[0-9a-f]{3}, at touch\+0x[0-9a-f]+\/0x[0-9a-f]+$/,
    );
    expect(failure.instruction).toMatch(/^mov|^lea/);
    expect(failure.backtrace.map(({ symbol }) => symbol?.replace(/\+.*/, ""))).toEqual(["touch", "useAfterFree"]);
    expect(failure.access?.address).toBe(failure.registers.rdi + 8n);
  });

  it("at the last byte of a buffer are found for each width, aligned or not, and nowhere before", () => {
    const widths = { 1: "al", 2: "ax", 4: "eax", 8: "rax", 16: "xmm0" } as const;
    const functions: Record<string, string> = {};
    for (const [bytes, register] of Object.entries(widths)) {
      const move = bytes === "16" ? "movdqu" : "mov";
      functions[`load${bytes}`] = `${move} ${register}, [rdi]\nret`;
      functions[`store${bytes}`] = `${move} [rdi], ${register}\nret`;
      functions[`both${bytes}`] =
        `${move} ${register}, [rdi - 24]\n${move} ${register}, [rdi]\n${move} [rdi], ${register}\nret`;
    }
    const object = assembled(workshop, functions);
    const LENGTH = 48;
    for (const variant of CHECKED) {
      const sandbox = sandboxOf(variant);
      sandbox.load(object);
      const buffer = sandbox.allocate(LENGTH);
      sandbox.poison((buffer + 24) as GuestAddress, 1, null);
      for (const bytes of [1, 2, 4, 8, 16]) {
        for (let at = 24; at < LENGTH + 4; at++) {
          for (const kind of ["load", "store", "both"]) {
            const stop = sandbox.callAt(sandbox.symbol(`${kind}${bytes}`), [BigInt(buffer + at)]);
            const what = `${kind}${bytes} at ${at}, ${variant.name}`;
            if (at + bytes <= LENGTH) expect(stop.kind, what).toBe("returned");
            else {
              const address = BigInt(buffer + Math.max(at, LENGTH));
              const access = kind === "store" ? "write" : "read";
              expect(stop, what).toEqual({
                kind: "fault",
                fault: { rule: "out-of-bounds", address, access, size: bytes },
              });
            }
          }
        }
      }
    }
  });

  it("poison of each kind says what it is for, and what may still be read", () => {
    const object = assembled(workshop, { load: "mov eax, [rdi]\nret", store: "mov [rdi], esi\nret" });
    const rules = {
      freed: ["use-after-free", "use-after-free"],
      "red-zone": ["out-of-bounds", "out-of-bounds"],
      "device-owned": ["device-owned", "device-owned"],
      "to-device": [null, "device-owned"],
      "no-access": ["no-access", "no-access"],
    } as const;
    for (const variant of CHECKED) {
      const sandbox = sandboxOf(variant);
      sandbox.load(object);
      const buffer = sandbox.allocate(16);
      const ruleOf = (name: string): string | null => {
        const stop = sandbox.callAt(sandbox.symbol(name), [BigInt(buffer), 1n]);
        return stop.kind === "fault" ? stop.fault.rule : null;
      };
      for (const [kind, [load, store]] of Object.entries(rules)) {
        sandbox.poison((buffer + 2) as GuestAddress, 1, kind as keyof typeof rules);
        expect([ruleOf("load"), ruleOf("store")], kind).toEqual([load, store]);
        sandbox.poison(buffer, 16, null);
        expect([ruleOf("load"), ruleOf("store")]).toEqual([null, null]);
      }
      sandbox.unmap(buffer, 16);
      expect([ruleOf("load"), ruleOf("store")]).toEqual(["unmapped", "unmapped"]);
    }
  });

  it("in the middle of string instructions leave exactly what is left to be done", () => {
    const names = { b: 1n, w: 2n, d: 4n, q: 8n } as const;
    const functions: Record<string, string> = {};
    for (const width of Object.keys(names)) {
      functions[`movs${width}`] = `mov rcx, rdx\nrep movs${width}\nret`;
      functions[`stos${width}`] = `mov rcx, rdx\nmov rax, -1\nrep stos${width}\nret`;
      functions[`down${width}`] = `mov rcx, rdx\nstd\nrep movs${width}\ncld\nret`;
      functions[`cmps${width}`] = `mov rcx, rdx\nrepe cmps${width}\nret`;
      functions[`scas${width}`] = `mov rcx, rdx\nmov eax, 1\nrepne scas${width}\nret`;
    }
    const object = assembled(workshop, functions);
    for (const variant of CHECKED) {
      const sandbox = sandboxOf(variant);
      sandbox.load(object);
      const from = BigInt(sandbox.allocate(80));
      const to = BigInt(sandbox.allocate(40));
      const run = (name: string, rdi: bigint, rsi: bigint): readonly unknown[] => {
        const stop = sandbox.callAt(sandbox.symbol(name), [rdi, rsi, 30n]);
        const rip = sandbox.register("rip") - BigInt(sandbox.symbol(name));
        return [
          stop.kind === "fault" ? stop.fault.address : stop.kind,
          sandbox.register("rdi"),
          sandbox.register("rsi"),
          sandbox.register("rcx"),
          rip,
        ];
      };
      for (const [width, size] of Object.entries(names)) {
        const fit = 40n / size;
        if (fit >= 30n) continue;
        const wrong = to + 40n;
        expect(run(`movs${width}`, to, from)).toEqual([wrong, wrong, from + 40n, 30n - fit, 3n]);
        expect(run(`stos${width}`, to, from)).toEqual([wrong, wrong, from, 30n - fit, 10n]);
        expect(run(`cmps${width}`, to, to)).toEqual([wrong, wrong, wrong, 30n - fit, 3n]);
        sandbox.write(Number(to) as GuestAddress, new Uint8Array(40));
        expect(run(`scas${width}`, to, from)).toEqual([wrong, wrong, from, 30n - fit, 8n]);
        const last = to + 40n - size;
        expect(run(`down${width}`, last, from + 80n - size)).toEqual([
          to - size,
          to - size,
          from + 40n - size,
          30n - fit,
          4n,
        ]);
        expect(sandbox.register("rflags") & 0x400n).toBe(0x400n);
      }
    }
  });

  it("appear the moment that memory is taken away, also from under a loop that uses it", () => {
    const source =
      "typedef unsigned long u64; extern void hook(u64); u64 f(volatile u64 *p) { u64 s = 0; for (u64 i = 0; i < 100; i++) { s += *p; hook(i); s += *p; } return s; }";
    const object = compiled(workshop, source, "-O2");
    for (const variant of CHECKED) {
      for (const [action, rule] of [
        ["unmap", "unmapped"],
        ["free", "use-after-free"],
        ["none", null],
      ] as const) {
        const sandbox = sandboxOf(variant);
        sandbox.load(object);
        const buffer = sandbox.allocate(64);
        let turn = 0n;
        sandbox.replace(sandbox.objects[0].imports[0].address, ({ argument }) => {
          turn = argument(0);
          if (turn !== 50n) return;
          if (action === "unmap") sandbox.unmap(buffer, 64);
          if (action === "free") sandbox.free(buffer);
        });
        const stop = sandbox.callAt(sandbox.symbol("f"), [BigInt(buffer)]);
        expect(stop.kind === "fault" ? stop.fault.rule : null, `${action}, ${variant.name}`).toBe(rule);
        expect(turn).toBe(rule === null ? 99n : 50n);
      }
    }
  });
});
