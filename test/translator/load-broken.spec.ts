// Files made to exhaust or confuse whoever loads them: an error with a name and a place, before anything is allocated.
import { afterAll, describe, expect, test } from "vitest";
import { ElfFile } from "../../src/formats/elf.js";
import { SegmentType } from "../../src/formats/elf-constants.js";
import { placeObject, planObject } from "../../src/translator/load-object.js";
import { ExitStatus, KorralError } from "../../src/util/errors.js";
import { isInstalled, Workshop } from "../support/binutils.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const TEXT = `.globl _start
  _start: call _start; lea far(%rip), %rax
  .data
  far: .quad _start
  .bss
  .zero 64
  .section .debug_x
  hidden: .quad far
  .comm shared, 8, 8`;

type Change = (view: DataView, elf: ElfFile) => void;

function messageOf(original: Uint8Array, change: Change): [number, string] {
  const bytes = Uint8Array.from(original);
  change(new DataView(bytes.buffer), ElfFile.parse(original, "victim"));
  try {
    const plan = planObject(bytes, "victim");
    placeObject(plan, plan.space, plan.address, () => null);
  } catch (error) {
    if (error instanceof KorralError) return [error.exitStatus, error.message];
    throw error;
  }
  return [ExitStatus.fine, ""];
}

const header = (elf: ElfFile, name: string): number => {
  const section = elf.section(name);
  if (section === null) throw new Error(`no section ${name}`);
  return section.headerOffset;
};

const symbolEntry = (elf: ElfFile, name: string): number => elf.symbols?.fileOffset(elf.symbols.find(name)) ?? 0;

describe.skipIf(!isInstalled("gcc"))("a broken relocatable file", () => {
  const original = workshop.read(workshop.gcc("one.o", "one.s", TEXT, "-c"));
  const size =
    (name: string, bytes: bigint): Change =>
    (view, elf) =>
      view.setBigUint64(header(elf, name) + 32, bytes, true);

  test.each<[string, number, RegExp, Change]>([
    ["as it was", ExitStatus.fine, /^$/, () => {}],
    [
      "a huge .bss",
      4,
      /victim takes \d{10} bytes of addresses up to \.bss \(byte \d+\); at most 1073741824/,
      size(".bss", 2n ** 30n),
    ],
    ["a .bss beyond all addresses", 4, /bytes of addresses up to \.bss/, size(".bss", 2n ** 52n)],
    [
      "a huge common symbol",
      4,
      /bytes of addresses up to shared/,
      (view, elf) => view.setBigUint64(symbolEntry(elf, "shared") + 16, 2n ** 40n, true),
    ],
    [
      "a common symbol aligned to nothing",
      5,
      /broken at byte \d+: shared is aligned to 3/,
      (view, elf) => view.setBigUint64(symbolEntry(elf, "shared") + 8, 3n, true),
    ],
    [
      "a huge alignment",
      4,
      /\.data is to be aligned to 1099511627776 bytes \(byte \d+\); at most 2097152/,
      (view, elf) => view.setBigUint64(header(elf, ".data") + 48, 2n ** 40n, true),
    ],
    [
      "sections on top of each other",
      5,
      /broken at byte \d+: \.(data|text) overlaps another: they have \d+ bytes together/,
      (view, elf) => {
        for (const name of [".text", ".data"]) {
          view.setBigUint64(header(elf, name) + 24, 0n, true);
          view.setBigUint64(header(elf, name) + 32, BigInt(original.length - 8), true);
        }
      },
    ],
    [
      "a compressed section",
      5,
      /broken at byte \d+: \.data is compressed, and to be mapped/,
      (view, elf) => view.setUint32(header(elf, ".data") + 8, 0x803, true),
    ],
    [
      "a symbol in what is not loaded",
      5,
      /broken at byte \d+: something that is loaded refers to far in \.debug_x, which is not/,
      (view, elf) => {
        const index = elf.section(".debug_x")?.index ?? 0;
        view.setUint16(symbolEntry(elf, "far") + 6, index, true);
        const [list] = [...elf.relocations()].filter(({ target }) => target?.name === ".text");
        for (let i = 0; i < list.count; i++)
          view.setUint32(list.fileOffset(i) + 12, elf.symbols?.find("far") ?? 0, true);
      },
    ],
    [
      "a relocation outside of its section",
      5,
      /broken at byte \d+: R_X86_64_64 at 4096 of a section of 8 bytes/,
      (view, elf) => {
        const [list] = [...elf.relocations()].filter(({ target }) => target?.name === ".data");
        view.setBigUint64(list.fileOffset(0), 4096n, true);
      },
    ],
    [
      "a function that reaches beyond its section",
      ExitStatus.fine,
      /^$/,
      (view, elf) => view.setBigUint64(symbolEntry(elf, "_start") + 16, 2n ** 40n, true),
    ],
  ])("%s", (_, status, message, change) => {
    expect(messageOf(original, change)).toEqual([status, expect.stringMatching(message)]);
  });

  test("functions end with their section", () => {
    const bytes = Uint8Array.from(original);
    const elf = ElfFile.parse(original, "victim");
    new DataView(bytes.buffer).setBigUint64(symbolEntry(elf, "_start") + 16, 2n ** 40n, true);
    const plan = planObject(bytes, "victim");
    const { functions } = placeObject(plan, plan.space, plan.address, () => null);
    expect(functions).toEqual([{ name: "_start", address: plan.address, size: elf.section(".text")?.size }]);
  });
});

describe.skipIf(!isInstalled("ld"))("a broken linked file", () => {
  const object = workshop.gcc("one.o", "one.s", TEXT, "-c");
  const original = workshop.read(workshop.link("one", "-pie", "-z", "separate-code", object));

  /** The nth segment that is loaded. */
  const segment = (elf: ElfFile, n: number): number =>
    elf.segments.filter(({ type }) => type === SegmentType.load)[n].headerOffset;
  const last = (elf: ElfFile): number => elf.segments.filter(({ type }) => type === SegmentType.load).length - 1;

  test.each<[string, number, RegExp, Change]>([
    ["as it was", ExitStatus.fine, /^$/, () => {}],
    [
      "a huge segment",
      4,
      /takes \d+ bytes of addresses up to segment \d \(byte \d+\)/,
      (view, elf) => view.setBigUint64(segment(elf, last(elf)) + 40, 2n ** 31n, true),
    ],
    [
      "a segment far away",
      4,
      /takes \d+ bytes of addresses up to segment \d/,
      (view, elf) => view.setBigUint64(segment(elf, last(elf)) + 16, 2n ** 45n, true),
    ],
    [
      "segments on top of each other",
      5,
      /broken at byte \d+: segment \d at 0x0{16} overlaps another/,
      (view, elf) => view.setBigUint64(segment(elf, 1) + 16, 0n, true),
    ],
    [
      "segments of the same bytes",
      5,
      /broken at byte \d+: segment \d overlaps another: they have \d+ bytes together/,
      (view, elf) => {
        for (const n of [0, last(elf)]) {
          const at = segment(elf, n);
          view.setBigUint64(at + 8, 0n, true);
          view.setBigUint64(at + 32, BigInt(original.length - 1), true);
          view.setBigUint64(at + 40, BigInt(original.length - 1), true);
        }
        view.setBigUint64(segment(elf, last(elf)) + 16, 0x100000n, true);
        view.setBigUint64(segment(elf, 1) + 16, 0x200000n, true);
        view.setBigUint64(segment(elf, 2) + 16, 0x300000n, true);
      },
    ],
    [
      "a huge alignment",
      4,
      /segment \d is to be aligned to 4194304 bytes/,
      (view, elf) => view.setBigUint64(segment(elf, 1) + 48, 2n ** 22n, true),
    ],
    [
      "an alignment to nothing",
      5,
      /segment \d is aligned to 6, which is no power of two/,
      (view, elf) => view.setBigUint64(segment(elf, 1) + 48, 6n, true),
    ],
    [
      "an entry into data",
      5,
      /broken at byte 24: the entry point 0x0000000000000008 is not in a segment of code/,
      (view) => view.setBigUint64(24, 8n, true),
    ],
    [
      "a relocation where nothing is",
      5,
      /broken at byte \d+: R_X86_64_RELATIVE at 0x0000000000077000, where no segment has bytes/,
      (view, elf) => {
        const list = [...elf.relocations()][0];
        view.setBigUint64(list.fileOffset(0), 0x77000n, true);
      },
    ],
    [
      "nothing to be loaded",
      4,
      /victim has nothing to be loaded/,
      (view, elf) => {
        for (const one of elf.segments) view.setUint32(one.headerOffset, 0, true);
      },
    ],
    [
      "no section headers",
      4,
      /victim has no section headers, which tell its dynamic relocations/,
      (view) => {
        view.setBigUint64(40, 0n, true);
        view.setUint32(60, 0, true);
      },
    ],
  ])("%s", (_, status, message, change) => {
    expect(messageOf(original, change)).toEqual([status, expect.stringMatching(message)]);
  });
});
