import { describe, expect, test } from "vitest";
import { type BlankFill, BlankFunction } from "../../src/devices/blank-function.js";
import { type TrialResult, tryModule } from "../../src/findings/module-trial.js";
import { deviceFor } from "../../src/findings/trial-device.js";
import { KernelImage } from "../../src/linux/image.js";
import { Machine } from "../../src/machine.js";
import { linuxKernel } from "../support/linux-driver.js";

/**
 * Network, SATA, PATA, NVMe, SAS, USB, VirtIO; with per-CPU variables of their own, a file system, asynchronous calls, a
 * disk that is read, threads that are referred to after their end, a worker, the connector.
 */
const CLEAN = [
  "ahci",
  "e100",
  "fcoe",
  "igb",
  "libata",
  "megaraid_sas",
  "nvme",
  "null_blk",
  "nvmet",
  "pktgen",
  "softdog",
  "tg3",
  "virtio_blk",
  "w1_ds2805",
  "xhci_pci",
];
/** Whose probe, when the firmware is not ready, neither frees its interrupt nor unmaps its registers. */
const LEAKS = "pm80xx";
const PATIENCE = 300_000;
const PIN_BUDGET = 0x2_0000;

const kernel = linuxKernel("6.1");
const images = new Map<string, KernelImage>();

async function tried(name: string, fill: BlankFill): Promise<TrialResult> {
  if (typeof kernel === "string") throw new Error(kernel);
  const opened = await kernel;
  const image = images.get(opened.name) ?? KernelImage.parse(opened.vmlinux(), opened.name);
  images.set(opened.name, image);
  const machine = await Machine.create({ memory: "1MiB", pinBudget: PIN_BUDGET });
  const identity = deviceFor(opened.describe(name).aliases, opened.path(name));
  const slot = identity === null ? null : machine.plug("blank", (host) => new BlankFunction(host, { identity, fill }));
  return await tryModule(machine, opened, image, name, slot);
}

describe.skipIf(typeof kernel === "string")("modules beside a device that does nothing", () => {
  describe.each(["zeroes", "ones"] as const)("%s", (fill) => {
    test.each(CLEAN)(
      "%s leaves cleanly",
      async (name) => {
        const { outcome, stage, reason, result } = await tried(name, fill);
        expect({ outcome, stage, reason, result }).toEqual({ outcome: "clean", stage: "end", reason: "", result: 0 });
      },
      PATIENCE,
    );
  });

  test(
    "what a driver leaves behind is found",
    async () => {
      const { outcome, left, leaks, probeErrors } = await tried(LEAKS, "zeroes");
      expect(outcome).toBe("leak");
      expect(probeErrors).toEqual([-16]);
      expect(left).toEqual({ interrupts: 1, ioMappings: 1 });
      expect(leaks.some((leak) => leak.endsWith(`pm8001_pci_probe [${LEAKS}]`))).toBe(true);
    },
    PATIENCE,
  );

  test(
    "the same trial has the same end",
    async () => {
      const [first, second] = [await tried("ahci", "zeroes"), await tried("ahci", "zeroes")];
      expect(second).toEqual(first);
    },
    PATIENCE,
  );
});
