import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  isInstalled,
  readelfRelocations,
  readelfSections,
  readelfSymbols,
  run,
  Workshop,
} from "../../test/support/binutils.js";
import { ExitStatus, KorralError } from "../util/errors.js";
import { formatGuestAddress } from "../util/guest-address.js";
import { ElfFile } from "./elf.js";
import { ElfError } from "./elf-bytes.js";
import { ElfType, SectionType, SegmentType, SymbolBinding, SymbolType } from "./elf-constants.js";
import { type ElfSymbols, SymbolSection } from "./elf-symbols.js";

const SOURCE = `
extern int elsewhere(int);
extern int perhaps(int) __attribute__((weak));
int shared[100];
static int counter = 7;
const char text[] = "text";
__thread int mine;
__attribute__((noinline)) static int helper(int x) { return x * counter++; }
__attribute__((weak)) int soft(int x) { return x; }
int (*table[3])(int) = { helper, soft, elsewhere };
int choose(int x) {
  switch (x) { case 0: return 5; case 1: return shared[3]; case 2: return elsewhere(9); case 3: return text[x];
    case 4: return -1; case 5: return perhaps ? perhaps(2) : 0; default: return table[x % 3](x); }
}
int main(void) { return choose(counter) + helper(2); }
`;
const LINKED = `${SOURCE}int elsewhere(int x) { return x; }\n`;

const workshop = new Workshop();
afterAll(() => workshop.close());

function parse(path: string): ElfFile {
  return ElfFile.parse(workshop.read(path), path);
}

// biome-ignore format: a table
const TYPES: Readonly<Record<string, number>> = {
  NOTYPE: SymbolType.none, OBJECT: SymbolType.object, FUNC: SymbolType.function, SECTION: SymbolType.section,
  FILE: SymbolType.file, COMMON: SymbolType.common, TLS: SymbolType.tls, IFUNC: SymbolType.indirectFunction,
};
// biome-ignore format: a table
const BINDINGS: Readonly<Record<string, number>> = {
  LOCAL: SymbolBinding.local, GLOBAL: SymbolBinding.global, WEAK: SymbolBinding.weak, UNIQUE: SymbolBinding.unique,
};

function sectionShown(section: number): string {
  if (section === SymbolSection.absolute) return "ABS";
  if (section === SymbolSection.common) return "COM";
  return section === SymbolSection.undefined ? "UND" : String(section);
}

function shown(file: ElfFile, symbols: ElfSymbols, symbol: number): unknown[] {
  const type = symbols.type(symbol);
  const section = symbols.section(symbol);
  // readelf names a section's symbol after the section.
  const name = type === SymbolType.section ? file.sections[section].name : symbols.name(symbol);
  const value = formatGuestAddress(symbols.value(symbol)).slice(2);
  return [value, symbols.size(symbol), type, symbols.binding(symbol), sectionShown(section), name];
}

function compareWithReadelf(path: string): ElfFile {
  const file = parse(path);
  const symbols = file.symbols;
  if (symbols === null) throw new Error("no symbols");
  const all = readelfSymbols(path).slice(-symbols.count);
  expect(Array.from({ length: symbols.count }, (_, symbol) => shown(file, symbols, symbol))).toEqual(
    all.map(({ value, size, type, binding, section, name }) => {
      return [value, size, TYPES[type], BINDINGS[binding], section, name];
    }),
  );
  expect(
    file.sections.slice(1).map((section) => {
      const { address, offset, size, entrySize, link, info, alignment } = section;
      return [formatGuestAddress(address).slice(2), offset, size, entrySize, link, info, alignment];
    }),
  ).toEqual(
    readelfSections(path)
      .slice(-file.sections.length)
      .filter(([, type]) => type !== "NULL")
      .map(([, , address, offset, size, entry, link, info, alignment]) => {
        return [address, offset, size, entry, link, info, Math.max(1, Number(alignment))];
      }),
  );
  return file;
}

