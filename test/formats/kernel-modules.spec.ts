import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { modinfoText } from "../../src/cli/modinfo.js";
import { decompress } from "../../src/formats/compression.js";
import { applyRelocations } from "../../src/formats/elf-relocations.js";
import { KernelModule } from "../../src/formats/kernel-module.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, run, Workshop } from "../support/binutils.js";
import { debianKernel } from "../support/debian-kernel.js";

// Not on everybody's path.
const MODINFO = "/sbin/modinfo";
const FILES_A_RUN = 200;
const FILENAME = /^filename: {7}(.*)\n/gm;

describe.each(["6.1", "6.12"])("all modules of Debian's newest %s", (series) => {
  const kernel = debianKernel(series);
  if (typeof kernel === "string") {
    test.skip(kernel);
    return;
  }
  const { modules } = kernel;
  const workshop = new Workshop();
  afterAll(() => workshop.close());
  const plain = new Map<string, Uint8Array>();
  beforeAll(() => {
    for (const path of modules) plain.set(path, decompress(new Uint8Array(readFileSync(path)), path));
  });

  function load(path: string): KernelModule {
    return KernelModule.parse(plain.get(path) ?? new Uint8Array(0), path);
  }

  test.skipIf(!isInstalled(MODINFO))("say of themselves what modinfo says", () => {
    const said = new Map<string, string>();
    for (const files of inRuns(modules)) {
      const output = run(MODINFO, files);
      const starts = [...output.matchAll(FILENAME)];
      for (const [i, match] of starts.entries()) {
        said.set(match[1], output.slice(match.index, starts[i + 1]?.index ?? output.length));
      }
    }
    expect(said.size).toBe(modules.length);
    const different = modules.filter((path) => !modinfoText(load(path), path).startsWith(said.get(path) ?? "nothing"));
    expect(different).toEqual([]);
  });

  test.skipIf(!isInstalled("nm"))("import what nm says, with a checksum each", () => {
    let imports = 0;
    for (const paths of inRuns(modules)) {
      // nm does not decompress.
      const files = paths.map((path, i) => workshop.write(`${i}.ko`, plain.get(path) ?? ""));
      const output = `\n${run("nm", ["-u", ...files])}`;
      const parts = output.split(/\n\n?(?=\/.*:\n)/).slice(1);
      expect(parts.length).toBe(paths.length);
      for (const [i, path] of paths.entries()) {
        const module = load(path);
        const [, ...lines] = parts[i].trim().split("\n");
        const expected = lines.map((line) => line.trim().split(" ")[1]).sort();
        expect(module.imports.map(({ name }) => name).sort(), path).toEqual(expected);
        expect(module.imports.filter(({ crc, weak }) => crc === null && !weak)).toEqual([]);
        imports += expected.length;
      }
    }
    expect(imports).toBeGreaterThan(20_000);
  });

  test("import from each other with the checksum that the other exports", () => {
    const loaded = modules.map(load);
    const exported = new Map<string, number | null>();
    for (const module of loaded) {
      for (const { name, crc, symbol } of module.exports) {
        exported.set(name, crc);
        expect(module.symbols.name(symbol)).toBe(name);
      }
    }
    expect(exported.size).toBeGreaterThan(3000);
    let compared = 0;
    for (const module of loaded) {
      for (const { name, crc } of module.imports) {
        if (!exported.has(name)) continue;
        compared++;
        expect(exported.get(name), `${name} for ${basename(module.elf.name)}`).toBe(crc);
      }
    }
    expect(compared).toBeGreaterThan(3000);
  });

  test("have parameters with permissions, functions to start with, and a descriptor", () => {
    for (const path of modules) {
      const module = load(path);
      const where = basename(path).replace(/\.xz$/, "");
      // Some describe what they do not have: cachefiles.ko.
      const real = module.parameters.filter(({ type }) => type !== null);
      expect(
        real.every(({ permissions }) => permissions !== null && (permissions & ~0o666) === 0),
        where,
      ).toBe(true);
      expect(module.descriptor?.name, where).toBe(".gnu.linkonce.this_module");
      expect(`${module.name}.ko`, where).toBe(where.replaceAll("-", "_"));
      expect(module.versions.has("module_layout"), where).toBe(true);
    }
    expect(modules.filter((path) => load(path).init >= 0).length).toBeGreaterThan(0.9 * modules.length);
  });

  test("have no relocation that cannot be applied, at the addresses of modules", () => {
    let applied = 0;
    for (const path of modules) {
      const { elf, symbols } = load(path);
      const starts: number[] = [];
      let next = -0x40000000;
      for (const section of elf.sections) {
        starts.push(next);
        if (section.allocated) next += Math.ceil((section.size + 1) / 4096) * 4096;
      }
      const resolve = (symbol: number): GuestAddress => {
        const section = symbols.section(symbol);
        return (section > 0 ? starts[section] + symbols.value(symbol) : -0x7f000000) as GuestAddress;
      };
      for (const section of elf.sections) {
        if (!section.allocated) continue;
        const place = section.data.slice();
        for (const list of elf.relocationsOf(section)) {
          applied += list.count;
          applyRelocations(list, place, starts[section.index] as GuestAddress, resolve);
        }
      }
    }
    expect(applied).toBeGreaterThan(1_000_000);
  });
});

function* inRuns(files: readonly string[]): Generator<string[]> {
  for (let start = 0; start < files.length; start += FILES_A_RUN) yield files.slice(start, start + FILES_A_RUN);
}
