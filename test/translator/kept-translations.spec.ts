import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { crc32 } from "../../src/formats/crc.js";
import {
  decodeTranslations,
  encodeTranslations,
  type KeptTranslations,
  type KeptUnit,
} from "../../src/translator/kept-translations.js";
import type { Sandbox } from "../../src/translator/sandbox.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, sandboxOf } from "./programs/guest.js";
import { compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
typedef unsigned long u64;
volatile u64 calls;
__attribute__((noinline)) u64 leaf(u64 x) { calls++; return x * 3 + 1; }
u64 top(u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += leaf(i); return sum; }
`;
const HEADER_BYTES = 12;
const SUM = 3n * ((50n * 49n) / 2n) + 50n;
/** An empty module, which imports and fills nothing. */
const EMPTY = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
/** `(import "korral" "other" (func))`. */
const FOREIGN = Uint8Array.of(
  ...EMPTY,
  ...[1, 4, 1, 0x60, 0, 0],
  ...[2, 16, 1, 6, ...Buffer.from("korral"), 5, ...Buffer.from("other"), 0, 0],
);

describe.skipIf(!isInstalled("gcc"))("Translations of an earlier run", () => {
  let object: Uint8Array;
  let stored: Uint8Array;
  beforeAll(() => {
    object = compiled(workshop, SOURCE, "-O2");
    const sandbox = sandboxOf(CHECKED[0]);
    sandbox.load(object);
    expect(sandbox.call("top", [50n])).toBe(SUM);
    stored = sandbox.keepTranslations();
  });

  const revived = (bytes: Uint8Array): { sandbox: Sandbox; taken: boolean } => {
    const sandbox = sandboxOf(CHECKED[0]);
    const taken = sandbox.offerTranslations(bytes);
    sandbox.load(object);
    return { sandbox, taken };
  };
  const kept = (): KeptTranslations => {
    const found = decodeTranslations(stored);
    if (found === null) throw new Error("they cannot be read");
    return found;
  };
  const changed = (change: (unit: KeptUnit) => KeptUnit): Uint8Array => {
    const { units, ...rest } = kept();
    return encodeTranslations({ ...rest, units: units.map(change) });
  };

  it("are what they were", () => {
    expect(kept().units.length).toBeGreaterThan(0);
    expect(encodeTranslations(kept())).toEqual(stored);
    const { sandbox, taken } = revived(stored);
    expect(taken).toBe(true);
    expect(sandbox.call("top", [50n])).toBe(SUM);
  });

  it("are used: what they do shows", () => {
    const { sandbox } = revived(changed((unit) => ({ ...unit, guestBytes: 12_345 })));
    expect(sandbox.call("top", [50n])).toBe(SUM);
    expect(sandbox.statistics.guestBytes).toBe(12_345 * kept().units.length);
  });

  it.each([
    ["are no module", (unit: KeptUnit) => ({ ...unit, bytes: unit.bytes.slice().fill(0xff, 8) })],
    ["are cut off", (unit: KeptUnit) => ({ ...unit, bytes: unit.bytes.slice(0, unit.bytes.length - 1) })],
    ["import what nobody has", (unit: KeptUnit) => ({ ...unit, bytes: FOREIGN })],
    ["are of other bytes", (unit: KeptUnit) => ({ ...unit, checksum: unit.checksum ^ 1 })],
  ])("that %s are made anew", (_, change) => {
    const { sandbox, taken } = revived(changed(change));
    expect(taken).toBe(true);
    expect(sandbox.call("top", [50n])).toBe(SUM);
    expect(sandbox.statistics.regions).toBeGreaterThan(0);
  });

  it.each<[string, () => unknown]>([
    ["no text", () => null],
    ["other fields", () => ({ slots: [] })],
    ["a slot without an address", () => ({ ...kept(), slots: [{ behind: false }], units: [] })],
    ["a unit of a slot that there is not", () => withUnit({ slots: [99] })],
    ["a unit without its ranges", () => withUnit({ ranges: [null] })],
    ["a unit longer than what is there", () => withUnit({ bytes: 1 << 20 })],
    ["a unit of a negative length", () => withUnit({ bytes: -1 })],
  ])("that have %s are not taken", (_, content) => {
    const { sandbox, taken } = revived(resealed(content()));
    expect(taken).toBe(false);
    expect(sandbox.call("top", [50n])).toBe(SUM);
  });

  it("that are damaged anywhere are not taken", () => {
    for (let at = 0; at < stored.length; at += Math.ceil(stored.length / 60)) {
      const damaged = stored.slice();
      damaged[at] ^= 0x10;
      expect(decodeTranslations(damaged)).toBeNull();
      expect(decodeTranslations(stored.subarray(0, at))).toBeNull();
    }
  });

  const withUnit = (fields: object): object => {
    const { units, ...rest } = kept();
    return { ...rest, units: units.map((unit) => ({ ...unit, bytes: 0, ...fields })) };
  };
  /** The text in place of what `encodeTranslations` writes there, with a checksum that is right. */
  const resealed = (content: unknown): Uint8Array => {
    const text = new TextEncoder().encode(JSON.stringify(content));
    const result = new Uint8Array(HEADER_BYTES + text.length);
    result.set(stored.subarray(0, HEADER_BYTES));
    result.set(text, HEADER_BYTES);
    const view = new DataView(result.buffer);
    view.setUint32(4, text.length, true);
    view.setUint32(8, crc32(result.subarray(HEADER_BYTES)), true);
    return result;
  };
});