describe.skipIf(!isInstalled("gcc"))("what gcc makes", () => {
  test.each([
    ["-O0"],
    ["-O2", "-g"],
    ["-Os", "-ffunction-sections", "-fdata-sections"],
    ["-O2", "-fcommon", "-fno-pic", "-mcmodel=kernel"],
    ["-O2", "-fPIC", "-mcmodel=large"],
  ])("object, %s %s %s %s: the same as readelf says", (...flags) => {
    const path = workshop.gcc("object.o", "object.c", SOURCE, "-c", ...flags.filter((flag) => flag !== undefined));
    const file = compareWithReadelf(path);
    expect(file.type).toBe(ElfType.relocatable);
    const relocations = [...file.relocations()].flatMap((list) =>
      Array.from({ length: list.count }, (_, i) => {
        return [list.offset(i), list.symbol(i), list.typeName(i), list.addend(i)];
      }),
    );
    expect(relocations.length).toBeGreaterThan(10);
    // readelf cuts names of types that are too long for its column.
    expect(relocations.map(([at, symbol, type, addend]) => [at, symbol, String(type).slice(0, 17), addend])).toEqual(
      readelfRelocations(path).map(([at, symbol, type, addend]) => [at, symbol, String(type).slice(0, 17), addend]),
    );
  });

  test.each([
    ["static", ElfType.executable],
    ["static-pie", ElfType.dynamic],
    ["pie", ElfType.dynamic],
  ])("executable, -%s: the same as readelf says", (kind, type) => {
    const path = workshop.gcc(kind, "program.c", LINKED, `-${kind}`, "-O1");
    const file = compareWithReadelf(path);
    expect(file.type).toBe(type);
    const header = run("readelf", ["-hW", path]);
    expect(header).toContain(`Entry point address:               0x${file.entry.toString(16)}\n`);
    const segments = [
      ...run("readelf", ["-lW", path]).matchAll(/^ {2}(\S+) +0x(\w+) 0x(\w+) 0x(\w+) 0x(\w+) 0x(\w+) /gm),
    ];
    expect(file.segments.map((s) => [s.offset, s.address, s.physicalAddress, s.fileSize, s.memorySize])).toEqual(
      segments.map(([, , ...numbers]) => numbers.map((digits) => Number.parseInt(digits, 16))),
    );
    const loaded = file.segments.filter((segment) => segment.type === SegmentType.load);
    expect(loaded.length).toBeGreaterThan(1);
    const text = file.section(".text");
    const code = loaded.find(
      (segment) => text !== null && segment.offset <= text.offset && segment.offset + segment.fileSize > text.offset,
    );
    expect(code?.data.length).toBe(code?.fileSize);
  });

  test("an executable as sparse as a kernel, at kernel addresses", () => {
    const flags = [
      "-nostdlib",
      "-static",
      "-mcmodel=kernel",
      "-fno-pic",
      "-no-pie",
      "-Wl,-Ttext=0xffffffff81000000,-e,main",
    ];
    const file = compareWithReadelf(
      workshop.gcc("kernel", "kernel.c", `${LINKED}\n`.replace("__thread ", ""), ...flags),
    );
    const { symbols } = file;
    const main = symbols?.find("main") ?? -1;
    const address = symbols?.value(main) ?? 0;
    expect(file.entry).toBe(address);
    expect(address).toBeLessThan(-0x7e000000);
    expect(symbols?.at(address)).toBe(main);
    expect(symbols?.at(address + (symbols?.size(main) ?? 0) - 1)).toBe(main);
    expect(symbols?.at(address - 0x1000000)).toBe(-1);
  });

  test("more sections and symbols than 16 bits can count", () => {
    const count = 70_000;
    let text = "";
    for (let i = 0; i < count; i++) text += `.section .text.f${i},"ax",@progbits\n.globl f${i}\nf${i}: ret\n`;
    const path = workshop.gcc("many.o", "many.s", text, "-c");
    const file = parse(path);
    expect(file.sections.length).toBeGreaterThan(count);
    expect(file.sections.some((section) => section.type === SectionType.symbolSections)).toBe(true);
    const { symbols } = file;
    if (symbols === null) throw new Error("no symbols");
    for (const i of [0, 1, 65_270, 65_279, 65_280, 65_281, 65_535, 65_536, count - 1]) {
      const symbol = symbols.find(`f${i}`);
      expect(symbols.name(symbol)).toBe(`f${i}`);
      expect(file.sections[symbols.section(symbol)].name).toBe(`.text.f${i}`);
      expect(file.section(`.text.f${i}`)?.index).toBe(symbols.section(symbol));
      expect(symbols.at(0, symbols.section(symbol))).toBe(symbol);
    }
    expect(symbols.ordered.length).toBe(count);
  });

  test("every symbol is found by its name and by its place", () => {
    const path = workshop.gcc("static", "program.c", LINKED, "-static", "-O1");
    const { symbols } = parse(path);
    if (symbols === null) throw new Error("no symbols");
    expect(symbols.count).toBeGreaterThan(1000);
    for (let symbol = 1; symbol < symbols.count; symbol++) {
      const name = symbols.name(symbol);
      if (name !== "") expect([...symbols.named(name)]).toContain(symbol);
      const section = symbols.section(symbol);
      if (symbols.type(symbol) !== SymbolType.function || section <= 0) continue;
      const found = symbols.at(symbols.value(symbol));
      expect(symbols.value(found)).toBe(symbols.value(symbol));
    }
    expect(symbols.find("")).toBe(-1);
    expect(symbols.find("no such symbol")).toBe(-1);
    expect(symbols.find("main\0")).toBe(-1);
  });

  test("a definition comes before a reference, a global before a weak and a local one", () => {
    const text = "same: nop\n.globl other\nother: nop\n.weak soft\nsoft: call far\n";
    const { symbols } = parse(workshop.gcc("rank.o", "rank.s", text, "-c"));
    if (symbols === null) throw new Error("no symbols");
    expect(symbols.binding(symbols.find("same"))).toBe(SymbolBinding.local);
    expect(symbols.binding(symbols.find("soft"))).toBe(SymbolBinding.weak);
    expect(symbols.isUndefined(symbols.find("far"))).toBe(true);
    // One byte apart, without sizes: each reaches to the next, the last to the end of everything.
    const section = symbols.section(symbols.find("same"));
    expect([0, 1, 2, 3].map((at) => symbols.name(symbols.at(at, section)))).toEqual(["same", "other", "soft", "soft"]);
    expect(symbols.at(0, section + 1)).toBe(-1);
    expect(symbols.at(0, section - 1)).toBe(-1);
    expect(symbols.at(-1, section)).toBe(-1);
  });

  test("what has a size names a place before what has none, and ends where it ends", () => {
    const text = ".globl label\nlabel:\nsized: nop\nnop\n.size sized, 2\n.zero 4\nlater: nop\n";
    const { symbols } = parse(workshop.gcc("sized.o", "sized.s", text, "-c"));
    if (symbols === null) throw new Error("no symbols");
    const section = symbols.section(symbols.find("label"));
    const names = [0, 1, 2, 5, 6].map((at) => {
      const symbol = symbols.at(at, section);
      return symbol < 0 ? null : symbols.name(symbol);
    });
    expect(names).toEqual(["sized", "sized", null, null, "later"]);
  });

  test("names that differ only after hundreds of bytes are told apart", () => {
    const long = "p".repeat(300);
    const names = [`${long}abc`, `${long}ab`, `${long}a`, `${long}b`, long];
    const text = names.map((name) => `.globl ${name}\n${name}: nop\n`).join("");
    const { symbols } = parse(workshop.gcc("alike.o", "alike.s", text, "-c"));
    for (const name of names) expect(symbols?.name(symbols.find(name))).toBe(name);
    expect(symbols?.find(`${long}c`)).toBe(-1);
  });

  describe("damaged", () => {
    let bytes: Uint8Array = new Uint8Array(0);
    beforeAll(() => {
      bytes = workshop.read(workshop.gcc("victim.o", "victim.c", SOURCE, "-c", "-O2"));
    });
    const damaged = (change: (view: DataView) => void) => {
      const copy = bytes.slice();
      change(new DataView(copy.buffer));
      return copy;
    };
    const firstSection = () => new DataView(bytes.buffer).getUint32(40, true) + 64;

    test.each<[string, number, number, RegExp]>([
      ["no ELF file", 0, 0x7e, /^victim is not an ELF file/],
      ["32-bit", 4, 0x0101, /^victim is a 32-bit ELF file/],
      ["big-endian", 5, 0x0102, /^victim is a big-endian ELF file/],
      ["of a later version", 6, 2, /ELF version 2/],
      ["for another machine", 18, 183, /^victim is for AArch64/],
      ["for an unknown machine", 18, 9999, /^victim is for ELF machine 9999/],
      ["a core dump", 16, 4, /core dump/],
    ])("%s: status 4", (_, at, value, message) => {
      const error = errorOf(() =>
        ElfFile.parse(
          damaged((view) => view.setUint16(at, value, true)),
          "victim",
        ),
      );
      expect([error.exitStatus, error.message]).toEqual([ExitStatus.unsupported, expect.stringMatching(message)]);
    });

    test.each<[string, number, number]>([
      ["the type", 16, 77],
      ["the table of sections", 42, 0x7fff],
      ["the size of a section header", 58, 65],
      ["the number of sections", 60, 0xfeff],
      ["the section of names", 62, 0xfe00],
    ])("%s: status 5 and where", (_, at, value) => {
      checkDamage(
        damaged((view) => view.setUint16(at, value, true)),
        at,
      );
    });

    test.each<[string, number, number]>([
      ["offset", 24, 0x7fffffff],
      ["size", 36, 1],
      ["alignment", 48, 3],
      ["address", 20, 0x12345678],
    ])("a section's %s: status 5 and where", (_, field, value) => {
      const at = firstSection() + field;
      checkDamage(
        damaged((view) => view.setUint32(at, value, true)),
        at,
      );
    });

    test("cut anywhere: an error, and none that is not ours", () => {
      for (let length = 0; length < bytes.length; length += length < 200 ? 1 : 97) {
        const error = errorOf(() => ElfFile.parse(bytes.slice(0, length), "victim"));
        expect([ExitStatus.unsupported, ExitStatus.unusableInput]).toContain(error.exitStatus);
        if (length >= 16) expect(error).toBeInstanceOf(ElfError);
      }
    });

    test("symbols and names that point nowhere", () => {
      const table = ElfFile.parse(bytes, "victim").sections.find((section) => section.type === SectionType.symbols);
      if (table === undefined) throw new Error("no symbols");
      const entry = table.offset + 24 * 3;
      const outcome = (change: (view: DataView) => void, use: (symbols: ElfSymbols) => unknown = () => null) =>
        errorOf(() => {
          const { symbols } = ElfFile.parse(damaged(change), "victim");
          if (symbols !== null) use(symbols);
        }).message;
      const word = (at: number, value: number) => (view: DataView) => view.setUint32(at, value, true);
      const half = (at: number, value: number) => (view: DataView) => view.setUint16(at, value, true);
      expect(outcome(word(entry, 0xffff_fff0), (s) => s.name(3))).toMatch(/a name at 4294967280/);
      expect(outcome(half(entry + 6, 0xfe00), (s) => s.section(3))).toMatch(/section 65024/);
      expect(outcome(half(entry + 6, 0xffff), (s) => s.section(3))).toMatch(/reserved section 65535/);
      expect(outcome(word(entry + 12, 0x40000000), (s) => s.value(3))).toMatch(/0x40000000.{8} is no x86-64 address/);
      expect(outcome(word(entry + 20, 0x40000000), (s) => s.size(3))).toMatch(/symbol 3 has/);
      expect(outcome(word(table.headerOffset + 56, 23))).toMatch(/they have 24/);
      expect(outcome(word(table.headerOffset + 40, 0))).toMatch(/no string table/);
      expect(outcome(word(table.headerOffset + 40, 9999))).toMatch(/refers to section 9999/);
    });
  });

  test("a table of nothing but one long name is refused", () => {
    const count = 200_000;
    const name = "n".repeat(8000);
    let text = `.globl ${name}\n${name}: nop\n`;
    for (let i = 0; i < 1000; i++) text += `.globl a${i}\na${i}: nop\n`;
    const bytes = workshop.read(workshop.gcc("long.o", "long.s", text, "-c"));
    const original = ElfFile.parse(bytes, "long");
    const table = original.sections.find((section) => section.type === SectionType.symbols);
    const { symbols } = original;
    if (table === undefined || symbols === null) throw new Error("no symbols");
    const long = symbols.find(name);
    const copy = new Uint8Array(bytes.length + 24 * count);
    copy.set(bytes);
    const entry = bytes.slice(table.offset + 24 * long, table.offset + 24 * (long + 1));
    for (let i = 0; i < count; i++) copy.set(entry, bytes.length + 24 * i);
    const view = new DataView(copy.buffer);
    view.setUint32(table.headerOffset + 24, bytes.length, true);
    view.setUint32(table.headerOffset + 32, 24 * count, true);
    const error = errorOf(() => ElfFile.parse(copy, "long").symbols);
    expect(error.message).toMatch(/200000 names that overlap more than names do/);
    // With short names the same table is fine.
    const short = original.symbols?.find("a1") ?? 0;
    const fine = bytes.slice(table.offset + 24 * short, table.offset + 24 * (short + 1));
    for (let i = 0; i < count; i++) copy.set(fine, bytes.length + 24 * i);
    const many = ElfFile.parse(copy, "long").symbols;
    expect(many?.count).toBe(count);
    expect(many?.find("a1")).toBe(1);
    expect(many?.find("a2")).toBe(-1);
    expect(many?.at(many.value(1), many.section(1))).toBe(1);
  });
});

/** Reading the file fails near byte `at`, and says so. */
function checkDamage(bytes: Uint8Array, at: number): void {
  const error = errorOf(() => ElfFile.parse(bytes, "victim"));
  if (!(error instanceof ElfError)) throw error;
  expect(error.exitStatus).toBe(ExitStatus.unusableInput);
  expect(Math.abs(error.offset - at)).toBeLessThanOrEqual(20);
  expect(error.message).toContain(`victim is broken at byte ${error.offset}: `);
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
