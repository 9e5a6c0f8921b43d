// Objects and executables of the system's compiler, as they are laid out for a guest space.
import { afterAll, describe, expect, test } from "vitest";
import { ElfFile } from "../../src/formats/elf.js";
import { InstructionDecoder } from "../../src/translator/decode.js";
import { HIGH_SPACE, LOW_SPACE } from "../../src/translator/guest-space.js";
import { placeObject, planObject } from "../../src/translator/load-object.js";
import type { ImportResolver, LoadedObject, LoadedSegment } from "../../src/translator/loaded-object.js";
import { ExitStatus, KorralError } from "../../src/util/errors.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, readelfRelocations, readelfSymbols, run, Workshop } from "../support/binutils.js";

const PAGE = 4096;
const workshop = new Workshop();
afterAll(() => workshop.close());

const nobody: ImportResolver = () => null;

function load(path: string, resolve = nobody): LoadedObject {
  const plan = planObject(workshop.read(path), path);
  return placeObject(plan, plan.space, plan.address, resolve);
}

function object(text: string, ...flags: string[]): LoadedObject {
  return load(workshop.gcc("one.o", "one.c", text, "-c", "-ffreestanding", "-fno-pic", ...flags));
}

function assembled(text: string): LoadedObject {
  return load(workshop.gcc("one.o", "one.s", text, "-c"));
}

