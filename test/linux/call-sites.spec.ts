import { describe, expect, test } from "vitest";
import { framesOfSizes, PEER_ADDRESS } from "../support/frames.js";
import { BOOT_PATIENCE, LinuxRig, linuxKernel } from "../support/linux-driver.js";

/** Here the driver itself maps memory; there parts of the kernel do so on its behalf, for several callers. */
const SUBJECTS = [
  { series: "6.1", name: "e1000", least: 3 },
  { series: "6.12", name: "virtio_net", least: 3 },
];

describe.each(SUBJECTS)("who maps memory: $name, Linux $series", ({ series, name, least }) => {
  const kernel = linuxKernel(series);
  test.skipIf(typeof kernel === "string")(
    "what is remembered is what a back-trace says",
    async () => {
      if (typeof kernel === "string") return;
      const sites = new Set<string>();
      const different: string[] = [];
      await using rig = await LinuxRig.create(await kernel, name);
      await rig.load({
        onDomain: (domain) => {
          const { dma, site } = domain.services;
          const map = dma.map.bind(dma);
          dma.map = (...all) => {
            const [found, expected] = [site(), domain.site()];
            sites.add(found);
            if (found !== expected) different.push(`${found} for ${expected}`);
            return map(...all);
          };
        },
      });
      await rig.start();
      await rig.receive(framesOfSizes(rig.device.macAddress, 60, 60, 1514));
      await rig.send(framesOfSizes(PEER_ADDRESS, 60, 60, 1514));
      expect(different).toEqual([]);
      expect(sites.size).toBeGreaterThanOrEqual(least);
      for (const site of sites) expect(site).toMatch(/^\w+(\.\w+)*\+0x[0-9a-f]+\/0x[0-9a-f]+ \[\w+\]$/);
      await rig.unload();
    },
    BOOT_PATIENCE,
  );
});
