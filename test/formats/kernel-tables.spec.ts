// Types and symbols of a real kernel: against libbpf, against its table of exported symbols, and against themselves.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Btf, BtfKind, type BtfTypeId } from "../../src/formats/btf.js";
import { typesOfImage, typesOfModule } from "../../src/formats/btf-image.js";
import { decompress } from "../../src/formats/compression.js";
import { ElfFile } from "../../src/formats/elf.js";
import type { ElfSection } from "../../src/formats/elf-section.js";
import type { Kallsyms } from "../../src/formats/kallsyms.js";
import { symbolsOfImage } from "../../src/formats/kallsyms-image.js";
import { type Kept, packArrays } from "../../src/formats/packed-arrays.js";
import { openKernelImage } from "../../src/formats/vmlinuz.js";
import { formatGuestAddress, type GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { differences, dumpTypes } from "../support/bpftool.js";
import { debianKernel } from "../support/debian-kernel.js";

const MODULES = ["e1000e", "nvme", "virtio_net", "nf_tables"];
/** struct kernel_symbol with relative references: value, name, name space. */
const EXPORT_BYTES = 12;

const kernels = ["6.1", "6.12"].map((series) => {
  const kernel = debianKernel(series);
  return { kernel, title: typeof kernel === "string" ? kernel : kernel.packageName };
});

interface Export {
  readonly name: string;
  readonly address: GuestAddress;
}

function* exportsOf(image: ElfFile): Iterable<Export> {
  const strings = section(image, "__ksymtab_strings");
  for (const name of ["__ksymtab", "__ksymtab_gpl"]) {
    const { address, data } = section(image, name);
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    for (let at = 0; at < data.length; at += EXPORT_BYTES) {
      const value = (address + at + view.getInt32(at, true)) as GuestAddress;
      yield { name: strings.text(address + at + 4 + view.getInt32(at + 4, true) - strings.address), address: value };
    }
  }
}

function section(image: ElfFile, name: string): ElfSection {
  const found = image.section(name);
  if (found === null) throw new Error(`${image.name} has no section ${name}`);
  return found;
}

function keptOf(files: ReadonlyMap<string, Uint8Array>, key: string): Uint8Array {
  const found = files.get(key);
  if (found === undefined) throw new Error(`nothing was kept as ${key}`);
  return found;
}

const workshop = new Workshop();
afterAll(() => workshop.close());

describe.each(kernels)("tables of $title", ({ kernel }) => {
  if (typeof kernel === "string") {
    test.skip("need that kernel");
    return;
  }

  let image: ElfFile;
  let types: Btf;
  let symbols: Kallsyms;

  beforeAll(() => {
    const path = kernel.image;
    image = ElfFile.parse(openKernelImage(new Uint8Array(readFileSync(path)), path).vmlinux(), "vmlinux");
    types = typesOfImage(image);
    symbols = symbolsOfImage(image);
  });

  test("what was kept of an image says the same as the image", () => {
    const files = new Map<string, Uint8Array>();
    const keep = (key: string, make: () => Uint8Array): Uint8Array => {
      files.set(key, make());
      return keptOf(files, key);
    };
    typesOfImage(image, keep);
    symbolsOfImage(image, keep);
    const again = (key: string): Uint8Array => keptOf(files, key);
    const [keptTypes, keptSymbols] = [typesOfImage(image, again), symbolsOfImage(image, again)];
    expect(keptTypes.endId).toBe(types.endId);
    expect(keptTypes.all("list_head")).toEqual(types.all("list_head"));
    expect(keptTypes.offsetOf("net_device.mtu")).toBe(types.offsetOf("net_device.mtu"));
    expect(keptSymbols.count).toBe(symbols.count);
    for (let index = 0; index < symbols.count; index++) {
      if (keptSymbols.address(index) !== symbols.address(index)) expect.fail(`symbol ${index} has another address`);
      if (index % 97 === 0) expect(keptSymbols.all(symbols.name(index))).toEqual(symbols.all(symbols.name(index)));
    }
    expect(keptSymbols.find("no such symbol")).toBe(-1);
  });

  test("what was kept and does not fit is found anew, and kept", () => {
    const files = new Map<string, Uint8Array>();
    const keep: Kept = (key, make, isUsable) => {
      const known = files.get(key);
      if (known === undefined || !isUsable(known)) files.set(key, make());
      return keptOf(files, key);
    };
    typesOfImage(image, keep);
    symbolsOfImage(image, keep);
    const sound = new Map(files);
    const arraysOf = (key: string, counts: readonly number[]): Uint32Array[] => {
      const bytes = keptOf(sound, key);
      const header = Math.ceil((2 + counts.length) / 2) * 8;
      const sizes = new Uint32Array(bytes.buffer, bytes.byteOffset + 8, counts.length);
      let at = bytes.byteOffset + header;
      return Array.from(sizes, (size) => {
        const array = new Uint32Array(bytes.buffer.slice(at, at + size));
        at += Math.ceil(size / 8) * 8;
        return array;
      });
    };
    const formatOf = (key: string): number => new DataView(keptOf(sound, key).buffer).getUint32(0, true);
    const damages: [string, (array: Uint32Array) => Uint32Array][] = [
      ["is empty", () => new Uint32Array(0)],
      ["lacks its end", (array) => array.slice(0, -2)],
      ["is twice as long", (array) => Uint32Array.from([...array, ...array])],
      ["has a large number", (array) => array.map((word, i) => (i === (array.length >> 2) * 2 ? 0x7fff_fff0 : word))],
    ];
    for (const [key, count] of [
      ["types", 3],
      ["symbols", 5],
    ] as const) {
      const arrays = arraysOf(key, Array.from({ length: count }));
      expect(packArrays(formatOf(key), arrays)).toEqual(keptOf(sound, key));
      for (let i = 0; i < count; i++) {
        for (const [what, damage] of damages) {
          files.set(key, packArrays(formatOf(key), arrays.with(i, damage(arrays[i]))));
          const text = `${key}: array ${i} ${what}`;
          if (key === "types") expect(typesOfImage(image, keep).all("list_head"), text).toEqual(types.all("list_head"));
          else expect(symbolsOfImage(image, keep).find("_printk"), text).toBe(symbols.find("_printk"));
          if (Buffer.compare(keptOf(files, key), keptOf(sound, key)) !== 0) expect.fail(text);
        }
      }
    }
  });

  test("what was kept of another image is of no use", () => {
    const other = (): Uint8Array => packArrays(1, []);
    expect(typesOfImage(image, other).endId).toBe(types.endId);
    expect(symbolsOfImage(image, other).count).toBe(symbols.count);
  });

  test.skipIf(!isInstalled("bpftool"))("every type is what libbpf reads, in the image and in modules", () => {
    const base = workshop.write("vmlinux.btf", section(image, ".BTF").data);
    expect(differences(types, dumpTypes(base))).toEqual([]);
    for (const name of MODULES) {
      const path = kernel.modules.find((each) => /([^/]+)\.ko/.exec(each)?.[1] === name);
      if (path === undefined) continue;
      const module = ElfFile.parse(decompress(new Uint8Array(readFileSync(path)), path), name);
      const file = workshop.write(`${name}.btf`, section(module, ".BTF").data);
      expect(differences(typesOfModule(module, types), dumpTypes(file, base)), name).toEqual([]);
    }
  });

  test("every type can be written as C", () => {
    let letters = 0;
    for (let id = 0; id < types.endId; id++) letters += types.describe(id as BtfTypeId).length;
    expect(letters).toBeGreaterThan(1_000_000);
    expect(types.prototype("register_netdev")).toBe("int (struct net_device *)");
    expect(types.prototype("request_threaded_irq", { typedefs: "expand" })).toBe(
      "int (unsigned int, enum irqreturn (*)(int, void *), enum irqreturn (*)(int, void *), unsigned long, const char *, void *)",
    );
  });

  test("every function and per-CPU variable that has a type has a symbol", () => {
    const functions = new Set<string>();
    for (let id = 1; id < types.endId; id++) {
      if (types.kind(id as BtfTypeId) === BtfKind.function) functions.add(types.nameOf(id as BtfTypeId));
    }
    expect(functions.size).toBeGreaterThan(10_000);
    const missing = [...functions].filter((name) => !symbols.has(name));
    expect(missing.length / functions.size).toBeLessThan(0.01);
    for (const { name, offset } of types.variablesIn(".data..percpu")) {
      expect(
        symbols.all(name).map((index) => symbols.address(index)),
        name,
      ).toContain(offset);
    }
  });

  test("every exported symbol has the address that its export says", () => {
    let count = 0;
    for (const { name, address } of exportsOf(image)) {
      expect(formatGuestAddress(symbols.addressOf(name)), name).toBe(formatGuestAddress(address));
      count++;
    }
    expect(count).toBeGreaterThan(5000);
  });

  test("symbols ascend, and lie where the sections are", () => {
    const text = section(image, ".text");
    expect(symbols.addressOf("_text")).toBe(text.address);
    expect(symbols.addressOf("__start___ksymtab")).toBe(section(image, "__ksymtab").address);
    expect(symbols.addressOf("__start_BTF")).toBe(section(image, ".BTF").address);
    expect(symbols.addressOf("_end")).toBeGreaterThan(text.address + text.size);
    const misplaced: string[] = [];
    for (let index = 0; index < symbols.count; index++) {
      const address = symbols.address(index);
      const place = symbols.at(address);
      const found = place !== null && place.offset === 0 && symbols.address(place.index) === address;
      const ascends = index === 0 || address >>> 0 >= symbols.address(index - 1) >>> 0;
      if (!found || !ascends) misplaced.push(symbols.name(index));
    }
    expect(misplaced).toEqual([]);
  });
});
