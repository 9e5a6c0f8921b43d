import { writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isInstalled, run, Workshop } from "../support/binutils.js";
import { debianKernel } from "../support/debian-kernel.js";
import { korral, startKorral, unread } from "./korral.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
typedef unsigned long u64;
u64 add(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) { return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f; }
long negative(int x) { return -x; }
void fill(volatile char *p, u64 n, int c) { for (u64 i = 0; i < n; i++) p[i] = c + i; }
u64 length(const volatile char *s) { u64 n = 0; while (s[n]) n++; return n; }
u64 sum(const volatile unsigned char *p, u64 n) { u64 s = 0; for (u64 i = 0; i < n; i++) s = s * 31 + p[i]; return s; }
volatile int calls = 40;
int count(volatile char *p) { p[0]++; return ++calls; }
int far(int x);
extern volatile int counter;
int mayCall(int x) { return x > 5 ? far(x) + 1 : x; }
int peek(void) { return counter; }
const char fixed[] = "fixed";
void spoil(void) { ((volatile char *)fixed)[1] = 'x'; }
int read(volatile int *p) { return *p; }
int divide(int a, int b) { return a / b; }
long deep(long n) { volatile char frame[256]; frame[0] = n; return deep(n + 1) + frame[0]; }
void (*volatile notCode)(void) = (void (*)(void))&calls;
void jump(void) { notCode(); __asm__ volatile(""); }
void undefined(void) { __asm__ volatile("ud2"); }
void halt(void) { __asm__ volatile("hlt"); }
void x87(long double *p) { *p = *p * 2; }
void avx(void) { __asm__ volatile("vaddps %ymm0, %ymm1, %ymm2"); }
void endless(void) { for (;;) calls++; }
int twice(int x) { return 2 * x; }
int main(void) { return twice(21); }
`;

/** `exec --json`. */
interface Document {
  readonly result: string | null;
  readonly milliseconds: number;
  readonly instructions: number;
  readonly buffers: readonly string[];
  readonly fault: Readonly<Record<string, unknown>> | null;
}

interface Answer {
  readonly status: number | null;
  readonly stderr: string;
  readonly document: Document;
}

async function exec(...args: readonly string[]): Promise<Answer> {
  const { status, stdout, stderr } = await korral(["exec", "--json", ...args]);
  return { status, stderr, document: JSON.parse(stdout) };
}

describe.skipIf(!isInstalled("gcc"))("exec", () => {
  let o0 = "";
  let o2 = "";
  beforeAll(() => {
    o0 = workshop.gcc("o0.o", "subject.c", SOURCE, "-c", "-O0");
    o2 = workshop.gcc("o2.o", "subject.c", SOURCE, "-c", "-O2", "-fno-tree-loop-distribute-patterns");
  });

  test.each(["-O0", "-O2"])("results, %s", async (level) => {
    const file = level === "-O0" ? o0 : o2;
    const results: (readonly [result: string | null, buffers: readonly string[]])[] = [];
    for (const args of [
      ["add", "1", "0x10", "100", "1000", "10000", "0xfffffffffffffffa"],
      ["add", "-1", "-0x2", "18446744073709551615"],
      ["negative", "5"],
      ["fill", "buf:5", "5", "0x41"],
      ["length", "str:grüße"],
      ["sum", "buf:0", "0"],
    ]) {
      const { status, stderr, document } = await exec(file, ...args);
      expect([status, stderr, document.fault], args.join(" ")).toEqual([0, "", null]);
      expect(document.milliseconds).toBeGreaterThan(0);
      results.push([document.result, document.buffers]);
    }
    expect(results).toEqual([
      ["0x000000000000d419", []],
      ["0xfffffffffffffff8", []],
      ["0xfffffffffffffffb", []],
      [expect.any(String), ["4142434445"]],
      ["0x0000000000000007", ["6772c3bcc39f6500"]],
      ["0x0000000000000000", [""]],
    ]);
  });

  test("a file, from a path and from standard input, is passed as it is", async () => {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i * 7);
    writeFileSync(workshop.path("input"), bytes);
    const expected = bytes.reduce((sum, byte) => BigInt.asUintN(64, sum * 31n + BigInt(byte)), 0n);
    const answer = await exec(o2, "sum", `@${workshop.path("input")}`, "300");
    expect(answer.document.result).toBe(`0x${expected.toString(16).padStart(16, "0")}`);
    expect(answer.document.buffers).toEqual([Buffer.from(bytes).toString("hex")]);
    const piped = await korral(["exec", o2, "sum", "@-", "300", "--json"], bytes);
    expect(JSON.parse(piped.stdout).result).toBe(answer.document.result);
  });

  test("each call finds the same memory, and the same number of instructions is counted", async () => {
    const once = await exec(o2, "count", "str:0");
    const often = await exec(o2, "count", "str:0", "--repeat", "50");
    const unchecked = await exec(o2, "count", "str:0", "--checks", "off");
    for (const { document } of [once, often, unchecked]) {
      expect({ ...document, milliseconds: 0 }).toEqual({
        result: "0x0000000000000029",
        milliseconds: 0,
        instructions: once.document.instructions,
        buffers: ["3100"],
        fault: null,
      });
    }
    const disassembly = run("objdump", ["-d", "--no-show-raw-insn", "--disassemble=count", o2]);
    expect(once.document.instructions).toBe(
      disassembly.split("\n").filter((line) => /^ +[0-9a-f]+:\t/.test(line)).length,
    );
  });

  test("for people", async () => {
    const { status, stdout, stderr } = await korral(["exec", o2, "fill", "buf:40", "20", "0x30"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout.split("\n")).toEqual([
      expect.stringMatching(/^result {8}0x[0-9a-f]{16} {2}\d+$/),
      expect.stringMatching(/^time {10}\d+\.\d{3} ms$/),
      expect.stringMatching(/^instructions {2}\d{2,3}$/),
      "",
      "argument 1, buf:40",
      "  00000000  30 31 32 33 34 35 36 37  38 39 3a 3b 3c 3d 3e 3f  |0123456789:;<=>?|",
      "  00000010  40 41 42 43 00 00 00 00  00 00 00 00 00 00 00 00  |@ABC............|",
      "  00000020  00 00 00 00 00 00 00 00                           |........|",
      "  00000028",
      "",
    ]);
    const signed = await korral(["exec", o2, "negative", "1", "--repeat", "3"]);
    expect(signed.stdout).toMatch(
      /^result {8}0xffffffffffffffff {2}18446744073709551615 {2}-1\ntime {10}.* ms, the best of 3\n/,
    );
    const int = await korral(["exec", o2, "twice", "-1"]);
    expect(int.stdout).toMatch(/^result {8}0x00000000fffffffe {2}4294967294 {2}-2 as int\n/);
  });

  // biome-ignore format: a table
  const FAULTS: readonly (readonly [title: string, args: readonly string[], status: number, fault: object, message: RegExp])[] = [
    ["a buffer overrun by one byte",   ["fill", "buf:16", "17"],  3, { rule: "out-of-bounds", access: "write", size: 1, symbol: expect.stringMatching(/^fill\+0x/) }, /^out of bounds: write of 1 byte at 0x\w{16}, at fill/],
    ["a read before a buffer",         ["sum", "buf:0", "1"],     3, { rule: "out-of-bounds", access: "read", size: 1 },   /read of 1 byte/],
    ["a store to read-only data",      ["spoil"],                 3, { rule: "write-to-read-only", access: "write", size: 1 }, /^write to read only/],
    ["null",                           ["read", "0"],             3, { rule: "null-pointer", address: "0x0000000000000000", access: "read", size: 4 }, /^null pointer: read of 4 bytes/],
    ["a member of null",               ["read", "0x18"],          3, { rule: "null-pointer", address: "0x0000000000000018" }, /^null pointer/],
    ["a wild pointer",                 ["read", "0xdeadbeef"],    3, { rule: "unmapped", address: "0x00000000deadbeef" },  /^unmapped: read/],
    ["a kernel's address",             ["read", "-2130706432"],   3, { rule: "unmapped", address: "0xffffffff81000000" },  /^unmapped: read/],
    ["no address at all",              ["read", "0x8000000000000000"], 3, { rule: "non-canonical-address" },               /non canonical address/],
    ["endless recursion",              ["deep", "0"],             3, { rule: "stack-overflow", access: "write" },          /^stack overflow: write/],
    ["execution of data",              ["jump"],                  3, { rule: "execute-data", access: "execute", size: 0 }, /^execute data: execution/],
    ["ud2",                            ["undefined"],             3, { rule: "invalid-opcode", address: null, access: null, size: null }, /^invalid opcode at ud2/],
    ["a division by zero",             ["divide", "1", "0"],      3, { rule: "divide-error", instruction: expect.stringMatching(/^idiv/) }, /^divide error at idiv/],
    ["a quotient that does not fit",   ["divide", "-2147483648", "-1"], 3, { rule: "divide-error" },                       /^divide error/],
    ["hlt",                            ["halt"],                  3, { rule: "halted", instruction: "hlt" },               /^hlt at halt\+.*nothing can wake it/],
    ["x87",                            ["x87", "buf:16"],         4, { rule: "unsupported-instruction" },                  /^fld is not supported: fld .* at x87\+/],
    ["AVX",                            ["avx"],                   4, { rule: "unsupported-instruction" },                  /vaddps.*, at avx\+/],
    ["an import that is called",       ["mayCall", "6"],          4, { rule: "missing-import", symbol: "far" },            /^far is called, at mayCall\+.*only imports it: link the file that defines it/],
    ["an import that is read",         ["peek"],                  4, { rule: "missing-import" },                           /^counter is read, at peek\+/],
  ];

  test.each(FAULTS)("%s, -O0 and -O2", async (_, args, expected, fault, message) => {
    for (const { status, stderr, document } of await Promise.all([exec(o0, ...args), exec(o2, ...args)])) {
      expect(status).toBe(expected);
      expect(stderr).toMatch(/^korral: [^\n]+\n$/);
      expect(stderr.slice("korral: ".length)).toMatch(message);
      expect(document).toMatchObject({ result: null, fault });
      expect(document.fault).toMatchObject({
        rip: expect.stringMatching(/^0x[0-9a-f]{16}$/),
        registers: { rax: expect.stringMatching(/^0x[0-9a-f]{16}$/), rip: document.fault?.rip },
      });
      expect(document.instructions).toBeGreaterThan(0);
    }
  });

  test("a fault, for people: the address, the place, the registers, who called", async () => {
    const { status, stdout, stderr } = await korral(["exec", o2, "fill", "buf:16", "17", "65"]);
    expect(status).toBe(3);
    expect(stderr).toMatch(/^korral: out of bounds: write of 1 byte at 0x0000000060010010, at fill\+0x\w+\/0x\w+\n$/);
    const lines = stdout.split("\n");
    expect(lines.slice(0, 8)).toEqual([
      "=".repeat(66),
      expect.stringMatching(/^BUG: out-of-bounds in fill\+0x/),
      stderr.slice("korral: ".length, -1),
      "Write of size 1 at address 0x0000000060010010",
      "The address is 0 bytes after the 16 bytes of argument 1 (buf:16).",
      "",
      expect.stringMatching(/^RIP: 0x\w{16} fill\+0x/),
      expect.stringMatching(/^Code: mov \[.*\],/),
    ]);
    expect(stdout).toMatch(/\nRAX: 0x\w{16} RBX: 0x0{16} RCX: 0x\w{16}\nRDX: 0x\w{16} RSI: 0x0{14}11 RDI: 0x/);
    expect(stdout).toMatch(/\nCall trace:\n fill\+0x\w+\/0x\w+\n={66}\n/);
    expect(stdout).toMatch(
      /\n {2}00000000 {2}41 42 43 44 45 46 47 48 {2}49 4a 4b 4c 4d 4e 4f 50 {2}\|ABCDEFGHIJKLMNOP\|\n/,
    );
    const rodata = await korral(["exec", o2, "spoil"]);
    expect(rodata.stdout).toMatch(/\nThe address is 1 byte into \.rodata, fixed\+0x1\.\n/);
    const stack = await korral(["exec", o0, "deep", "0"]);
    expect(stack.stdout).toMatch(/\nThe address is \d+ bytes below the stack of 1048576 bytes\.\n/);
    expect(stack.stdout).toMatch(/\nCall trace:\n( deep\+0x\w+\/0x\w+\n){10}/);
  });

  test("an import that is not called does not matter", async () => {
    expect((await exec(o2, "mayCall", "5")).document).toMatchObject({ result: "0x0000000000000005", fault: null });
  });

  test("without checks, what no check would let through is done", async () => {
    const { status, document } = await exec(o2, "fill", "buf:16", "17", "65", "--checks", "off");
    expect([status, document.buffers]).toEqual([0, ["4142434445464748494a4b4c4d4e4f50"]]);
  });

  test("a function that never returns is given up, and can be interrupted", async () => {
    const { status, stderr, document } = await exec(o2, "endless", "--timeout", "0.5");
    expect(status).toBe(124);
    expect(stderr).toMatch(
      /^korral: endless has not returned after 0\.5 s, it was at endless\+.*--timeout gives it longer\n$/,
    );
    expect(document).toMatchObject({ result: null, fault: { rule: "out-of-budget" } });
    const child = startKorral(["exec", o2, "endless", "--timeout", "60"]);
    let text = "";
    child.stderr?.on("data", (data) => {
      text += data;
    });
    // It is interruptible from the start, but before its handlers are there the system's own end it.
    const interrupt = setInterval(() => child.kill("SIGINT"), 1500);
    const end = await new Promise((resolve) => child.on("close", resolve));
    clearInterval(interrupt);
    expect([end, text]).toEqual([130, "korral: interrupted\n"]);
  });

  test("a reader that has gone changes nothing about the status", async () => {
    expect(await unread("", ["exec", o2, "twice", "1"])).toEqual({ status: 0, stderr: "" });
    const { status, stderr } = await unread("", ["exec", o2, "undefined"]);
    expect([status, stderr]).toEqual([3, expect.stringMatching(/^korral: [^\n]*invalid opcode[^\n]*\n$/)]);
    expect(await unread("2>&1", ["exec", o2, "undefined"])).toEqual({ status: 3, stderr: "" });
  });

  test("executables: at a fixed address, static, position-independent; by name and by address", async () => {
    const source = `${SOURCE}int far(int x) { return x; }\nvolatile int counter;
      static int triple(int x) { return 3 * x; }
      static void *choose(void) { return triple; }
      int chosen(int x) __attribute__((ifunc("choose")));
      int throughChoice(int x) { return chosen(x) + 1; }\n`;
    const kinds = { fixed: ["-static", "-no-pie"], "static-pie": ["-static-pie"] };
    for (const [kind, options] of Object.entries(kinds)) {
      const file = workshop.gcc(kind, "program.c", source, "-O1", "-nostdlib", "-Wl,-e,main", ...options);
      expect((await exec(file, "main")).document, kind).toMatchObject({ result: "0x000000000000002a", fault: null });
      expect((await exec(file, "throughChoice", "5")).document, kind).toMatchObject({ result: "0x0000000000000010" });
      expect((await korral(["exec", file, "chosen", "5"])).stderr).toMatch(/^korral: chosen is an indirect function/);
      const { functions } = JSON.parse((await korral(["symbols", "--json", file])).stdout);
      const { address } = functions.find(({ name }: { name: string }) => name === "twice");
      if (kind === "fixed") expect((await exec(file, address, "4")).document.result).toBe("0x0000000000000008");
    }
    const dynamic = workshop.gcc(
      "dynamic",
      "dynamic.c",
      'int puts(const char *); int main(void) { puts("x"); }',
      "-pie",
    );
    const { status, document } = await exec(dynamic, "main");
    expect([status, document.fault]).toEqual([4, expect.objectContaining({ rule: "missing-import", symbol: "puts" })]);
  });

  test("code as kernels compile it: tracing hooks, thunks for returns and indirect calls; compressed", async () => {
    const flags = ["-O2", "-c", "-mcmodel=kernel", "-fno-pic", "-pg", "-mfentry", "-mindirect-branch=thunk-extern"];
    const source = `static int a(int x) { return x + 1; } static int b(int x) { return 2 * x; }
      int (*volatile table[])(int) = { a, b };
      int both(int x) { return table[0](x) * 1000 + table[1](x); }
      const char info[] __attribute__((section(".modinfo"))) = "license=GPL";`;
    const file = workshop.gcc(
      "kernel.ko",
      "kernel.c",
      source,
      ...flags,
      "-mfunction-return=thunk-extern",
      "-fcf-protection=none",
    );
    expect((await exec(file, "both", "7")).document).toMatchObject({ result: "0x0000000000001f4e", fault: null });
    const compressed = await korral(["exec", "-", "both", "7", "--json"], gzipSync(workshop.read(file)));
    expect(JSON.parse(compressed.stdout).result).toBe("0x0000000000001f4e");
  });

  const usage: readonly (readonly [args: () => readonly string[], status: number, message: RegExp])[] = [
    [() => [o2], 2, /missing required argument 'symbol'/],
    [() => [o2, "add", "x"], 2, /'x' is no argument: give a number/],
    [() => [o2, "add", "12ab"], 2, /'12ab' is no argument/],
    [() => [o2, "add", "0x"], 2, /'0x' is no argument/],
    [() => [o2, "add", ""], 2, /'' is no argument/],
    [() => [o2, "add", "18446744073709551616"], 2, /does not fit into 64 bits/],
    [() => [o2, "add", "-9223372036854775809"], 2, /does not fit into 64 bits/],
    [() => [o2, "add", "buf:x"], 2, /'buf:x': a buffer has a whole number of bytes/],
    [() => [o2, "add", "buf:-1"], 2, /a whole number of bytes/],
    [() => [o2, "add", "buf:9999999999"], 2, /201326592 at most/],
    [() => [o2, "add", "buf:200000000", "buf:200000000"], 2, /the buffers take 400000000 bytes/],
    [() => [o2, "add", ..."1234567"], 2, /7 arguments; a function takes 6/],
    [() => [o2, "add", "--jsom"], 2, /unknown option '--jsom'/],
    [() => [o2, "add", "--checks", "maybe"], 2, /Allowed choices are on, off/],
    [() => [o2, "add", "--repeat", "0"], 2, /a whole number from 1 to 1000000000/],
    [() => [o2, "add", "--repeat", "1000000001"], 2, /a whole number from 1 to 1000000000/],
    [() => [o2, "add", "--repeat", "1.5"], 2, /a whole number/],
    [() => [o2, "add", "--timeout", "-1"], 2, /a number of seconds/],
    [() => ["-", "add", "@-"], 2, /standard input can be read only once/],
    [() => [o2, "add", "@nowhere"], 5, /cannot read nowhere: there is no such file/],
    [() => ["nowhere.o", "add"], 5, /cannot read nowhere\.o/],
    [() => [o2, "addd"], 4, /o2\.o has no symbol "addd"/],
    [() => [o2, "endlesss"], 4, /similar names: endless/],
    [() => [o2, "far"], 5, /imports far and does not define it/],
    [() => [o2, "calls"], 5, /calls is data, in \.data: give the name of a function/],
    [() => [o2, "0x10"], 5, /has no code at 0x10/],
    [() => [workshop.write("text", "not an ELF file, but long enough to be one\n"), "f"], 4, /is not an ELF file/],
    [() => [workshop.write("cut.o", workshop.read(o2).subarray(0, 300)), "f"], 5, /is broken at byte/],
  ];
  test("refusals: status and a sentence", async () => {
    const next = usage.values();
    const worker = async (): Promise<void> => {
      for (const [args, expected, message] of next) {
        const { status, stdout, stderr } = await korral(["exec", ...args()], "");
        expect([status, stdout, stderr], args().join(" ")).toEqual([expected, "", expect.stringMatching(message)]);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
  });
});

describe.skipIf(!isInstalled("gcc"))("exec, on Debian's own modules", () => {
  const series = ["6.1", "6.12"] as const;
  test.each(series)("%s: a checksum", async (version) => {
    const kernel = debianKernel(version);
    if (typeof kernel === "string") return;
    const file = kernel.modules.find((name) => /\/crc-itu-t\.ko/.test(name)) ?? "";
    const { status, document } = await exec(file, "crc_itu_t", "0", "str:123456789", "9");
    // The check value of CRC-16/XMODEM, which this polynomial, start and order of bits make.
    expect([status, BigInt.asUintN(16, BigInt(document.result ?? 0))]).toEqual([0, 0x31c3n]);
    const table = await korral(["exec", file, "crc_itu_t_table"]);
    expect([table.status, table.stderr]).toEqual([5, expect.stringMatching(/is data, in \.rodata/)]);
  });
});
