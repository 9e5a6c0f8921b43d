import fc from "fast-check";
import { expect, test } from "vitest";
import { frame } from "../../test/formats/capture-bytes.js";
import { transferAll } from "./transfer-all.js";

test("fills all spans in order, however few bytes the system moves at once", () => {
  const lengths = fc.array(fc.nat(20), { maxLength: 20 });
  fc.assert(
    fc.property(lengths, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }), (sizes, steps) => {
      const total = sizes.reduce((sum, size) => sum + size, 0);
      const file = frame(total + 7);
      const spans = sizes.map((size) => new Uint8Array(size));
      let calls = 0;
      transferAll(7, spans, (left, position) => {
        let budget = steps[calls++ % steps.length];
        let at = position;
        for (const span of left) {
          const part = Math.min(budget, span.length);
          span.set(file.subarray(at, at + part));
          budget -= part;
          at += part;
        }
        return at - position;
      });
      expect(Buffer.concat(spans).equals(file.subarray(7))).toBe(true);
      expect(calls).toBeLessThanOrEqual(total);
    }),
    { seed: 5 },
  );
});
