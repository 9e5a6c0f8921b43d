import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { imageOf, moduleOf, type WrittenModule } from "../../test/support/kernel-elf-writer.js";
import { type KernelFiles, KernelPackage } from "./kernel-package.js";
import { pciAlias } from "./kernel-package-alias.js";
import { imageExports } from "./kernel-package-exports.js";
import { isMismatch, resolveImports } from "./kernel-package-imports.js";
import { ModuleIndex } from "./kernel-package-index.js";

/** A kernel in memory that counts what is asked of it. */
class MemoryKernel implements KernelFiles {
  readonly name = "linux-image-test";
  readonly release = "1.2.3";
  readonly reads: string[] = [];
  readonly kept = new Map<string, Uint8Array>();
  readonly #files = new Map<string, Uint8Array>();

  constructor(
    modules: Readonly<Record<string, WrittenModule>>,
    private readonly extra: { readonly config?: string; readonly builtin?: string } = {},
  ) {
    for (const [name, module] of Object.entries(modules)) {
      this.#files.set(`lib/modules/1.2.3/kernel/${name}.ko.gz`, new Uint8Array(gzipSync(moduleOf(module))));
    }
    this.#files.set("lib/modules/1.2.3/modules.order", new Uint8Array(0));
  }

  get modulePaths(): string[] {
    return [...this.#files.keys()];
  }

  vmlinux(): Uint8Array {
    return imageOf(this.release, [
      { name: "printk", crc: 1 },
      { name: "kfree", crc: 2 },
      { name: "old", crc: 3 },
    ]);
  }

  config(): string | null {
    return this.extra.config ?? null;
  }

  builtinInfo(): Uint8Array | null {
    return this.extra.builtin === undefined ? null : new TextEncoder().encode(this.extra.builtin);
  }

  read(path: string): Uint8Array {
    this.reads.push(path);
    return this.#files.get(path) ?? new Uint8Array(0);
  }

  derived(key: string, make: () => Uint8Array, isUsable: (bytes: Uint8Array) => boolean = () => true): Uint8Array {
    const kept = this.kept.get(key);
    const made = kept !== undefined && isUsable(kept) ? kept : make();
    this.kept.set(key, made);
    return made;
  }
}

const depends = (...names: string[]): WrittenModule => ({ info: [`depends=${names.join(",")}`, "license=GPL"] });

describe("a kernel package", () => {
  test("names of modules: with - or _, whatever their files are called", () => {
    const kernel = new KernelPackage(new MemoryKernel({ "net/snd-hda": depends(), b_c: depends() }));
    expect(kernel.modules.map(({ name }) => name)).toEqual(["b_c", "snd_hda"]);
    expect(kernel.path("snd-hda")).toBe("lib/modules/1.2.3/kernel/net/snd-hda.ko.gz");
    expect(kernel.path("snd_hda")).toBe(kernel.path("snd-hda"));
    expect([kernel.has("b-c"), kernel.has("bc"), kernel.has("modules")]).toEqual([true, false, false]);
    expect(kernel.module("snd-hda").get("license")).toBe("GPL");
    expect(kernel.moduleBytes("snd-hda").subarray(0, 4)).toEqual(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46));
  });

  test("a module that is not there: what is like it, or where it is", () => {
    const files = new MemoryKernel({ e1000: depends() }, { builtin: "8250.alias=x\0core.license=GPL\0" });
    const kernel = new KernelPackage(files);
    expect(() => kernel.path("e1001")).toThrow('linux-image-test has no module "e1001"; similar names: e1000');
    expect(() => kernel.moduleBytes("8250")).toThrow("8250 is part of the image of linux-image-test, and no module");
  });

  test("how far indexing is, if there is much of it", () => {
    const named = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`m${i}`, depends()]));
    const parts = (count: number): number[] => {
      const kernel = new KernelPackage(new MemoryKernel(named(count)));
      const heard: number[] = [];
      kernel.onIndexing = (part) => heard.push(part);
      kernel.index();
      kernel.index();
      return heard;
    };
    expect(parts(80)).toEqual([0.4, 0.8, 1]);
    expect(parts(3)).toEqual([]);
  });

  test("dependencies, each after its own", () => {
    const kernel = new KernelPackage(
      new MemoryKernel({ a: depends("b", "c-d"), b: depends("e"), "c-d": depends("e", "b"), e: depends() }),
    );
    expect(kernel.dependencies("a")).toEqual(["e", "b", "c_d"]);
    expect(kernel.dependencies("e")).toEqual([]);
    expect(kernel.loadOrder("a")).toEqual(["e", "b", "c_d", "a"]);
  });

  test("dependencies that are missing or go round", () => {
    const kernel = new KernelPackage(
      new MemoryKernel({ a: depends("b"), b: depends("gone"), x: depends("y"), y: depends("z"), z: depends("y") }),
    );
    expect(() => kernel.dependencies("a")).toThrow('no module "gone", which b depends on');
    expect(() => kernel.dependencies("x")).toThrow("depend on each other in a circle: y, z, y");
  });

  test("soft dependencies: by name or alias, generic ones first, none that are built in or missing", () => {
    const kernel = new KernelPackage(
      new MemoryKernel(
        {
          fs: { info: ["depends=lib", "softdep=pre: sum zlib gone post: late"] },
          lib: { info: ["depends=", "softdep=pre: helper"] },
          helper: depends("base"),
          base: depends(),
          late: depends(),
          sum_fast: { info: ["alias=sum"] },
          sum_generic: { info: ["alias=sum"] },
        },
        { builtin: "inflate.alias=zlib\0" },
      ),
    );
    expect(kernel.loadOrder("fs")).toEqual(["base", "helper", "lib", "sum_generic", "fs", "late"]);
    expect(kernel.dependencies("fs")).toEqual(["lib"]);
  });

  test("which modules a device is for, and which have a symbol", () => {
    const files = new MemoryKernel({
      one: { info: ["alias=pci:v00008086d0000100Esv*sd*bc*sc*i*"], exports: [{ name: "shared" }] },
      any: {
        info: ["alias=pci:v*d*sv*sd*bc02sc00i*", "alias=net-pf-16"],
        exports: [{ name: "shared" }, { name: "own" }],
      },
      other: { info: ["alias=pci:v00008086d0000100Fsv*sd*bc*sc*i*"] },
    });
    const kernel = new KernelPackage(files);
    const device = {
      vendor: 0x8086,
      device: 0x100e,
      subsystemVendor: 0x1af4,
      subsystemDevice: 0x1100,
      class: 0x020000,
    };
    expect(pciAlias(device)).toBe("pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00");
    expect(kernel.modulesFor(pciAlias(device))).toEqual(["any", "one"]);
    expect(kernel.modulesFor("net_pf_16")).toEqual(["any"]);
    expect(kernel.exportersOf("shared")).toEqual(["any", "one"]);
    expect(kernel.exportersOf("nobody's")).toEqual([]);
    expect(files.reads).toHaveLength(3);
    expect(new KernelPackage(files).exportersOf("own")).toEqual(["any"]);
    expect(files.reads, "the index is kept").toHaveLength(3);
  });

  test("an index that is not one, or another kernel's, is made anew", () => {
    const files = new MemoryKernel({ one: { info: [] }, two: { info: [] } });
    new KernelPackage(files).index();
    const [[key, whole]] = files.kept;
    const other = new MemoryKernel({ one: { info: [] }, three: { info: [] } });
    new KernelPackage(other).index();
    for (const bytes of [new Uint8Array(0), whole.subarray(1), ...other.kept.values()]) {
      files.kept.set(key, bytes);
      files.reads.length = 0;
      expect(new KernelPackage(files).index().get("two")?.name).toBe("two");
      expect([files.reads.length, files.kept.get(key)]).toEqual([2, whole]);
      expect(new KernelPackage(files).index().get("three")).toBeUndefined();
      expect(files.reads.length, "it is kept").toBe(2);
    }
  });

  test("an index that is not one", () => {
    for (const text of [
      "",
      "[",
      "{}",
      "[1]",
      '[{"name":"x"}]',
      '[{"name":1,"depends":[],"softBefore":[],"softAfter":[],"aliases":[],"exports":[]}]',
    ]) {
      expect(ModuleIndex.parse(new TextEncoder().encode(text), ["x"]), text).toBeNull();
    }
  });

  test("its configuration", () => {
    const config = '# comment\nCONFIG_SMP=y\nCONFIG_HZ=250\nCONFIG_NAME="a b"\n# CONFIG_X is not set\n';
    expect(new KernelPackage(new MemoryKernel({}, { config })).config()).toEqual(
      new Map([
        ["CONFIG_SMP", "y"],
        ["CONFIG_HZ", "250"],
        ["CONFIG_NAME", "a b"],
      ]),
    );
    expect(new KernelPackage(new MemoryKernel({})).config()).toBeNull();
  });
});

