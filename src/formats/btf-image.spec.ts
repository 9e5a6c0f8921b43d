import { afterAll, describe, expect, test } from "vitest";
import { isInstalled, Workshop } from "../../test/support/binutils.js";
import { BtfWriter } from "../../test/support/btf-writer.js";
import { ExitStatus } from "../util/errors.js";
import { typesOfImage, typesOfModule } from "./btf-image.js";
import { ElfFile } from "./elf.js";
import { symbolsOfImage } from "./kallsyms-image.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

function object(name: string, assembler: string): ElfFile {
  return ElfFile.parse(workshop.read(workshop.gcc(`${name}.o`, `${name}.s`, assembler, "-c")), name);
}

function btfSection(writer: BtfWriter): string {
  return `.section .BTF,"a"\n.byte ${[...writer.bytes()].join(",")}\n`;
}

describe.skipIf(!isInstalled("gcc"))("types and symbols of ELF files", () => {
  const base = new BtfWriter();
  const int = base.int("int", 4);
  const image = typesOfImage(object("vmlinux", btfSection(base)));

  test("a module's types stand on the image's", () => {
    const split = new BtfWriter(base);
    split.struct("adapter", 4, [{ name: "count", type: int, bit: 0 }]);
    const module = typesOfModule(object("e1000", btfSection(split)), image);
    expect([module.source, module.base, module.offsetOf("adapter.count"), module.sizeOf("int")]).toEqual([
      "e1000",
      image,
      0,
      4,
    ]);
  });

  test.each([
    ["an image without types", () => typesOfImage(object("bare", ".text\n")), "btf-missing"],
    ["a module without types", () => typesOfModule(object("bare", ".text\n"), image), "btf-missing"],
    [
      "types on an extract",
      () => typesOfModule(object("any", '.section .BTF.base,"a"\n.long 0\n'), image),
      "btf-distilled",
    ],
    ["a file that is no kernel", () => symbolsOfImage(object("bare", ".text\n")), "kallsyms-missing"],
  ])("%s is not supported", (_what, call, code) => {
    expect(call).toThrow(expect.objectContaining({ code, exitStatus: ExitStatus.unsupported }));
  });

  test("an image whose data hold no symbols is unusable", () => {
    const file = object("other", '.section .rodata,"a"\n.zero 4096\n');
    expect(() => symbolsOfImage(file)).toThrow(
      expect.objectContaining({ code: "kallsyms-missing", exitStatus: ExitStatus.unusableInput }),
    );
  });
});
