import { afterAll, describe, expect, it } from "vitest";
import { isInstalled, Workshop } from "../support/binutils.js";
import { COUNTED, EVERY_CHECK, PLAIN, SLICED, sandboxOf, UNCHECKED } from "./programs/guest.js";
import { LIBRARY, NAMES } from "./programs/library.js";
import { callNatively } from "./programs/native.js";
import { compiledAt } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const ARGUMENTS = [
  [1n, 0xffffn],
  [0x1234_5678_9abc_def1n, 0x00ff_1234_5678n],
  [0xffff_ffff_ffff_ffffn, 0x8000_0000_0000_0001n],
];
const CALLS = [
  ...NAMES.flatMap((name) => ARGUMENTS.map((args) => ({ name, args }))),
  { name: "queens", args: [6n, 0n] },
  { name: "queens", args: [7n, 0n] },
  { name: "fibonacci", args: [17n, 1_000_007n] },
];

describe.skipIf(!isInstalled("gcc"))("Sorting, hashing, texts, bits and wide numbers", () => {
  for (const flags of [
    ["-O0"],
    ["-O1"],
    ["-O2"],
    ["-O3"],
    ["-Os"],
    ["-O2", "-fPIC"],
    ["-O2", "-fcf-protection", "-fstack-protector-strong"],
  ]) {
    it(`compiled with ${flags.join(" ")}, as natively`, () => {
      const object = compiledAt(workshop, LIBRARY, ...flags);
      const native = flags.includes("-fstack-protector-strong") ? compiledAt(workshop, LIBRARY, "-O2") : object;
      const expected = callNatively(workshop, native, CALLS);
      for (const variant of [PLAIN, UNCHECKED, EVERY_CHECK, SLICED, COUNTED]) {
        const sandbox = sandboxOf(variant);
        sandbox.load(workshop.read(object));
        expect(
          CALLS.map(({ name, args }) => sandbox.call(name, args)),
          variant.name,
        ).toEqual(expected);
      }
    });
  }

  it("in both guest spaces, as modules of a kernel are compiled", () => {
    const flags = ["-O2", "-mcmodel=kernel"];
    const object = compiledAt(workshop, LIBRARY, ...flags);
    const expected = callNatively(workshop, object, CALLS);
    const sandbox = sandboxOf(PLAIN, { space: "high" });
    sandbox.load(workshop.read(object));
    expect(CALLS.map(({ name, args }) => sandbox.call(name, args))).toEqual(expected);
  });
});
