import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { difference, frameOf, framesOfSizes, PEER_ADDRESS, padded } from "../support/frames.js";
import { BOOT_PATIENCE, LinuxRig, linuxKernel, NOTHING_LEFT } from "../support/linux-driver.js";

const PHYSICAL = ["e1000", "8139cp", "8139too", "pcnet32"];
const VIRTUAL = ["virtio_net", "virtio_net on virtio-net-pci,packed=off", "virtio_net on virtio-net-pci,mrg_rxbuf=off"];
const KERNELS = [
  { series: "6.1", flavour: "amd64", drivers: [...PHYSICAL, ...VIRTUAL] },
  { series: "6.1", flavour: "cloud-amd64", drivers: ["virtio_net"] },
  { series: "6.1", flavour: "rt-amd64", drivers: [...PHYSICAL, "virtio_net"] },
  { series: "6.12", flavour: "amd64", drivers: [...PHYSICAL, ...VIRTUAL] },
  { series: "6.12", flavour: "cloud-amd64", drivers: ["virtio_net"] },
  { series: "6.12", flavour: "rt-amd64", drivers: [...PHYSICAL, "virtio_net"] },
];
const FRAMES = 120;
/** `NAPI_SKB_CACHE_SIZE`. */
const MOST_KEPT_BUFFERS = 64;

/** Counters of `ethtool -S` that count whole frames. */
const COUNTERS: Readonly<Record<string, { sent: string[]; received: string[] }>> = {
  e1000: { sent: ["tx_packets"], received: ["rx_packets"] },
};

function added(after: ReadonlyMap<string, bigint>, before: ReadonlyMap<string, bigint>, counter: string): bigint {
  return (after.get(counter) ?? -1n) - (before.get(counter) ?? 0n);
}

describe.each(KERNELS)("Linux $series $flavour", ({ series, flavour, drivers }) => {
  const kernel = linuxKernel(series, flavour);
  describe.skipIf(typeof kernel === "string").each(drivers)("%s", (subject) => {
    const [name, device] = subject.split(" on ");
    let rig: LinuxRig;
    beforeAll(async () => {
      if (typeof kernel === "string") return;
      rig = await LinuxRig.up(await kernel, name, device === undefined ? {} : { device });
    }, BOOT_PATIENCE);
    afterAll(() => rig?.[Symbol.asyncDispose]());

    test("binds, and has the address that its device has", () => {
      expect(rig.driver.bound).toBe(name === "virtio_net" ? "virtio-pci" : name);
      expect(rig.device.linkUp).toBe(true);
      expect([...rig.device.macAddress]).toEqual([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    });

    test("frames that arrive are whole", async () => {
      const frames = framesOfSizes(rig.device.macAddress, FRAMES, 60, 1514);
      expect(difference(await rig.receive(frames), frames)).toBeNull();
    });

    test("so are frames that leave", async () => {
      const frames = framesOfSizes(PEER_ADDRESS, FRAMES, 60, 1514);
      expect(difference(await rig.send(frames), frames)).toBeNull();
    });

    test("frames that are too short for a wire are filled up", async () => {
      const frames = framesOfSizes(PEER_ADDRESS, 47, 14, 60);
      const sent = await rig.send(frames);
      const isVirtual = name === "virtio_net";
      expect(difference(sent, isVirtual ? frames : frames.map((frame) => padded(frame)))).toBeNull();
    });

    test("tagged frames keep their tag", async () => {
      const tagged = (to: Uint8Array) =>
        [5, 0x6123, 0xefff].map((vlan, i) => frameOf({ to, length: 64 + 700 * i, seed: i, vlan }));
      const arriving = tagged(rig.device.macAddress);
      expect(difference(await rig.receive(arriving), arriving)).toBeNull();
      const leaving = tagged(PEER_ADDRESS);
      expect(difference(await rig.send(leaving), leaving)).toBeNull();
    });

    test("what it counts is what was received and sent", async () => {
      const { device, machine } = rig;
      const before = await machine.run(device.statistics());
      const names = await machine.run(device.ethtool.statistics());
      await rig.receive(framesOfSizes(device.macAddress, 10, 100, 1000));
      await rig.send(framesOfSizes(PEER_ADDRESS, 7, 100, 1000));
      const after = await machine.run(device.statistics());
      expect(after).toEqual({
        ...before,
        rxPackets: before.rxPackets + 10,
        txPackets: before.txPackets + 7,
        rxBytes: expect.any(Number),
        txBytes: expect.any(Number),
      });
      expect(after.txBytes - before.txBytes).toBe(7 * 550);
      const counters = await machine.run(device.ethtool.statistics());
      expect([...counters.keys()]).toEqual([...names.keys()]);
      const { sent, received } = COUNTERS[name] ?? { sent: [], received: [] };
      for (const counter of received) expect([counter, added(counters, names, counter)]).toEqual([counter, 10n]);
      for (const counter of sent) expect([counter, added(counters, names, counter)]).toEqual([counter, 7n]);
    });

    test("can be unloaded and loaded again in the same kernel, and nothing grows", async () => {
      const { domain } = rig.driver;
      const own = [...domain.modules.loaded.values()].at(-1);
      if (own === undefined) throw new Error("no module is loaded");
      const bytes = (await rig.kernel).moduleBytes(name);
      await rig.machine.run(rig.device.down());
      await rig.machine.run(domain.unload(own));
      // The kernel keeps some buffers for the next packets, and a page that their data come from, and the numbers of
      // entries in sysfs go round, with a node more or less in their tree.
      const kept = ["skbuff_head_cache", "radix_tree_node"];
      const held = (): number[] => {
        const { heap, caches, vmalloc, threads, interrupts } = domain.services;
        const others = kept.reduce((sum, cache) => sum + caches.live(cache), 0);
        return [heap.live - others, vmalloc.live, threads.all.length, interrupts.requested.length];
      };
      const before = held();
      const pages = domain.services.pages.live;
      const { module, result } = await rig.machine.run(domain.load(bytes, name));
      expect(result).toBe(0);
      const [again] = rig.driver.networkDevices();
      await rig.machine.run(again.up());
      await rig.pass(5_000_000_000);
      expect(again.linkUp).toBe(true);
      await rig.machine.run(again.down());
      await rig.machine.run(domain.unload(module));
      expect(held()).toEqual(before);
      expect(domain.services.caches.live("skbuff_head_cache")).toBeLessThanOrEqual(MOST_KEPT_BUFFERS);
      expect(domain.services.pages.live).toBeLessThanOrEqual(pages + 1);
      await rig.machine.run(domain.load(bytes, name));
      await rig.start();
      const frames = framesOfSizes(rig.device.macAddress, 20, 60, 1514);
      expect(difference(await rig.receive(frames), frames)).toBeNull();
      expect(difference(await rig.send(frames), frames)).toBeNull();
    });

    test("unloads, and leaves nothing behind", async () => {
      expect(await rig.unload()).toEqual(NOTHING_LEFT);
      expect(rig.findings).toEqual([]);
    });
  });
});
