import { afterAll, describe, expect, test } from "vitest";
import { Sandbox, type SandboxOptions } from "../../src/translator/sandbox.js";
import { isInstalled, Workshop } from "../support/binutils.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

/** Functions of (buffer of 4096 bytes, number), with all that makes counting hard. */
const SOURCE = `
typedef unsigned char u8; typedef unsigned long u64; typedef unsigned u32;
static u64 table[64] = { 3, 1, 4, 1, 5, 9, 2, 6 };
volatile u64 sink;

u64 straight(u8 *p, u64 n) { return n * 3 + 1; }

u64 loops(u8 *p, u64 n) {
  u64 sum = 0;
  for (u64 i = 0; i < n; i++) for (u64 j = 0; j < i % 5; j++) { sum += p[(i * 7 + j) & 4095]; p[i & 4095] = sum; }
  return sum;
}

__attribute__((noinline)) static u64 small(u64 x) { return x ^ (x >> 3); }
u64 leaves(u8 *p, u64 n) { u64 sum = n; for (u64 i = 0; i < n; i++) sum += small(sum); return sum; }

__attribute__((noinline)) u64 fibonacci(u64 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
u64 recursion(u8 *p, u64 n) { return fibonacci(n & 15); }

__attribute__((noinline)) static u64 deeper(u64 n) { sink = n; return n == 0 ? 0 : 1 + deeper(n - 1); }
u64 depth(u8 *p, u64 n) { return deeper(n * 8) + sink; }

u64 strings(u8 *p, u64 n) {
  u64 count = n; u8 *to = p + 2048;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(p), "+c"(count) :: "memory");
  return count + to[-1];
}

typedef u64 operation(u64);
static u64 twice(u64 x) { return 2 * x; }
static u64 square(u64 x) { table[x & 63]++; return x * x; }
operation *const operations[] = { twice, square, fibonacci };
u64 pointers(u8 *p, u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += operations[i % 3](i & 7); return sum; }

u64 tail(u64 n, u64 sum);
__attribute__((noinline)) u64 head(u64 n, u64 sum) { return n == 0 ? sum : tail(n - 1, sum + table[n & 63]); }
__attribute__((noinline)) u64 tail(u64 n, u64 sum) { return n == 0 ? sum : head(n - 1, sum ^ n); }
u64 tails(u8 *p, u64 n) { return head(n, 0); }

u64 cases(u8 *p, u64 n) {
  u64 sum = 0;
  for (u64 i = 0; i < n; i++) switch (p[i & 4095] % 9) {
    case 0: sum += 3; break; case 1: sum ^= i; break; case 2: sum *= 5; break; case 3: sum -= 7; break;
    case 4: sum += table[i & 63]; break; case 5: sum <<= 1; break; case 6: sum = ~sum; break; default: sum++;
  }
  return sum;
}

u64 division(u8 *p, u64 n) { u64 sum = 1; for (u64 i = 1; i <= n; i++) sum += (n * i) / i + sum % i; return sum; }
u64 clock(u8 *p, u64 n) {
  u32 a = 0, b, c, d;
  for (u64 i = 0; i < n; i++) { __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d)); a = 0; sink = b; }
  return b;
}
u64 overrun(u8 *p, u64 n) { for (u64 i = 0; i < 4096 + n; i++) p[i] = i; return 0; }
u64 zero(u8 *p, u64 n) { return 100 / (n - n) + n; }
u64 undefined(u8 *p, u64 n) { if (n > 2) __builtin_trap(); return 1; }
`;
const FUNCTIONS = [
  "straight",
  "loops",
  "leaves",
  "recursion",
  "depth",
  "strings",
  "pointers",
  "tails",
  "cases",
  "division",
  "clock",
  "overrun",
  "zero",
  "undefined",
]; // prettier-ignore

interface Outcome {
  readonly call: string;
  readonly end: string;
  readonly result: bigint;
  readonly executed: number;
}

/** Calls all functions with several numbers, one after the other. */
function outcomes(object: Uint8Array, options: SandboxOptions, prepare: (sandbox: Sandbox) => void): Outcome[] {
  const sandbox = Sandbox.create(options);
  sandbox.load(object);
  const buffer = sandbox.allocate(4096);
  prepare(sandbox);
  const all: Outcome[] = [];
  for (const name of FUNCTIONS) {
    for (const n of [0n, 1n, 2n, 7n, 200n]) {
      sandbox.write(
        buffer,
        Uint8Array.from({ length: 4096 }, (_, i) => i * 31),
      );
      sandbox.setRegister("rax", 0n);
      const before = sandbox.runtime.executed;
      const stop = sandbox.callAt(sandbox.symbol(name), [BigInt(buffer), n]);
      const executed = sandbox.runtime.executed - before;
      all.push({ call: `${name}(${n})`, end: stop.kind, result: sandbox.register("rax"), executed });
    }
  }
  return all;
}

describe.skipIf(!isInstalled("gcc"))("instructions are counted exactly", () => {
  test.each(["-O0", "-O1", "-O2"])("%s", (level) => {
    const flags = [level, "-c", "-fno-pic", "-fcf-protection=none"];
    const object = workshop.read(workshop.gcc("count.o", "count.c", SOURCE, ...flags));
    let steps = 0;
    const traced = outcomes(object, {}, (sandbox) => sandbox.trace(() => steps++));
    expect(traced.reduce((sum, { executed }) => sum + executed, 0)).toBe(steps);
    expect(traced.filter(({ end }) => end !== "returned").map(({ call }) => call)).toEqual([
      "overrun(1)",
      "overrun(2)",
      "overrun(7)",
      "overrun(200)",
      ...[0, 1, 2, 7, 200].map((n) => `zero(${n})`),
      "undefined(7)",
      "undefined(200)",
    ]);
    for (const options of [{}, { conventions: false }]) {
      for (const slice of [5, 1 << 20]) {
        const counted = outcomes(object, { ...options, count: true }, ({ runtime }) => {
          runtime.slice = slice;
          runtime.longestSlice = Math.max(slice, 100);
        });
        expect(counted, `${JSON.stringify(options)}, slices of ${slice}`).toEqual(traced);
      }
    }
    const unchecked = outcomes(object, { checks: false, count: true }, () => {});
    const isComparable = ({ call }: Outcome): boolean => !call.startsWith("overrun");
    expect(unchecked.filter(isComparable)).toEqual(traced.filter(isComparable));
  });
});
