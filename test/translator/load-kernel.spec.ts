// All modules of Debian's kernels as they are laid out.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decompress } from "../../src/formats/compression.js";
import { ElfFile } from "../../src/formats/elf.js";
import { SymbolBinding, SymbolType } from "../../src/formats/elf-constants.js";
import { HIGH_SPACE } from "../../src/translator/guest-space.js";
import { placeObject, planObject } from "../../src/translator/load-object.js";
import { debianKernel } from "../support/debian-kernel.js";

/** All are a minute's work; these are of all kinds. */
const EVERY = 4;

describe.each(["6.1", "6.12"])("modules of Debian's newest %s", (series) => {
  const kernel = debianKernel(series);
  if (typeof kernel === "string") {
    test.skip(kernel);
    return;
  }

  test("are loaded, with all of their functions and imports", () => {
    let functions = 0;
    for (const path of kernel.modules.filter((_, i) => i % EVERY === 0)) {
      const bytes = decompress(new Uint8Array(readFileSync(path)), path);
      const plan = planObject(bytes, path);
      expect([plan.kind, plan.space]).toEqual(["module", HIGH_SPACE]);
      const loaded = placeObject(plan, plan.space, plan.address, () => null);
      const strong = plan.imports.filter(({ weak }) => !weak).map(({ name }) => name);
      const imported = loaded.imports.map(({ name }) => name);
      expect(strong).toEqual(expect.arrayContaining(imported));
      // Symbols that nothing refers to are left over in a few.
      expect(imported.length, path).toBeGreaterThanOrEqual(Math.floor(0.8 * strong.length));
      const { symbols } = ElfFile.parse(bytes, path);
      const starts = new Map(loaded.functions.map(({ address, size }) => [address, size]));
      for (let symbol = 1; symbol < (symbols?.count ?? 0); symbol++) {
        if (symbols === null || symbols.type(symbol) !== SymbolType.function || symbols.isUndefined(symbol)) continue;
        const name = symbols.name(symbol);
        if (symbols.binding(symbol) === SymbolBinding.local && [...symbols.named(name)].length > 1) continue;
        expect(starts.get(loaded.symbols.find(name).address), `${name} of ${path}`).toBeGreaterThan(0);
        functions++;
      }
      for (const [i, { address }] of loaded.segments.slice(1).entries()) {
        expect(address).toBeGreaterThanOrEqual(loaded.segments[i].address + loaded.segments[i].size);
      }
    }
    expect(functions).toBeGreaterThan(10_000);
  });
});
