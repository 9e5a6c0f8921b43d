import { Random } from "../../filter/random.js";

/**
 * C programs drawn from a seed, without undefined behaviour (given -fwrapv and -fno-strict-aliasing): what they compute is
 * the same on every processor and at every level of optimisation. Each ends: loops and calls spend a common fuel.
 */
const TYPES = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"] as const;
type Type = (typeof TYPES)[number];

interface Variable {
  readonly name: string;
  readonly type: Type;
}

interface Callable {
  readonly name: string;
  readonly result: Type;
  readonly parameters: readonly Type[];
}

const ARRAY_LENGTHS = [4, 8, 16, 32];
const BINARY = ["+", "-", "*", "&", "|", "^", "+", "-", "&", "<", "<=", ">", ">=", "==", "!="];
const DEEPEST = 3;

export const PROLOGUE = `
typedef unsigned char u8; typedef signed char s8; typedef unsigned short u16; typedef short s16;
typedef unsigned int u32; typedef int s32; typedef unsigned long u64; typedef long s64;
static s32 fuel;
static inline s64 divide(s64 a, s64 b) { return b == 0 || b == -1 ? a : a / b; }
static inline s64 modulo(s64 a, s64 b) { return b == 0 || b == -1 ? b : a % b; }
static inline u64 udivide(u64 a, u64 b) { return b ? a / b : a; }
static inline u64 umodulo(u64 a, u64 b) { return b ? a % b : a; }
static inline s32 divide32(s32 a, s32 b) { return b == 0 || b == -1 ? a : a / b; }
static inline u32 umodulo32(u32 a, u32 b) { return b ? a % b : a; }
static inline u64 high(u64 a, u64 b) { return (unsigned __int128)a * b >> 64; }
static inline s64 signedHigh(s64 a, s64 b) { return (__int128)a * b >> 64; }
static inline u64 rotate(u64 a, u32 n) { return a << (n & 63) | a >> (-n & 63); }
static inline u32 rotate32(u32 a, u32 n) { return a << (n & 31) | a >> (-n & 31); }
static inline u16 rotate16(u16 a, u32 n) { return a << (n & 15) | a >> (-n & 15); }
static inline u32 leading(u64 a) { return a ? __builtin_clzl(a) : 64; }
static inline u32 trailing(u32 a) { return a ? __builtin_ctz(a) : 32; }
static inline u64 saturated(u64 a, u64 b) { u64 r; return __builtin_add_overflow(a, b, &r) ? ~0ul : r; }
static inline s32 clamped(s32 a, s32 b) { s32 r; return __builtin_mul_overflow(a, b, &r) ? a ^ b : r; }
static inline u64 wide(u64 a, u64 b, u64 c) {
  unsigned __int128 x = ((unsigned __int128)a << 64 | b) + c; x -= (unsigned __int128)b << 17; x ^= x >> 5;
  return (u64)(x >> 64) + (u64)x;
}
`;

const HELPERS: readonly (readonly [string, Type, readonly Type[]])[] = [
  ["divide", "s64", ["s64", "s64"]],
  ["modulo", "s64", ["s64", "s64"]],
  ["udivide", "u64", ["u64", "u64"]],
  ["umodulo", "u64", ["u64", "u64"]],
  ["divide32", "s32", ["s32", "s32"]],
  ["umodulo32", "u32", ["u32", "u32"]],
  ["high", "u64", ["u64", "u64"]],
  ["signedHigh", "s64", ["s64", "s64"]],
  ["rotate", "u64", ["u64", "u32"]],
  ["rotate32", "u32", ["u32", "u32"]],
  ["rotate16", "u16", ["u16", "u32"]],
  ["leading", "u32", ["u64"]],
  ["trailing", "u32", ["u32"]],
  ["saturated", "u64", ["u64", "u64"]],
  ["clamped", "s32", ["s32", "s32"]],
  ["wide", "u64", ["u64", "u64", "u64"]],
  ["__builtin_bswap64", "u64", ["u64"]],
  ["__builtin_bswap32", "u32", ["u32"]],
];

