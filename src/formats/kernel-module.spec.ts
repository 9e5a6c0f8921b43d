import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isInstalled, Workshop } from "../../test/support/binutils.js";
import { ExitStatus, KorralError } from "../util/errors.js";
import { ElfError } from "./elf-bytes.js";
import { KernelModule } from "./kernel-module.js";

const MODULE = `
.section .modinfo,"a"
.asciz "license=GPL v2"
.asciz "author=Ada Lovelace"
.asciz "author=Søren = Kierkegaard"
.zero 5
.asciz "no equals sign"
.asciz "=no key"
.asciz "depends=mii,ptp"
.asciz "parm=debug:Level: 0 to 3"
.asciz "parmtype=debug:int"
.asciz "parm=described:Only described"
.asciz "parmtype=typed:array of uint"
.asciz "name=sample"
.ascii "vermagic=6.1.0 SMP "

.section __versions,"a"
.quad 0x11223344
.asciz "kfree"
.org 64
.quad 0xfedcba98
.asciz "module_layout"
.org 128

.section __param,"aw"
.quad name, __this_module, param_ops_int
.word 0644
.byte -1, 0
.long 0
.quad 0

.section .rodata,"a"
.asciz "unused"
name: .asciz "debug"

.section __ksymtab_strings,"aMS",@progbits,1
kstr: .asciz "mine"
ns: .asciz "SPACE"
nons: .asciz ""

.section __ksymtab,"a"
.long mine - ., kstr - ., nons - .
.section __ksymtab_gpl,"a"
.long init_module - ., kstr - ., ns - .
.section __kcrctab,"a"
.long 0xcafe1234

.section .gnu.linkonce.this_module,"aw"
.globl __this_module
__this_module: .quad init_module

.text
.globl init_module, mine
.type init_module,@function
.weak may_be_missing
init_module: call kfree
call may_be_missing
.type mine,@function
mine: ret
`;

const MAGIC = "~Module signature appended~\n";
const workshop = new Workshop();
afterAll(() => workshop.close());

/** DER. */
function element(tag: number, ...content: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const bytes = content.flatMap((part) => [...part]);
  return Uint8Array.from([tag, 0x82, bytes.length >> 8, bytes.length & 0xff, ...bytes]);
}

const ALGORITHM = element(0x30, element(0x06, [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03]));
const SERIAL = [0x12, 0x34, 0xab];
const SIGNATURE = [1, 2, 3, 4, 5];

function pkcs7(signer: Uint8Array): Uint8Array {
  const info = element(0x30, [2, 1, 1], signer, ALGORITHM, ALGORITHM, element(0x04, SIGNATURE));
  const data = element(0x30, [2, 1, 1], element(0x31, ALGORITHM), element(0x30, [6, 1, 0x2a]), element(0x31, info));
  return element(0x30, [6, 1, 0x2a], element(0xa0, data));
}

function namedBy(attribute: Uint8Array): Uint8Array {
  const organisation = element(0x30, [6, 3, 0x55, 4, 10], element(0x0c, new TextEncoder().encode("Org")));
  const issuer = element(0x30, element(0x31, organisation), element(0x31, attribute));
  return element(0x30, issuer, element(0x02, SERIAL));
}

function byIssuer(): Uint8Array {
  return namedBy(element(0x30, [6, 3, 0x55, 4, 3], element(0x0c, new TextEncoder().encode("A Signer"))));
}

/** linux/module_signature.h */
function append(module: Uint8Array, signature: Uint8Array, change: (trailer: DataView) => void = () => {}): Uint8Array {
  const trailer = new DataView(new ArrayBuffer(12));
  trailer.setUint8(2, 2);
  trailer.setUint32(8, signature.length);
  change(trailer);
  return Uint8Array.from([
    ...module,
    ...signature,
    ...new Uint8Array(trailer.buffer),
    ...new TextEncoder().encode(MAGIC),
  ]);
}

