import fc from "fast-check";
import { expect, test } from "vitest";
import { KINDS, type Kind, Machine, type Step } from "./machine.js";

/** A hundred times as many cases: KORRAL_PROPERTY_FACTOR=100. */
const factor = Number(process.env.KORRAL_PROPERTY_FACTOR ?? 1);
const SEEDS = [1, 2, 3, 4];
const RUNS = 300;

const number = fc.nat(0xffff);
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.oneof(
    ...(Object.keys(KINDS) as Kind[]).map((kind) => ({ weight: KINDS[kind], arbitrary: fc.constant(kind) })),
  ),
  a: number,
  b: number,
  c: number,
  d: number,
});

test.each(SEEDS)("kernel, pin budget and I/O MMU agree with the rules, step by step (seed %d)", async (seed) => {
  const counts = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 150, size: "max" }), async (steps) => {
      const machine = new Machine();
      await machine.check();
      for (const one of steps) {
        machine.step(one);
        await machine.check();
      }
      await machine.end();
      for (const [what, count] of machine.counts) counts.set(what, (counts.get(what) ?? 0) + count);
    }),
    { seed, numRuns: RUNS * factor, endOnFailure: false },
  );
  if (factor > 1)
    console.log(
      [...counts]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map((line) => line.join(" "))
        .join("\n"),
    );
  // The steps are worth nothing if they do not get anywhere.
  for (const what of [
    "pin granted",
    "pin that waited",
    "waiter failed: void",
    "waiter failed: pin-authority-ended",
    "withdrawal",
    "destroy that waited",
    "device read",
    "device write",
    "refused: out-of-bounds",
    "refused: after-unmap",
    "refused: other-device",
    "refused: wrong-direction",
    "refused: bus-master-off",
    "error: pin-busy",
    "error: pin-bound",
    "error: pin-released",
    "error: pin-mapped",
    "error: not-pin-owner",
    "error: quota",
    "error: void",
  ]) {
    expect([what, counts.get(what) ?? 0]).not.toEqual([what, 0]);
  }
});