/** One program: its functions begin with a prefix, and it is entered at `${prefix}main(u64, u64)`. */
export class ProgramGenerator {
  readonly #random: Random;
  readonly #lines: string[] = [];
  readonly #scalars: Variable[] = [];
  readonly #arrays: { name: string; type: Type; length: number }[] = [];
  readonly #functions: Callable[] = [];
  #locals: Variable[] = [];
  /** Locals that nothing may assign: counters of loops. */
  #counters: Variable[] = [];
  #names = 0;
  #result: Type = "u64";
  #room = 0;

  constructor(
    seed: number,
    readonly prefix: string,
  ) {
    this.#random = new Random(seed);
  }

  generate(): string {
    const r = this.#random;
    this.#globals();
    const count = r.between(2, 4);
    for (let i = 0; i < count; i++) this.#function();
    this.#table();
    this.#recursion();
    this.#main();
    return this.#lines.join("\n");
  }

  #line(text: string): void {
    this.#lines.push(text);
  }

  #fresh(stem: string): string {
    return `${stem}${this.#names++}`;
  }

  #type(): Type {
    return this.#random.pick(TYPES);
  }

  #globals(): void {
    const r = this.#random;
    const { prefix } = this;
    for (let i = 0; i < 4; i++) {
      const variable = { name: `${prefix}g${i}`, type: this.#type() };
      this.#scalars.push(variable);
      this.#line(`static ${variable.type} ${variable.name} = ${this.#constant(variable.type)};`);
    }
    for (let i = 0; i < 3; i++) {
      const array = { name: `${prefix}a${i}`, type: this.#type(), length: r.pick(ARRAY_LENGTHS) };
      this.#arrays.push(array);
      const values = Array.from({ length: r.below(array.length + 1) }, () => this.#constant(array.type));
      this.#line(`static ${array.type} ${array.name}[${array.length}] = { ${values.join(", ") || "0"} };`);
    }
    const fields = TYPES.map((type) => `${type} ${type}f;`).join(" ");
    this.#line(
      `struct ${prefix}s { ${fields} ${this.#type()} array[8]; struct ${prefix}s *next; s32 bits : 5; u32 more : 11; };`,
    );
    this.#line(`static struct ${prefix}s ${prefix}t[4];`);
  }

  #constant(type: Type): string {
    const r = this.#random;
    const bits = Number(type.slice(1));
    const special = [
      0n,
      1n,
      2n,
      7n,
      10n,
      255n,
      (1n << BigInt(bits - 1)) - 1n,
      1n << BigInt(bits - 1),
      (1n << BigInt(bits)) - 1n,
    ];
    const wide = (BigInt(r.word()) << 32n) | BigInt(r.word());
    const value = BigInt.asUintN(bits, r.chance(0.6) ? r.pick(special) : wide >> BigInt(r.below(64)));
    return `(${type})0x${value.toString(16)}ul`;
  }

  #atom(type: Type): string {
    const r = this.#random;
    const { prefix } = this;
    switch (r.below(9)) {
      case 0:
        return this.#constant(type);
      case 1:
        return r.pick(this.#scalars).name;
      case 2:
        return this.#element();
      case 3:
        return `${prefix}t[${this.#index(4)}].${this.#field()}`;
      case 4:
        return r.chance(0.5) ? `p->${this.#field()}` : "p->next->u32f";
      default: {
        const all = [...this.#locals, ...this.#counters];
        return all.length === 0 ? this.#constant(type) : r.pick(all).name;
      }
    }
  }

  #field(): string {
    const r = this.#random;
    if (r.chance(0.15)) return r.pick(["bits", "more"]);
    return r.chance(0.25) ? `array[${this.#index(8)}]` : `${this.#type()}f`;
  }

  #element(): string {
    const array = this.#random.pick(this.#arrays);
    return `${array.name}[${this.#index(array.length)}]`;
  }

  #index(length: number): string {
    const all = [...this.#locals, ...this.#counters];
    if (all.length === 0 || this.#random.chance(0.3)) return `${this.#random.below(length)}`;
    return `(u64)${this.#random.pick(all).name} & ${length - 1}`;
  }

  #expression(type: Type, depth = 0): string {
    const r = this.#random;
    if (depth >= DEEPEST || r.chance(0.2)) return `(${type})${this.#atom(type)}`;
    const inner = (t: Type = type): string => this.#expression(t, depth + 1);
    switch (r.below(10)) {
      case 0:
        return `(${type})(${inner()} ${r.pick(["<<", ">>"])} (${inner("u32")} & ${Number(type.slice(1)) - 1}))`;
      case 1: {
        const [name, result, parameters] = r.pick(HELPERS);
        return `(${type})(${result})${name}(${parameters.map((t) => inner(t)).join(", ")})`;
      }
      case 2:
        return `(${type})(${inner()} ${r.pick(["&&", "||"])} ${inner(this.#type())})`;
      case 3:
        return `(${type})(${inner(this.#type())} ? ${inner()} : ${inner()})`;
      case 4:
        return `(${type})(${r.pick(["~", "-", "!"])}${inner()})`;
      case 5: {
        const other = this.#type();
        return `(${type})(${inner(other)} ${r.pick(BINARY)} ${inner(other)})`;
      }
      case 6:
        if (this.#functions.length > 0 && depth < 2 && this.#room > 0) {
          this.#room--;
          return `(${type})${this.#call(r.pick(this.#functions), depth)}`;
        }
        return inner();
      default:
        return `(${type})(${inner()} ${r.pick(BINARY)} ${inner()})`;
    }
  }

  #call({ name, parameters }: Callable, depth: number): string {
    const args = parameters.map((t) => this.#expression(t, depth + 2));
    return `${name}(${[this.#random.chance(0.5) ? "p" : "p->next", ...args].join(", ")})`;
  }

  #assignable(): Variable {
    const r = this.#random;
    const pick = r.below(6);
    if (pick < 3 && this.#locals.length > 0) return r.pick(this.#locals);
    if (pick === 3) return { name: this.#element(), type: "u64" };
    if (pick === 4) return { name: `p->${this.#field()}`, type: "u64" };
    return r.pick(this.#scalars);
  }

  #statement(depth: number): void {
    const r = this.#random;
    const indent = "  ".repeat(depth + 1);
    const body = (most: number): void => {
      const count = r.between(1, most);
      for (let i = 0; i < count; i++) this.#statement(depth + 1);
    };
    const nested = depth < 3 && this.#room > 0;
    const kind = nested ? r.below(14) : r.below(6);
    this.#room--;
    switch (kind) {
      case 0: {
        const to = this.#assignable();
        this.#line(
          `${indent}${to.name} ${r.pick(["+=", "-=", "^=", "*=", "|=", "&="])} ${this.#expression(to.type, 1)};`,
        );
        return;
      }
      case 1:
        this.#line(`${indent}${this.#assignable().name}${r.pick(["++", "--"])};`);
        return;
      case 6:
      case 7: {
        this.#line(`${indent}if (${this.#expression(this.#type(), 1)}) {`);
        body(3);
        if (r.chance(0.5)) {
          this.#line(`${indent}} else {`);
          body(2);
        }
        this.#line(`${indent}}`);
        return;
      }
      case 8:
      case 9: {
        const counter = { name: this.#fresh("i"), type: r.pick(["u32", "s32", "u64", "u8"] as const) };
        const turns = r.between(1, 12);
        const down = r.chance(0.3);
        this.#line(
          down
            ? `${indent}for (${counter.type} ${counter.name} = ${turns}; ${counter.name} > 0 && --fuel > 0; ${counter.name}--) {`
            : `${indent}for (${counter.type} ${counter.name} = 0; ${counter.name} < ${turns} && --fuel > 0; ${counter.name}++) {`,
        );
        this.#loopBody(counter, () => body(3), indent);
        return;
      }
      case 10:
        this.#switch(depth, indent);
        return;
      case 11: {
        const label = this.#fresh("again");
        const counter = { name: this.#fresh("n"), type: "u32" as const };
        this.#line(`${indent}{ u32 ${counter.name} = ${r.between(1, 6)};`);
        this.#line(`${indent}${label}:;`);
        this.#counters.push(counter);
        body(2);
        this.#counters.pop();
        this.#line(
          `${indent}if (--fuel > 0 && ${counter.name}-- > 0 && ${this.#expression("u8", 2)} != 3) goto ${label}; }`,
        );
        return;
      }
      case 12: {
        const label = this.#fresh("skip");
        this.#line(`${indent}if (${this.#expression(this.#type(), 2)}) goto ${label};`);
        body(3);
        this.#line(`${indent}${label}:;`);
        return;
      }
      case 13: {
        const array = r.pick(this.#arrays);
        const i = this.#fresh("k");
        this.#line(
          `${indent}for (u32 ${i} = 0; ${i} < ${array.length}; ${i}++) ${array.name}[${i}] ${r.pick(["=", "+=", "^="])} (${array.type})(${this.#expression(array.type, 2)} + ${i});`,
        );
        return;
      }
      default: {
        const to = this.#assignable();
        this.#line(`${indent}${to.name} = ${this.#expression(to.type)};`);
      }
    }
  }

  #loopBody(counter: Variable, body: () => void, indent: string): void {
    const r = this.#random;
    this.#counters.push(counter);
    body();
    if (r.chance(0.2)) this.#line(`${indent}  if (${this.#expression("u8", 2)}) ${r.pick(["break", "continue"])};`);
    this.#statement(3);
    this.#counters.pop();
    this.#line(`${indent}}`);
  }

  #switch(depth: number, indent: string): void {
    const r = this.#random;
    const dense = r.chance(0.7);
    const cases = r.between(2, dense ? 9 : 5);
    this.#line(`${indent}switch ((u32)${this.#expression("u32", 1)} & ${dense ? 15 : 0xffff}) {`);
    for (let i = 0; i < cases; i++) {
      this.#line(`${indent}  case ${dense ? i : i * 97 + r.below(90)}:`);
      this.#statement(Math.max(depth + 1, r.below(4)));
      if (r.chance(0.75)) this.#line(`${indent}    break;`);
    }
    this.#line(`${indent}  default: fuel--; }`);
  }

  #function(): void {
    const r = this.#random;
    const { prefix } = this;
    const parameters = Array.from({ length: r.between(0, 5) }, () => this.#type());
    const result = this.#type();
    const name = `${prefix}f${this.#functions.length}`;
    this.#locals = parameters.map((type, i) => ({ name: `x${i}`, type }));
    this.#counters = [];
    this.#result = result;
    this.#room = 9;
    const attribute = r.pick(["", "__attribute__((noinline)) ", "__attribute__((noinline)) "]);
    const list = [`struct ${prefix}s *p`, ...parameters.map((type, i) => `${type} x${i}`)].join(", ");
    this.#line(`${attribute}static ${result} ${name}(${list}) {`);
    this.#line(`  if (--fuel < 0) return ${this.#constant(result)};`);
    const locals = r.between(1, 4);
    for (let i = 0; i < locals; i++) {
      const local = { name: `v${i}`, type: this.#type() };
      this.#line(`  ${local.type} ${local.name} = ${this.#expression(local.type, 2)};`);
      this.#locals.push(local);
    }
    const statements = r.between(2, 5);
    for (let i = 0; i < statements; i++) this.#statement(0);
    if (r.chance(0.3))
      this.#line(`  *(&v0) ^= ${this.#expression("u64", 2)}; ${prefix}t[v0 & 3] = *p; ${this.#chain()}`);
    this.#line(`  return ${this.#expression(this.#result, 1)};`);
    this.#line("}");
    this.#functions.push({ name, result, parameters });
  }

  /** Copies of a structure must not make the list shorter or longer. */
  #chain(): string {
    const { prefix } = this;
    return `for (u32 q = 0; q < 4; q++) ${prefix}t[q].next = &${prefix}t[(q + 1) & 3];`;
  }

  #table(): void {
    const { prefix } = this;
    const names: string[] = [];
    for (let i = 0; i < 4; i++) {
      const name = `${prefix}h${i}`;
      names.push(name);
      this.#locals = [
        { name: "x", type: "u64" },
        { name: "y", type: "s32" },
      ];
      this.#counters = [];
      this.#room = 3;
      this.#line(`static u64 ${name}(struct ${prefix}s *p, u64 x, s32 y) {`);
      this.#statement(1);
      this.#line(`  return ${this.#expression("u64", 1)};`);
      this.#line("}");
    }
    this.#line(`static u64 (*${prefix}table[4])(struct ${prefix}s *, u64, s32) = { ${names.join(", ")} };`);
  }

  #recursion(): void {
    const { prefix } = this;
    this.#locals = [{ name: "x", type: "s64" }];
    this.#counters = [{ name: "depth", type: "u32" }];
    this.#room = 3;
    this.#line(`static s64 ${prefix}other(struct ${prefix}s *p, u32 depth, s64 x);`);
    this.#line(`__attribute__((noinline)) static s64 ${prefix}down(struct ${prefix}s *p, u32 depth, s64 x) {`);
    this.#line(`  if (depth == 0 || --fuel < 0) return ${this.#expression("s64", 2)};`);
    this.#statement(2);
    this.#line(`  return ${prefix}other(p->next, depth - 1, x) + x * 3;`);
    this.#line("}");
    this.#line(`__attribute__((noinline)) static s64 ${prefix}other(struct ${prefix}s *p, u32 depth, s64 x) {`);
    this.#line(`  if (depth < 2) return x;`);
    this.#line(`  return ${prefix}down(p, depth - 1, ${this.#expression("s64", 2)});`);
    this.#line("}");
  }

  #main(): void {
    const { prefix } = this;
    this.#locals = [
      { name: "a", type: "u64" },
      { name: "b", type: "u64" },
    ];
    this.#counters = [];
    this.#room = 8;
    this.#line(`u64 ${prefix}main(u64 a, u64 b) {`);
    this.#line(`  struct ${prefix}s *p = &${prefix}t[b & 3]; u64 sum = 0; fuel = 3000; ${this.#chain()}`);
    for (const callable of this.#functions) {
      this.#line(`  sum = sum * 31 + (u64)${this.#call(callable, 0)};`);
      this.#line(
        `  sum ^= ${prefix}table[sum >> 7 & 3](p, sum, (s32)a); a = a * 6364136223846793005ul + 1442695040888963407ul;`,
      );
    }
    this.#line(`  sum += ${prefix}down(p, (u32)(a >> 59), (s64)sum);`);
    for (let i = 0; i < 3; i++) this.#statement(0);
    for (const { name } of this.#scalars) this.#line(`  sum = sum * 1000003 + (u64)${name};`);
    for (const { name, length } of this.#arrays) {
      this.#line(`  for (u32 q = 0; q < ${length}; q++) sum = sum * 1000003 ^ (u64)${name}[q];`);
    }
    const fields = [...TYPES.map((type) => `${type}f`), "array[q]", "array[q + 4]", "bits", "more"];
    this.#line(
      `  for (u32 q = 0; q < 4; q++) { ${fields.map((f) => `sum = sum * 1000003 ^ (u64)${prefix}t[q].${f};`).join(" ")} }`,
    );
    this.#line("  return sum + a * b;");
    this.#line("}");
  }
}
