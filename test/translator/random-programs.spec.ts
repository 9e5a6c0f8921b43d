import { afterAll, describe, expect, it } from "vitest";
import { isInstalled, Workshop } from "../support/binutils.js";
import { PROLOGUE, ProgramGenerator } from "./programs/generator.js";
import { COUNTED, EVERY_CHECK, PLAIN, SLICED, sandboxOf, UNCHECKED } from "./programs/guest.js";
import { callNatively } from "./programs/native.js";
import { compiledAt } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const PROGRAMS = 8;
const ARGUMENTS = [
  [1n, 2n],
  [0xffff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n],
  [12345678987654321n, 77n],
];

describe.skipIf(!isInstalled("gcc"))("Generated C programs compute in a sandbox what they compute natively", () => {
  for (const [i, level] of ["-O0", "-O1", "-O2", "-O3", "-Os"].entries()) {
    const first = 1000 + PROGRAMS * i;
    it(`${PROGRAMS} programs from seed ${first} on, compiled with ${level}`, () => {
      const prefixes = Array.from({ length: PROGRAMS }, (_, k) => `p${first + k}_`);
      const text = prefixes.map((prefix, k) => new ProgramGenerator(first + k, prefix).generate());
      const object = compiledAt(workshop, PROLOGUE + text.join("\n"), level);
      const calls = prefixes.flatMap((prefix) => ARGUMENTS.map((args) => ({ name: `${prefix}main`, args })));
      const expected = callNatively(workshop, object, calls);
      for (const variant of [PLAIN, UNCHECKED, SLICED, i % 2 === 0 ? EVERY_CHECK : COUNTED]) {
        const sandbox = sandboxOf(variant);
        sandbox.load(workshop.read(object));
        const results = calls.map(({ name, args }) => sandbox.call(name, args));
        expect(results, variant.name).toEqual(expected);
      }
    });
  }
});
