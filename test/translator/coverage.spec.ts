// scripts/instruction-coverage.mjs counts whole packages; these drivers are to be covered to the last instruction.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { describe, expect, test } from "vitest";
import { decompress } from "../../src/formats/compression.js";
import { InstructionDecoder } from "../../src/translator/decode.js";
import { isCovered } from "../../src/translator/lift/index.js";
import { placeObject, planObject } from "../../src/translator/load-object.js";
import { debianKernel } from "../support/debian-kernel.js";

const DRIVERS = ["ena", "mlx5_core", "scsi_mod", "sd_mod", "uio", "virtio_blk", "virtio_net"];

describe.each(["6.1", "6.12"])("drivers of Debian's newest %s", (series) => {
  const kernel = debianKernel(series);
  if (typeof kernel === "string") {
    test.skip(kernel);
    return;
  }
  const modules = new Map(kernel.modules.map((path) => [basename(path).replace(/\.ko.*/, ""), path]));

  test("are covered", () => {
    const decoder = new InstructionDecoder();
    let instructions = 0;
    for (const driver of DRIVERS) {
      const path = modules.get(driver) ?? "";
      const plan = planObject(decompress(new Uint8Array(readFileSync(path)), path), driver);
      const loaded = placeObject(plan, plan.space, plan.address, () => null);
      const missing = new Set<string>();
      for (const { address, size } of loaded.functions) {
        const segment = loaded.segments.find((one) => address >= one.address && address < one.address + one.size);
        const run = decoder.decodeRun(
          segment?.bytes ?? new Uint8Array(0),
          address - (segment?.address ?? 0),
          size,
          address,
        );
        instructions += run.length;
        for (const instruction of run) if (!isCovered(instruction)) missing.add(instruction.text());
      }
      expect([...missing], driver).toEqual([]);
    }
    expect(instructions).toBeGreaterThan(100_000);
  });
});
