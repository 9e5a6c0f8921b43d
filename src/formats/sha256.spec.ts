import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { Sha256 } from "./sha256.js";

test.each([0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000])(
  "SHA-256 of %i bytes is what Node says, however it is cut",
  (length) => {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 31) ^ (i >> 3));
    const expected = createHash("sha256").update(bytes).digest("hex");
    for (const step of [1, 7, 64, 1000]) {
      const hash = new Sha256();
      for (let at = 0; at < length; at += step) hash.update(bytes.subarray(at, at + step));
      expect(Buffer.from(hash.digest()).toString("hex")).toBe(expected);
    }
  },
);