describe.skipIf(!isInstalled("gcc"))("a module", () => {
  let bytes = new Uint8Array(0);
  let module: KernelModule;
  beforeAll(() => {
    bytes = Uint8Array.from(workshop.read(workshop.gcc("sample.ko", "sample.s", MODULE, "-c")));
    module = KernelModule.parse(bytes, "sample.ko");
  });

  test("what it says of itself", () => {
    expect(module.info.map(({ key, value }) => `${key}=${value}`)).toEqual([
      "license=GPL v2",
      "author=Ada Lovelace",
      "author=Søren = Kierkegaard",
      "depends=mii,ptp",
      "parm=debug:Level: 0 to 3",
      "parmtype=debug:int",
      "parm=described:Only described",
      "parmtype=typed:array of uint",
      "name=sample",
      "vermagic=6.1.0 SMP ",
    ]);
    expect([module.name, module.get("license"), module.get("version")]).toEqual(["sample", "GPL v2", null]);
    expect(module.all("author")).toEqual(["Ada Lovelace", "Søren = Kierkegaard"]);
    expect(module.depends).toEqual(["mii", "ptp"]);
  });

  test("its parameters", () => {
    expect(module.parameters).toEqual([
      { name: "typed", description: null, type: "array of uint", permissions: null },
      { name: "described", description: "Only described", type: null, permissions: null },
      { name: "debug", description: "Level: 0 to 3", type: "int", permissions: 0o644 },
    ]);
  });

  test("its imports, with the checksums that it was built for", () => {
    expect([...module.versions]).toEqual([
      ["kfree", 0x11223344],
      ["module_layout", 0xfedcba98],
    ]);
    const imports = module.imports.map(({ name, weak, crc }) => [name, weak, crc]);
    expect(imports.sort()).toEqual([
      ["kfree", false, 0x11223344],
      ["may_be_missing", true, null],
      ["param_ops_int", false, null],
    ]);
  });

  test("its exports", () => {
    const { symbols } = module;
    expect(module.exports).toEqual([
      { name: "mine", symbol: symbols.find("mine"), gplOnly: false, namespace: "", crc: 0xcafe1234 },
      { name: "mine", symbol: symbols.find("init_module"), gplOnly: true, namespace: "SPACE", crc: null },
    ]);
  });

  test("where it starts, and that it cannot be unloaded", () => {
    expect(module.symbols.name(module.init)).toBe("init_module");
    expect(module.exit).toBe(-1);
    expect(module.descriptor?.size).toBe(8);
  });

  describe("signed", () => {
    test.each([
      ["by issuer and serial number", byIssuer(), "A Signer", SERIAL],
      ["by an issuer whose name is cut", namedBy(element(0x30, [6, 3, 0x55, 4, 3])), null, SERIAL],
      ["by key identifier", element(0x80, SERIAL), null, SERIAL],
    ])("%s", (_, signer, name, key) => {
      const signed = KernelModule.parse(append(bytes, pkcs7(signer)), "signed.ko");
      expect(signed.signature).toEqual({
        idType: "PKCS#7",
        signer: name,
        key: Uint8Array.from(key),
        hash: "sha512",
        value: Uint8Array.from(SIGNATURE),
      });
      expect(signed.elf.bytes).toEqual(bytes);
      expect(module.signature).toBeNull();
    });

    test("in the old manner", () => {
      const names = new TextEncoder().encode("Signer\x01\x02\x03");
      const old = append(Uint8Array.from([...bytes, ...names]), Uint8Array.from(SIGNATURE), (trailer) => {
        for (const [at, value] of [1, 4, 1, 6, 3].entries()) trailer.setUint8(at, value);
      });
      const { signature, elf } = KernelModule.parse(old, "old.ko");
      expect(signature).toEqual({
        idType: "X509",
        signer: "Signer",
        key: Uint8Array.from([1, 2, 3]),
        hash: "sha256",
        value: Uint8Array.from(SIGNATURE),
      });
      expect(elf.bytes).toEqual(bytes);
    });

    test("in a form that is not known: nothing is known of it, and the module is read", () => {
      const { signature, elf } = KernelModule.parse(append(bytes, Uint8Array.from([0x30, 0x84, 1, 2])), "odd.ko");
      expect(signature).toEqual({ idType: "PKCS#7", signer: null, key: null, hash: null, value: null });
      expect(elf.bytes).toEqual(bytes);
    });

    test("longer than the file, of an unknown type, nothing but a signature: status 5 and where", () => {
      const long = failure(append(bytes, new Uint8Array(4), (trailer) => trailer.setUint32(8, bytes.length + 5)));
      expect(long).toBeInstanceOf(ElfError);
      expect(long.message).toBe(
        `bad.ko is broken at byte ${bytes.length + 4}: a signature of ${bytes.length + 5} bytes, and ${bytes.length + 4} bytes come before`,
      );
      const unknown = failure(append(bytes, new Uint8Array(4), (trailer) => trailer.setUint8(2, 3)));
      expect(unknown.message).toMatch(/a signature of type 3/);
      expect(failure(new TextEncoder().encode(MAGIC)).message).toMatch(/the file ends within the signature/);
    });
  });

  test("an object, and an executable, are no modules: status 4", () => {
    const object = workshop.read(workshop.gcc("object.o", "object.s", "nop\n", "-c"));
    expect([failure(object).exitStatus, failure(object).message]).toEqual([
      ExitStatus.unsupported,
      "bad.ko is no kernel module: it has no section .modinfo",
    ]);
    const program = workshop.read(workshop.gcc("program", "program.c", "int main(void) { return 0; }\n"));
    expect(failure(program).message).toBe("bad.ko is no kernel module: it is already linked");
  });

  test("versions that are cut, and names in them without an end: status 5 and where", () => {
    const { elf } = module;
    const versions = elf.section("__versions");
    if (versions === null) throw new Error("no versions");
    const cut = bytes.slice();
    new DataView(cut.buffer).setUint32(versions.headerOffset + 32, 127, true);
    expect(failure(cut).message).toMatch(
      new RegExp(`at byte ${versions.headerOffset + 32}: 127 bytes of __versions; an entry has 64`),
    );
    const endless = bytes.slice().fill(0x61, versions.offset + 72, versions.offset + 128);
    expect(failure(endless).message).toMatch(
      new RegExp(`at byte ${versions.offset + 64}: a name in __versions has no end`),
    );
  });
});

function failure(bytes: Uint8Array): KorralError {
  try {
    KernelModule.parse(bytes, "bad.ko");
  } catch (error) {
    if (error instanceof KorralError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}
