import { describe, expect, test } from "vitest";
import { Rig } from "../../test/support/rig.js";
import type { DeviceFactory, PciDevice } from "../bus/device.js";
import { KorralNic } from "../devices/korral-nic.js";
import { NvmeController } from "../devices/nvme.js";
import { MemoryDisk } from "../ports/disk-image.js";
import { LoopWire } from "../ports/wire-end.js";
import { MODELS, tableOf } from "./devices.js";
import { modelNames, parseDevice } from "./run/models.js";

const wire = new LoopWire();
/** Models that no Linux driver is run on: `--device` does not take them. */
const NATIVE: Readonly<Record<string, DeviceFactory<PciDevice>>> = {
  "korral-nic": (host) => new KorralNic(host, { wire }),
  nvme: (host) => new NvmeController(host, { disk: new MemoryDisk(4096) }),
};

function factoryOf(name: string): DeviceFactory<PciDevice> {
  return NATIVE[name] ?? parseDevice(name).make({ wire, macAddress: null });
}

describe("korral devices", () => {
  test("the models that Linux drivers are run on are those that --device takes", () => {
    const bound = MODELS.filter(({ linux }) => linux.length > 0).map(({ name }) => name);
    expect(bound).toEqual([...modelNames()].sort());
  });

  test.each(MODELS.filter(({ id }) => id !== "-"))("$name has the id that its model shows", ({ name, id }) => {
    const slot = new Rig().pci.plug(name, factoryOf(name));
    const [vendor, device] = [0, 2].map((at) => slot.configRead(at, 2).toString(16).padStart(4, "0"));
    expect(`${vendor}:${device}`).toBe(id);
  });

  test("columns are as wide as what is in them", () => {
    const lines = tableOf(MODELS).trimEnd().split("\n");
    expect(lines).toHaveLength(MODELS.length);
    for (const column of ["id", "part"] as const) {
      const starts = new Set(lines.map((line, i) => line.indexOf(`  ${MODELS[i][column]}`)));
      expect(starts.size).toBe(1);
      expect(starts).not.toContain(-1);
    }
    expect(tableOf([])).toBe("");
  });
});