describe("imports", () => {
  const kernel = new KernelPackage(
    new MemoryKernel({
      user: {
        info: ["depends=lib"],
        imports: [
          { name: "printk", crc: 1 },
          { name: "old", crc: 4 },
          { name: "kfree" },
          { name: "helper", crc: 5 },
          { name: "stray", crc: 6 },
          { name: "maybe", weak: true },
          { name: "gone", crc: 7 },
        ],
      },
      lib: { info: [], exports: [{ name: "helper", crc: 5 }] },
      unrelated: { info: [], exports: [{ name: "stray", crc: 6 }] },
    }),
  );
  const image = imageExports(kernel.vmlinux(), "image");

  test("are the image's, a module's, a seam's, or nobody's", () => {
    const seam = (name: string) => (name === "printk" ? { name: "console" } : undefined);
    const found = resolveImports(kernel, image, kernel.module("user"), seam);
    expect(found.map(({ name, kind, from, seam }) => [name, kind, from, seam])).toEqual([
      ["printk", "seam", "vmlinux", "console"],
      ["old", "own", "vmlinux", null],
      ["kfree", "own", "vmlinux", null],
      ["helper", "own", "lib", null],
      ["stray", "own", "unrelated", null],
      ["maybe", "weak", null, null],
      ["gone", "missing", null, null],
    ]);
    expect(found.filter(isMismatch).map(({ name, crc, exportedCrc }) => [name, crc, exportedCrc])).toEqual([
      ["old", 4, 3],
    ]);
  });

  test("what an image exports", () => {
    const bytes = imageOf("1", [{ name: "a", crc: 0xffffffff, namespace: "SPACE" }, { name: "b" }]);
    expect([...imageExports(bytes, "image").values()]).toEqual([
      { name: "a", gplOnly: false, namespace: "SPACE", crc: 0xffffffff },
      { name: "b", gplOnly: false, namespace: "", crc: 0 },
    ]);
  });
});
