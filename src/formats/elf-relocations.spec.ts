import { afterAll, describe, expect, test } from "vitest";
import { isInstalled, Workshop } from "../../test/support/binutils.js";
import { ExitStatus, KorralError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import { ElfFile } from "./elf.js";
import { applyRelocations, type SymbolResolver } from "./elf-relocations.js";
import type { ElfSection } from "./elf-section.js";
import { SymbolSection } from "./elf-symbols.js";

const SOURCE = `
extern int outer(int);
extern int missing(int) __attribute__((weak));
extern long big[];
int words[64] = { 1, 2, 3 };
int zeroed[64];
static int counter = 7;
static const char *names[] = { "a", "b", "c" };
__attribute__((noinline)) static int helper(int x) { return x * counter++; }
int (*table[3])(int) = { helper, outer, missing };
long *inside = &big[-3];
int choose(int x) {
  switch (x) { case 0: return zeroed[x]; case 1: return words[x + 3]; case 2: return outer(9); case 3: return names[x][0];
    case 4: return -1; case 5: return missing ? missing(2) : 0; default: return table[x % 3](x); }
}
`;
const OUTER = "int outer(int x) { return x; } long big[10] = { 1 };\n";
const SECTIONS = [".text", ".data", ".rodata", ".bss", ".data.rel", ".data.rel.local", ".data.rel.ro.local"];

const workshop = new Workshop();
afterAll(() => workshop.close());

function parse(path: string): ElfFile {
  return ElfFile.parse(workshop.read(path), path);
}

function sectionOf(file: ElfFile, name: string): ElfSection {
  const section = file.section(name);
  if (section === null) throw new Error(`no section ${name}`);
  return section;
}

describe.skipIf(!isInstalled("ld"))("relocated by us and by ld", () => {
  test.each([
    [0xffffffffa0000000n, "-O0 -mcmodel=kernel -fno-pic"],
    [0xffffffffc0100000n, "-O2 -mcmodel=kernel -fno-pic"],
    [0x400000n, "-O2 -fno-pic"],
    [0x400000n, "-Os -fno-pic -fno-jump-tables"],
    [0x7e000000n, "-O3 -fno-pic"],
    [0x7f0000000000n, "-O2 -mcmodel=large -fno-pic"],
    [0xffff800000000000n, "-O2 -mcmodel=large -fno-pic"],
  ])("at 0x%s, %s: the same bytes", (base, flags) => {
    const options = [
      ...flags.split(" "),
      "-c",
      "-fno-merge-constants",
      "-fno-asynchronous-unwind-tables",
      "-ffreestanding",
    ];
    const object = workshop.gcc("object.o", "object.c", SOURCE, ...options);
    const outer = workshop.gcc("outer.o", "outer.c", OUTER, ...options);
    const script = SECTIONS.map((name) => `${name} : { ${object}(${name}) }`).join("\n");
    const rest = `.rest : { ${outer}(*) } /DISCARD/ : { *(.note* .comment) }`;
    workshop.write("link.ld", `SECTIONS { . = 0x${base.toString(16)};\n${script}\n${rest} }\n`);
    const linked = parse(
      workshop.link("linked", "--no-relax", "-e", "0", "-T", workshop.path("link.ld"), object, outer),
    );
    const file = parse(object);
    let applied = 0;
    for (const name of SECTIONS) {
      const section = file.section(name);
      if (section === null || section.size === 0) continue;
      const place = Uint8Array.from(section.data);
      for (const list of file.relocationsOf(section)) {
        applied += list.count;
        applyRelocations(list, place, sectionOf(linked, name).address, addressesIn(linked, file));
      }
      expect(Buffer.compare(place, sectionOf(linked, name).data), name).toBe(0);
    }
    expect(applied).toBeGreaterThan(10);
  });
});

/** What `ld` gave the symbols of an object. */
function addressesIn(linked: ElfFile, object: ElfFile): SymbolResolver {
  const { symbols } = object;
  const { symbols: globals } = linked;
  if (symbols === null || globals === null) throw new Error("no symbols");
  return (symbol) => {
    const section = symbols.section(symbol);
    if (section !== SymbolSection.undefined) {
      const start = sectionOf(linked, object.sections[section].name).address;
      return (start + symbols.value(symbol)) as GuestAddress;
    }
    const found = globals.find(symbols.name(symbol));
    return found < 0 || globals.isUndefined(found) ? null : globals.value(found);
  };
}

describe.skipIf(!isInstalled("gcc"))("relocations that cannot be applied", () => {
  const relocate = (text: string, address: number, symbolAddress: number | null) => {
    const file = parse(workshop.gcc("one.o", "one.s", text, "-c"));
    const section = sectionOf(file, ".text");
    const place = Uint8Array.from(section.data);
    for (const list of file.relocationsOf(section)) {
      applyRelocations(list, place, address as GuestAddress, () => symbolAddress as GuestAddress | null);
    }
    return new DataView(place.buffer);
  };
  const failure = (...args: Parameters<typeof relocate>): KorralError => {
    try {
      relocate(...args);
    } catch (error) {
      if (error instanceof KorralError) return error;
      throw error;
    }
    throw new Error("it did not fail");
  };

  const LONG = ".long far\n";
  const SIGNED = "movq $far, %rax\n";
  const RELATIVE = ".long far - .\n";
  test.each<[string, string, number, number, number | null]>([
    ["32, its most", LONG, 0, 0xffff_ffff, 0xffff_ffff],
    ["32, too much", LONG, 0, 0x1_0000_0000, null],
    ["32, negative", LONG, 0, -1, null],
    ["32S, its most", SIGNED, 0, 0x7fff_ffff, 0x7fff_ffff],
    ["32S, too much", SIGNED, 0, 0x8000_0000, null],
    ["32S, its least", SIGNED, 0, -0x8000_0000, 0x8000_0000],
    ["32S, too little", SIGNED, 0, -0x8000_0001, null],
    ["PC32, its most", RELATIVE, -0x4000_0000, 0x3fff_ffff, 0x7fff_ffff],
    ["PC32, too much", RELATIVE, -0x4000_0000, 0x4000_0000, null],
    ["PC32, its least", RELATIVE, 0x4000_0000, -0x4000_0000, 0x8000_0000],
    ["PC32, too little", RELATIVE, 0x4000_0000, -0x4000_0001, null],
  ])("R_X86_64_%s", (name, text, address, symbol, expected) => {
    const at = text === SIGNED ? 3 : 0;
    if (expected !== null) {
      expect(relocate(text, address, symbol).getUint32(at, true)).toBe(expected);
      return;
    }
    const error = failure(text, address, symbol);
    expect(error.exitStatus).toBe(ExitStatus.unusableInput);
    expect(error.message).toMatch(new RegExp(`R_X86_64_${name.split(",")[0]} to far at ${at} of .text would be 0x`));
  });

  test("64 and PC64 take all 64 bits", () => {
    expect(relocate(".quad far - 2\n", 0, -0x7f000000).getBigUint64(0, true)).toBe(0xffffffff80fffffen);
    expect(relocate(".quad far - .\n", -0x1000, 2 ** 47 - 1).getBigUint64(0, true)).toBe(0x800000000fffn);
  });

  test.each([
    ["movq far@GOTPCREL(%rip), %rax", /R_X86_64_REX_GOTPCRELX.*-fno-pic/],
    ["pushq far@GOTPCREL(%rip)", /R_X86_64_GOTPCREL.*-fno-pic/],
    ["leaq far@tpoff(%rax), %rax", /R_X86_64_TPOFF32.*thread-local/],
    [".byte far", /R_X86_64_8, which cannot be applied/],
  ])("%s is refused by its name", (text, message) => {
    const error = failure(`${text}\n`, 0, 0);
    expect([error.exitStatus, error.message]).toEqual([ExitStatus.unsupported, expect.stringMatching(message)]);
  });

  test("a symbol that nobody defines is refused by its name, unless it is weak", () => {
    const error = failure("call far\n", 0, null);
    expect(error.exitStatus).toBe(ExitStatus.unsupported);
    expect(error.message).toContain("nobody defines the symbol far, which .text needs");
    expect(relocate(".weak far\n.quad far + 5\n", 0, null).getUint32(0, true)).toBe(5);
  });

  test("beyond the section, beyond the symbols, of a number without a name", () => {
    const bytes = workshop.read(workshop.gcc("one.o", "one.s", "nop\ncall far\n", "-c"));
    const file = ElfFile.parse(bytes, "one");
    const [list] = file.relocations();
    const entry = list.fileOffset(0);
    const changed = (offset: number, value: number) => {
      const copy = bytes.slice();
      new DataView(copy.buffer).setUint32(entry + offset, value, true);
      const again = ElfFile.parse(copy, "one");
      const section = sectionOf(again, ".text");
      try {
        applyRelocations(
          again.relocationsOf(section)[0],
          section.data.slice(),
          0 as GuestAddress,
          () => 0 as GuestAddress,
        );
      } catch (error) {
        if (error instanceof KorralError) return error.message;
        throw error;
      }
      return "fine";
    };
    expect(changed(0, 2)).toBe("fine");
    expect(changed(0, 3)).toBe(`one is broken at byte ${entry}: R_X86_64_PLT32 at 3 of a section of 6 bytes`);
    expect(changed(4, 0xffff_ffff)).toMatch(/at -\d+ of a section of 6 bytes/);
    expect(changed(12, 99)).toMatch(/refers to symbol 99 of/);
    expect(changed(8, 999)).toMatch(/relocation type 999, which cannot be applied/);
    expect(changed(20, 0x40000000)).toMatch(/the addend of relocation 0 0x40000000/);
  });
});