function segment(loaded: LoadedObject, name: string): LoadedSegment {
  const found = loaded.segments.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no segment ${name}`);
  return found;
}

/** What would be mapped at an address, as a number of 8 bytes; -1 where nothing is. */
function word(loaded: LoadedObject, address: number): number {
  for (const { address: start, size, bytes } of loaded.segments) {
    if (address < start || address + 8 > start + size) continue;
    const all = new Uint8Array(8);
    all.set(bytes.subarray(address - start, address - start + 8));
    return Number(new DataView(all.buffer).getBigInt64(0, true));
  }
  return -1;
}

function errorOf(action: () => unknown): KorralError {
  try {
    action();
  } catch (error) {
    if (error instanceof KorralError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

const address = (loaded: LoadedObject, name: string): number => loaded.symbols.find(name).address;

describe.skipIf(!isInstalled("gcc"))("a relocatable file", () => {
  const SOURCE = `
    extern int outer(int); extern long shared; extern int absent(void) __attribute__((weak));
    const char text[] = "read only"; int words[5] = { 1 }; long zeroed[100]; static int mine = 3;
    long *pointer = &shared; int (*function)(int) = outer; int (*nothing)(void) = absent; const char *inside = text + 5;
    __attribute__((noinline)) static int helper(int x) { return x + mine++; }
    int choose(int x) { shared++; zeroed[x]++; return absent ? absent() : outer(x) + helper(words[x]); }`;

  test.each([
    ["", LOW_SPACE, 0x400000],
    [`__attribute__((section(".modinfo"))) const char about[] = "license=GPL";`, HIGH_SPACE, -0x40000000],
  ])("lies where it belongs: %s", (more, space, at) => {
    const plan = planObject(
      workshop.read(workshop.gcc("one.o", "one.c", SOURCE + more, "-c", "-mcmodel=kernel", "-fno-pic")),
      "one.o",
    );
    expect([plan.space, plan.address, plan.fixed]).toEqual([space, at, false]);
    expect([...plan.imports].sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      { name: "absent", weak: true },
      { name: "outer", weak: false },
      { name: "shared", weak: false },
    ]);
    const loaded = placeObject(plan, space, plan.address, nobody);
    for (const one of loaded.segments) {
      expect(one.address).toBeGreaterThanOrEqual(at);
      expect(one.address + one.size).toBeLessThanOrEqual(at + plan.size);
    }
    expect(address(loaded, "choose") - at).toBeLessThan(PAGE);
  });

  test("has its permissions, pages of their own, and nothing mapped behind what is no code", () => {
    const { segments } = object(SOURCE, "-O1");
    const rights = Object.fromEntries(segments.map(({ name, read, write, execute }) => [name, [read, write, execute]]));
    expect(rights).toMatchObject({
      ".text": [true, false, true],
      ".rodata": [true, false, false],
      ".data": [true, true, false],
      ".bss": [true, true, false],
      imports: [false, false, true],
    });
    for (const [i, next] of segments.slice(1).entries()) {
      const { address: start, size, execute, write } = segments[i];
      if (!execute) expect(next.address - (start + size)).toBeGreaterThanOrEqual(PAGE);
      if (execute !== next.execute || write !== next.write) {
        expect(Math.floor(next.address / PAGE)).toBeGreaterThan(Math.floor((start + size - 1) / PAGE));
      }
    }
    expect(segment({ segments } as LoadedObject, ".bss").bytes.length).toBe(0);
  });

  test("imports at an address of its own each, for calls and data alike", () => {
    const loaded = object(SOURCE, "-O1");
    const area = segment(loaded, "imports");
    expect(loaded.imports.map(({ name, why }) => `${name} ${why}`).sort()).toEqual([
      "outer undefined",
      "shared undefined",
    ]);
    for (const { name, address: at } of loaded.imports) {
      expect(at >= area.address && at < area.address + area.size).toBe(true);
      expect(loaded.importAt(at)?.name).toBe(name);
      expect(loaded.importAt((at + 40) as GuestAddress)?.name).toBe(name);
    }
    expect(loaded.importAt((area.address - 1) as GuestAddress)).toBeNull();
    expect(loaded.importAt((area.address + area.size) as GuestAddress)).toBeNull();
    expect(new Set(area.bytes)).toEqual(new Set([0xcc]));
    const at = new Map(loaded.imports.map((one) => [one.name, one.address]));
    expect(word(loaded, address(loaded, "pointer"))).toBe(at.get("shared"));
    expect(word(loaded, address(loaded, "function"))).toBe(at.get("outer"));
    expect(word(loaded, address(loaded, "nothing"))).toBe(0);
    expect(word(loaded, address(loaded, "inside"))).toBe(address(loaded, "text") + 5);
  });

  test("imports what somebody defines, asked for once a name", () => {
    const asked: string[] = [];
    const path = workshop.gcc("one.o", "one.c", SOURCE, "-c", "-fno-pic");
    const loaded = load(path, (name) => {
      asked.push(name);
      return (name === "shared" ? null : 0x7000_0000 + name.length) as GuestAddress | null;
    });
    expect(asked.sort()).toEqual(["absent", "outer", "shared"]);
    expect(loaded.imports.map(({ name }) => name)).toEqual(["shared"]);
    expect(word(loaded, address(loaded, "nothing"))).toBe(0x7000_0006);
  });

  test.skipIf(!isInstalled("ld"))("holds the bytes that ld makes of it at the same addresses", () => {
    for (const flags of ["-O2", "-O0 -mcmodel=large", "-Os -ffunction-sections -fdata-sections"]) {
      const path = workshop.gcc(
        "one.o",
        "one.c",
        SOURCE,
        "-c",
        "-fno-pic",
        "-fno-asynchronous-unwind-tables",
        ...flags.split(" "),
      );
      const defined = new Map([
        ["outer", 0x600000],
        ["shared", 0x600100],
      ]);
      const loaded = load(path, (name) => (defined.get(name) ?? null) as GuestAddress | null);
      const script = loaded.segments.map((one) => `${one.name} ${one.address} : { ${path}(${one.name}) }`).join("\n");
      const symbols = [...defined].map(([name, at]) => `${name} = ${at};`).join(" ");
      workshop.write("link.ld", `SECTIONS { ${symbols}\n${script}\n/DISCARD/ : { *(*) } }\n`);
      const linkedPath = workshop.link("linked", "--no-relax", "-e", "0", "-T", workshop.path("link.ld"), path);
      const linked = ElfFile.parse(workshop.read(linkedPath), "linked");
      for (const { name, address: at, bytes } of loaded.segments) {
        expect([name, linked.section(name)?.address]).toEqual([name, at]);
        expect(Buffer.compare(bytes, linked.section(name)?.data ?? Buffer.of()), `${flags}: ${name}`).toBe(0);
      }
    }
  });

  test("finds externs through a table of offsets", () => {
    const path = workshop.gcc("one.o", "one.c", SOURCE, "-c", "-fPIC", "-O1");
    const names = readelfSymbols(path);
    const slots = new Map<string, number>();
    const loaded = load(path);
    const text = segment(loaded, ".text");
    for (const [offset, symbol, type] of readelfRelocations(path)) {
      if (!String(type).includes("GOTPCREL")) continue;
      const [at] = new InstructionDecoder().decodeRun(text.bytes, 0, text.size, text.address).filter((instruction) => {
        const end = instruction.address + instruction.length - text.address;
        return Number(offset) > instruction.address - text.address && Number(offset) + 4 <= end;
      });
      const memory = at.operands.find((operand) => operand.kind === "memory");
      slots.set(names[Number(symbol)].name, Number(memory?.displacement));
    }
    expect([...slots.keys()].sort()).toEqual(["absent", "shared", "words", "zeroed"]);
    const values = new Map([...slots].map(([name, slot]) => [name, word(loaded, slot)]));
    expect(values.get("absent")).toBe(0);
    expect(values.get("words")).toBe(address(loaded, "words"));
    expect(values.get("zeroed")).toBe(address(loaded, "zeroed"));
    expect(loaded.importAt(values.get("shared") as GuestAddress)?.name).toBe("shared");
    expect(segment(loaded, ".got")).toMatchObject({ read: true, write: false, execute: false });
  });

  test("computes with the table of offsets as large code does", () => {
    const loaded = assembled(`
      .globl outer
      movabs $_GLOBAL_OFFSET_TABLE_ - ., %rax
      movabs $here@GOTOFF, %rax
      movabs $outer@GOT, %rax
      movabs $outer@PLTOFF, %rax
      .quad outer@GOTPCREL
      .data
      here: .quad 0`);
    const got = segment(loaded, ".got").address;
    const text = segment(loaded, ".text");
    const [table, here, slot, outer, distance] = [2, 12, 22, 32, 40].map((offset) =>
      word(loaded, text.address + offset),
    );
    expect(table).toBe(got - text.address);
    expect(here).toBe(address(loaded, "here") - got);
    expect(outer).toBe(loaded.imports[0].address - got);
    expect(word(loaded, got + slot)).toBe(loaded.imports[0].address);
    expect(distance).toBe(got + slot - (text.address + 40));
  });

  test("has common symbols, aligned, and an address for each", () => {
    const loaded = object(
      "char c; long double wide; int table[1000]; int *use[] = { table, (int *)&c, (int *)&wide };",
      "-fcommon",
    );
    const common = segment(loaded, "COMMON");
    expect([common.bytes.length, common.write, common.execute]).toEqual([0, true, false]);
    const names = ["c", "wide", "table"];
    const symbols = names.map((name) => loaded.symbols.find(name)).sort((a, b) => a.address - b.address);
    for (const [i, { address: at, size, section, kind }] of symbols.entries()) {
      expect([section, kind]).toEqual(["COMMON", "object"]);
      expect(at).toBeGreaterThanOrEqual(common.address);
      expect(at + size).toBeLessThanOrEqual(symbols[i + 1]?.address ?? common.address + common.size);
    }
    expect(address(loaded, "table") % 32).toBe(0);
    expect(address(loaded, "wide") % 16).toBe(0);
    expect(word(loaded, address(loaded, "use"))).toBe(address(loaded, "table"));
  });

  test("names what is asked for, and tells equal names apart", () => {
    const part = (n: number) => `
      static int same = ${n}; int global${n}; __attribute__((noinline)) static int twice(void) { return same++ + ${n}; }
      int call${n}(void) { return twice(); } ${n === 1 ? "int lonely(void) { return 1; }" : "static int lonely(void) { return 2; } int (*p)(void) = lonely;"}`;
    const parts = [1, 2].map((n) => workshop.gcc(`part${n}.o`, `part${n}.c`, part(n), "-c", "-fno-pic", "-O1"));
    const loaded = load(workshop.link("both.o", "-r", ...parts));
    expect(loaded.symbols.find("lonely")).toMatchObject({ binding: "global", kind: "function", section: ".text" });
    const error = errorOf(() => loaded.symbols.get("twice"));
    expect([error.exitStatus, error.code]).toEqual([ExitStatus.unsupported, "ambiguous-symbol"]);
    expect(error.message).toMatch(
      /2 local symbols twice: give one of part1\.c:twice at 0x\w+ in \.text, part2\.c:twice/,
    );
    const [first, second] = [1, 2].map((n) => loaded.symbols.find(`part${n}.c:twice`));
    expect(second.address).toBeGreaterThan(first.address);
    expect(loaded.symbols.at((second.address + 1) as GuestAddress)).toEqual(second);
    expect(loaded.symbols.get("part3.c:twice")).toBeNull();
    expect(loaded.symbols.get("nowhere")).toBeNull();
    expect(errorOf(() => loaded.symbols.find("lonly")).message).toMatch(/no symbol "lonly"; similar names: lonely/);
    const global = loaded.symbols.find("global2");
    expect(loaded.symbols.at(global.address)?.name).toBe("global2");
    expect(loaded.symbols.at((segment(loaded, ".text").address - 8) as GuestAddress)).toBeNull();
    const names = [...loaded.symbols].map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["twice", "same", "global1", "call1"]));
    expect(names).not.toContain("part1.c");
  });

  test("lists functions, with and without sizes", () => {
    const loaded = assembled(`
      .globl sized, alias, bare, last
      nop
      .type sized, @function
      sized: alias: ret; inner: nop; nop
      .size sized, . - sized
      bare: nop; nop; ret
      last: ret
      .section .other, "ax"
      local: nop; ret
      .data
      .globl datum
      datum: .quad 1`);
    const at = segment(loaded, ".text").address;
    const other = segment(loaded, ".other").address;
    expect(loaded.functions).toEqual([
      { name: "sized", address: at + 1, size: 3 },
      { name: "bare", address: at + 4, size: 3 },
      { name: "last", address: at + 7, size: 1 },
      { name: "local", address: other, size: 2 },
    ]);
  });

  test("knows who refers to code", () => {
    const loaded = object(
      `static int called(int x) { return x * 3; } static int taken(int x) { return x + 1; } static int stored(int x) { return -x; }
      int (*pointer)(int) = stored; void *nothing;
      int global(int x) { nothing = taken; return called(x) + pointer(x); }`,
      "-O0",
    );
    const of = (name: string) =>
      loaded.codeReferences.filter((one) => one.address === address(loaded, name)).map(({ kind }) => kind);
    expect(["called", "taken", "stored", "global"].map(of)).toEqual([[], ["operand"], ["data"], ["symbol"]]);
    expect(loaded.codeReferences.length).toBe(3);
    expect(loaded.referencesComplete).toBe(true);
  });

  test("tells direct jumps from everything else that is relative to RIP", () => {
    const loaded = assembled(`
      .section .a, "ax"
      call one; jmp two; jne three; lea four(%rip), %rax; call *five(%rip); xbegin six; mov $seven, %eax
      .section .b, "ax"
      one: nop; two: nop; three: nop; four: nop; five: nop; six: nop; seven: nop; eight: nop; nine: nop
      .section .altinstructions, "a"
      .long eight - .
      .section __ex_table, "a"
      .long nine - .`);
    const taken = loaded.codeReferences.map(
      (one) => `${loaded.symbols.at(one.address)?.name} ${one.kind} ${one.section}`,
    );
    expect(taken).toEqual([
      "four operand .a",
      "five operand .a",
      "six operand .a",
      "seven operand .a",
      "nine data __ex_table",
    ]);
  });

  test.each(["-fno-pic", "-fPIC"])("knows where tables of jumps lead: %s", (flag) => {
    const cases = Array.from({ length: 9 }, (_, i) => `case ${i}: return f${i}(x) + ${i * i};`).join(" ");
    const declared = Array.from({ length: 9 }, (_, i) => `int f${i}(int);`).join(" ");
    const loaded = object(`${declared} int choose(int x) { switch (x) { ${cases} } return 0; }`, "-O1", flag);
    const { address: start, size } = loaded.symbols.find("choose");
    const targets = loaded.codeReferences.filter(({ section }) => section.startsWith(".rodata"));
    expect(new Set(targets.map(({ kind }) => kind))).toEqual(new Set([flag === "-fPIC" ? "jump-table" : "data"]));
    expect(targets.length).toBe(9);
    const text = segment(loaded, ".text");
    const starts = new Set<number>(
      new InstructionDecoder().decodeRun(text.bytes, 0, text.size, text.address).map((one) => one.address),
    );
    for (const { address: at } of targets) {
      expect(at > start && at < start + size && starts.has(at)).toBe(true);
    }
  });

  test("does not reach: where, and what", () => {
    const path = workshop.gcc("one.o", "one.s", "nop\nmov $far, %eax\n.data\nfar: .quad 0\n", "-c");
    const plan = planObject(workshop.read(path), "one.o");
    const error = errorOf(() => placeObject(plan, HIGH_SPACE, -0x40000000 as GuestAddress, nobody));
    expect(error.exitStatus).toBe(ExitStatus.unusableInput);
    expect(error.message).toMatch(/R_X86_64_32 to .* at 2 of \.text would be 0xffffffffc0001000, which does not fit/);
  });

  test.each([
    ["leaq far@tpoff(%rax), %rax", /\.text has R_X86_64_TPOFF32.*thread-local/],
    [".byte far", /\.text has R_X86_64_8, which cannot be applied/],
  ])("refuses by name: %s", (text, message) => {
    const error = errorOf(() => assembled(`${text}\n`));
    expect([error.exitStatus, error.message]).toEqual([ExitStatus.unsupported, expect.stringMatching(message)]);
  });

  test("stands in for functions that are chosen at run time", () => {
    const loaded = object(
      `static int fast(void) { return 1; } static void *choose(void) { return fast; }
      int chosen(void) __attribute__((ifunc("choose"))); int use(void) { return chosen() + 1; } int (*p)(void) = chosen;`,
    );
    expect(loaded.imports.map(({ name, why }) => [name, why])).toEqual([["chosen", "indirect-function"]]);
    expect(word(loaded, address(loaded, "p"))).toBe(loaded.imports[0].address);
  });

  test("is put only where it fits", () => {
    const plan = planObject(workshop.read(workshop.gcc("one.o", "one.c", SOURCE, "-c", "-fno-pic")), "one.o");
    const place = (at: number) => () => placeObject(plan, LOW_SPACE, at as GuestAddress, nobody);
    for (const at of [0, 0x7fff0000, -0x40000000]) expect(errorOf(place(at)).code).toBe("load-place");
    expect(errorOf(place(0x7ffcf000)).message).toMatch(
      /would be \d+ bytes at 0x000000007ffcf000, and guest memory reaches from 0x0000000000010000 to 0x000000007ffd0000/,
    );
    expect(place(0x400800)).toThrow(RangeError);
  });
});

describe.skipIf(!isInstalled("ld"))("a linked file", () => {
  const SOURCE = `
    extern int outer(int); extern int absent(void) __attribute__((weak)); extern long shared;
    int words[5] = { 1 }; long zeroed[100]; int *middle = words + 2; long **away(void) { static long *p = &shared; return &p; }
    __attribute__((noinline)) static int helper(int x) { return x + words[x]; }
    int (*function)(int) = helper; int (*other)(int) = outer;
    int own(void) { return absent ? absent() : outer(1); }
    int _start(void) { return own() + zeroed[function(1)]; }`;
  const OUTER = "int outer(int x) { return x; } long shared = 4; ";

  function linked(name: string, flags: string, ...options: string[]): string {
    const objects = [
      workshop.gcc("one.o", "one.c", SOURCE, "-c", "-O1", "-ffreestanding", ...flags.split(" ")),
      workshop.gcc("outer.o", "outer.c", OUTER, "-c", ...flags.split(" ")),
    ];
    return workshop.link(name, ...options, ...objects);
  }

  test("that cannot be moved lies at its own addresses", () => {
    const path = linked("fixed", "-fno-pic", "-Ttext-segment=0x10000000");
    const elf = ElfFile.parse(workshop.read(path), "fixed");
    const loaded = load(path);
    expect(loaded.entry).toBe(elf.entry);
    expect(loaded.symbols.find("words")).toMatchObject({ size: 20, section: ".data", kind: "object" });
    expect(word(loaded, address(loaded, "middle"))).toBe(address(loaded, "words") + 8);
    expect(loaded.functions.map(({ name }) => name).sort()).toEqual(["_start", "away", "helper", "outer", "own"]);
    expect(loaded.segments.map(({ read, write, execute }) => [read, write, execute])).toContainEqual([
      true,
      false,
      true,
    ]);
    const plan = planObject(workshop.read(path), "fixed");
    expect([plan.fixed, plan.address]).toEqual([true, 0x10000000]);
    expect(() => placeObject(plan, LOW_SPACE, 0x400000 as GuestAddress, nobody)).toThrow("fixed cannot be moved");
    expect(loaded.referencesComplete).toBe(false);
  });

  test.each([
    ["-Ttext-segment=0x7f0000000000", /would be \d+ bytes at 0x00007f0000000000, and guest memory reaches/],
    ["-Ttext-segment=0x1000", /would be \d+ bytes at 0x0000000000001000/],
  ])("outside of the space: %s", (option, message) => {
    const path = linked("away", "-fno-pic -mcmodel=large", option);
    expect(errorOf(() => load(path)).message).toMatch(message);
  });

  test("that is a kernel's lies in the high space", () => {
    const path = linked("kernel", "-fno-pic -mcmodel=kernel", "-Ttext-segment=0xffffffff81000000");
    const plan = planObject(workshop.read(path), "kernel");
    expect([plan.space, plan.address]).toEqual([HIGH_SPACE, -0x7f000000]);
    const loaded = load(path);
    expect(word(loaded, address(loaded, "function"))).toBe(address(loaded, "helper"));
  });

  test.each([0x400000, 0x10203000])("that starts itself can lie at %i", (at) => {
    const path = linked("pie", "-fPIE", "-pie", "--no-dynamic-linker");
    const plan = planObject(workshop.read(path), "pie");
    const loaded = placeObject(plan, plan.space, at as GuestAddress, nobody);
    expect([plan.kind, plan.fixed, plan.imports]).toEqual(["dynamic", false, []]);
    let relative = 0;
    for (const [offset, , type, addend] of readelfRelocations(path)) {
      if (type !== "R_X86_64_RELATIVE") continue;
      expect(word(loaded, at + Number(offset))).toBe(at + Number(addend));
      relative++;
    }
    expect(relative).toBeGreaterThan(3);
    expect(loaded.imports).toEqual([]);
    expect(loaded.symbols.at(loaded.entry ?? (0 as GuestAddress))?.name).toBe("_start");
    const data = loaded.codeReferences.filter(({ kind }) => kind === "data").map((one) => one.address);
    expect(data).toEqual(expect.arrayContaining([address(loaded, "helper"), address(loaded, "outer")]));
  });

  test("that needs a library imports from it", () => {
    const library = workshop.gcc("libouter.so", "outer.c", OUTER, "-shared", "-fPIC", "-nostdlib");
    const one = workshop.gcc("one.o", "one.c", SOURCE, "-c", "-O1", "-ffreestanding", "-fPIC");
    const loaded = load(workshop.link("needy", "-pie", one, library));
    expect(loaded.imports.map(({ name }) => name).sort()).toEqual(["outer", "shared"]);
    expect(loaded.importAt(word(loaded, address(loaded, "other")) as GuestAddress)?.name).toBe("outer");
    const shared = load(library);
    expect(shared.entry).toBeNull();
    expect(shared.symbols.find("outer").kind).toBe("function");
    run("strip", ["-s", library]);
    expect(load(library).symbols.find("outer").kind).toBe("function");
  });

  test("of a kind that a dynamic loader has to finish is refused by name", () => {
    const library = workshop.gcc("libouter.so", "outer.c", OUTER, "-shared", "-fPIC", "-nostdlib");
    const one = workshop.gcc(
      "one.o",
      "one.c",
      "extern long shared; long _start(void) { return shared; }",
      "-c",
      "-fno-pic",
    );
    const copied = workshop.link("copied", one, library);
    const error = errorOf(() => load(copied));
    expect([error.exitStatus, error.message]).toEqual([4, expect.stringMatching(/\.rela\.dyn has R_X86_64_COPY/)]);
    const packed = linked("packed", "-fPIE", "-pie", "-z", "pack-relative-relocs");
    expect(errorOf(() => load(packed)).message).toMatch(/\.relr\.dyn holds packed relocations: link with -z nopack/);
  });

  test("of the C library's is taken as it is", () => {
    const source = `#include <stdio.h>\nint main(void) { return printf("hello\\n") < 0; }`;
    for (const flags of ["-static", "-static-pie"]) {
      const loaded = load(workshop.gcc("hello", "hello.c", source, "-O1", ...flags.split(" ")));
      expect(loaded.symbols.find("main").kind).toBe("function");
      expect(loaded.functions.length).toBeGreaterThan(500);
      expect(new Set(loaded.imports.map(({ why }) => why))).toEqual(new Set(["indirect-function"]));
      expect(loaded.imports.map(({ name }) => name)).toContain("memcmp");
    }
  });
});
